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
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("a data frame could not be built")]
    Frame(#[from] polars::error::PolarsError),
    /// The drawing library refused.
    #[error("{}: {message}", path.display())]
    Draw { path: PathBuf, message: String },
    #[error("{}: {cause}", path.display())]
    Splice { path: PathBuf, cause: SpliceError },
}
