//! Why two runs cannot be compared.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::{record::RecordError, report::ReportError};

/// Input that a gate cannot decide on.
#[derive(Debug, Error, Diagnostic)]
pub enum GateError {
    /// Files of a run.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Rows that cannot be analysed.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Two runs that answer different questions.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Different(#[from] Box<Difference>),
    /// A run that may not be cited.
    #[error("{} is a quick run: too short to decide anything", dir.display())]
    #[diagnostic(help("run the experiment without --quick, or look at it all the same with --allow-quick"))]
    Quick { dir: PathBuf },
    /// A metric that no workload of the experiment has.
    #[error("no workload of this experiment has the metric `{found}`")]
    #[diagnostic(help("--metric takes some of: {}", .valid.join(", ")))]
    Metric { found: String, valid: Vec<String> },
    /// A margin that is no share.
    #[error("--margin is {found}, expected a share from 0.0001 to below 0.5, such as 0.02 for 2 %")]
    Margin { found: f64 },
    /// No question is left.
    #[error("there is nothing to compare: {reason}")]
    #[diagnostic(help("{help}"))]
    Nothing { reason: &'static str, help: &'static str },
}

/// What forbids to compare two runs, as it is in each.
#[derive(Debug, Error, Diagnostic)]
#[error("{} and {} cannot be compared: {what}\n  {}: {in_a}\n  {}: {in_b}", a.display(), b.display(), a.display(), b.display())]
#[diagnostic(help("{help}"))]
pub struct Difference {
    pub a: PathBuf,
    pub b: PathBuf,
    pub what: &'static str,
    pub in_a: String,
    pub in_b: String,
    /// What to do about it.
    pub help: &'static str,
}
