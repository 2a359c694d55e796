//! What the process tells its caller.

use std::process::ExitCode;

use crate::runner::stop::INTERRUPTED;

/// How a command ended; scripts and CI branch on the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for was done, and nothing is wrong.
    Pass = 0,
    /// A kernel is wrong, or something became slower.
    Regression = 1,
    /// The measurement does not decide.
    Inconclusive = 2,
    /// The command line, a file or a selection cannot be used.
    BadInput = 3,
    /// Some of the work failed; the rest was done and kept.
    Partial = 4,
    /// Stopped by a signal; what was finished is kept.
    Interrupted = INTERRUPTED as isize,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
