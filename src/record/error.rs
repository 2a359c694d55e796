//! What can be wrong with the files of a run, said so that a reader can repair them.

use std::path::PathBuf;

use thiserror::Error;

/// A file of a results directory that cannot be read or written. Messages are complete: causes are
/// part of them, not chained.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    /// A folder that holds no run.
    #[error(
        "{}: {found}; expected the folder of a run, with manifest.json and samples.csv in it; give one that `bench run` \
         printed, such as results/ablation/<run-id>",
        dir.display()
    )]
    NoRun { dir: PathBuf, found: &'static str },
    /// A header with a column that this version does not know.
    #[error(
        "{}:1: unknown column `{column}`; this version reads exactly: {}",
        path.display(),
        valid.join(", ")
    )]
    UnknownColumn { path: PathBuf, column: String, valid: &'static [&'static str] },
    /// A header without a column that this version needs.
    #[error(
        "{}:1: column `{column}` is missing; this version reads exactly: {}",
        path.display(),
        valid.join(", ")
    )]
    MissingColumn { path: PathBuf, column: &'static str, valid: &'static [&'static str] },
    /// A row with too few or too many fields.
    #[error("{}:{line}: found {found} fields, expected {expected}", path.display())]
    Width { path: PathBuf, line: u64, found: usize, expected: usize },
    /// A field whose text is not a value of its column.
    #[error("{}:{line}: column `{column}`: found `{found}`, expected {expected}", path.display())]
    Field { path: PathBuf, line: u64, column: String, found: String, expected: String },
    /// The same measurement twice: one of them would silently count double.
    #[error(
        "{}:{line}: {what} was already recorded on line {first}; remove one of the two rows",
        path.display()
    )]
    Duplicate { path: PathBuf, line: u64, first: u64, what: String },
    /// A file written by another version of the schema.
    #[error(
        "{}: `{key}` is {found}, this version reads {expected}; use the release that wrote the run",
        path.display()
    )]
    Schema { path: PathBuf, key: &'static str, found: u64, expected: u32 },
    /// A manifest that is not the JSON that it should be.
    #[error("{}:{}:{}: {cause}", path.display(), cause.line(), cause.column())]
    Json { path: PathBuf, cause: serde_json::Error },
    /// A row that the CSV writer could not serialize.
    #[error("{}: {cause}", path.display())]
    Csv { path: PathBuf, cause: csv::Error },
    /// A manifest whose parts contradict each other.
    #[error("{}: {message}", path.display())]
    Inconsistent { path: PathBuf, message: String },
}
