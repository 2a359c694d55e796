//! Why a report could not be built.

use std::path::PathBuf;

use thiserror::Error;

use super::splice::SpliceError;
use crate::record::RecordError;

/// A report that could not be built or written; raw data are never touched.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("data frame: {0}")]
    Frame(#[from] polars::error::PolarsError),
    /// The drawing library refused.
    #[error("{}: {message}", path.display())]
    Draw { path: PathBuf, message: String },
    #[error("{}: {source}", path.display())]
    Splice { path: PathBuf, source: SpliceError },
}
