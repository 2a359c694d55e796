//! Has it become slower? From the rows of two runs to a verdict with error rates.
//!
//! Everything here is a pure function of rows. [`Run`] is a recorded run as a gate sees it. There are three
//! sources of [`Finding`]s: [`recorded`], which compares what each step of an experiment is worth in two
//! runs, [`paired`], which compares the times of two programs that ran in pairs of blocks, and [`counted`],
//! which compares instruction counts with a baseline. A [`Decision`] judges the findings as one family, holds each verdict against the [`rule`]s, and sums up.
//! [`output`] says it to people and to CI.

mod comparable;
pub mod counted;
pub mod decision;
mod error;
pub mod output;
pub mod paired;
pub mod question;
pub mod recorded;
pub mod rule;
mod run;

pub use comparable::check_comparable;
pub use decision::{Decision, Judgement, Overall, Terms};
pub use error::GateError;
pub use question::{Finding, Question, chosen_metrics};
pub use run::Run;

/// Where the findings of a gate come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Two runs that were recorded before.
    Recorded,
    /// Two programs that ran in pairs of blocks.
    Paired,
    /// A baseline of instruction counts, and counts of this program.
    Counted,
}

impl Source {
    /// What a ratio is.
    pub fn ratio(self) -> &'static str {
        match self {
            Self::Recorded => "what the step is worth in B over what it is worth in A",
            Self::Paired => "time of A over time of B in the same pair of blocks",
            Self::Counted => "instructions of A over instructions of B, both exact",
        }
    }
}

/// A decision with what its readers need to know beside it.
#[derive(Clone, Debug)]
pub struct Gate {
    pub source: Source,
    pub experiment: String,
    pub metrics: Vec<String>,
    /// The base and the candidate, in words.
    pub sides: [String; 2],
    pub decision: Decision,
    /// What does not decide and should be known.
    pub notes: Vec<String>,
}
