//! Measuring: from a plan to raw rows.
//!
//! [`session`] is the parent: it checks the arms ([`preflight`]), starts one fresh process for each
//! [`block`] and follows it (`child`), appends what finished blocks report, and can be interrupted
//! ([`stop`]) and resumed (`resume`). [`pairs`] are the parent of two programs. A block measures what the machine can do at best ([`ceilings`]), sets
//! up each workload once ([`stage`]) and runs every cell on it, with the read bandwidth ([`roof`])
//! and the [`evidence`] of the operating system beside each sample. [`crate::counters`] are a pass of
//! their own. Nothing here computes a statistic.

pub mod block;
mod bracket;
pub mod ceilings;
pub(crate) mod child;
pub mod evidence;
mod examined;
#[cfg(all(test, unix))]
mod fake;
pub mod machine;
pub mod pairs;
pub mod parent;
pub mod pilot;
pub mod preflight;
pub mod progress;
pub mod requeue;
pub(crate) mod resume;
pub mod roof;
pub mod scatter;
pub mod session;
pub mod stage;
pub mod stop;
pub mod turns;
mod warm_up;
mod writers;

use std::{io, path::PathBuf};

use miette::Diagnostic;
use septet_kernels::QuantizeError;
use thiserror::Error;

use crate::{arm::AssignError, mixed::MixedError, model, record::RecordError, report::ReportError, spec::SpecError};

/// Why a run cannot start or go on.
#[derive(Debug, Error, Diagnostic)]
pub enum RunError {
    /// The experiment file.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Spec(#[from] SpecError),
    /// The model of a workload.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The formats of a mixed arm.
    #[error(transparent)]
    Mixed(#[from] MixedError),
    /// Files of a run.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Derived files of a run.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A plan with levels that do not exist: written by another version.
    #[error("the plan names a level that this program does not have: {0}")]
    Assign(#[from] AssignError),
    /// The output folder is there already.
    #[error("{path} exists already and is not empty")]
    #[diagnostic(help("name another folder with --out, or go on with that run: --resume {}", .path.display()))]
    Exists { path: PathBuf },
    /// The output folder cannot be written.
    #[error("cannot write {path}: {cause}")]
    #[diagnostic(help("name a folder that can be written with --out"))]
    Unwritable { path: PathBuf, cause: io::Error },
    /// A program that is to run a side of a gate.
    #[error("cannot read the program {path}: {cause}")]
    #[diagnostic(help("give the path of a `bench` that `cargo build --release` made"))]
    Program { path: PathBuf, cause: io::Error },
    /// A side of a gate whose program does not run the plan.
    #[error("side {side}, {program}: {cause}")]
    #[diagnostic(help(
        "a program that is older than an axis, a column of the record or the turns of blocks cannot run this plan: \
         compare with a later revision"
    ))]
    Side { side: &'static str, program: PathBuf, cause: Box<RunError> },
    /// A run that another plan, program or model made: what was recorded, and what is there now.
    #[error("{path} cannot be resumed: {what} differs\n{differences}")]
    #[diagnostic(help("samples of different programs, models or specs do not mix: start a new run"))]
    Different { path: PathBuf, what: String, differences: String },
    /// Not enough memory for the weights of a workload.
    #[error("workload {workload} needs {needed} MiB for its copies and {available} MiB are free")]
    #[diagnostic(help("run fewer stored formats at a time, for example with -a format=w3p5"))]
    Memory { workload: String, needed: usize, available: usize },
    /// A prompt and what continues it do not fit the context of the model.
    #[error(
        "workload {workload}: a prompt of {prompt} tokens and {tokens} tokens after it do not fit the model's context \
         of {context}"
    )]
    #[diagnostic(help("lower `tokens` to at most {most}, or shorten `prompt`"))]
    Context { workload: String, prompt: usize, tokens: usize, context: usize, most: usize },
    /// The weights of a matrix workload.
    #[error("a matrix of {rows} × {cols}: {cause}")]
    Matrix { rows: usize, cols: usize, cause: QuantizeError },
    /// A kernel of another project.
    #[error(transparent)]
    Peer(#[from] septet_peers::Error),
    /// Every cell failed or was left out.
    #[error("no cell is left to run")]
    NothingToRun,
    /// A block's process could not be started or did not speak the protocol.
    #[error("block {block}: {reason}")]
    Block { block: u32, reason: String },
    /// The operating system refused a thread.
    #[error("cannot start the threads of a workload: {0}")]
    Threads(io::Error),
    /// A pipe or file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}
