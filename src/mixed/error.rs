//! Why there are no mixed formats for a model.

use std::path::PathBuf;

use thiserror::Error;

/// A sensitivity table that cannot be used, or a budget that cannot be met.
#[derive(Debug, Error)]
pub enum MixedError {
    #[error("{}: not a sensitivity table: {reason}; `bench sensitivity` writes one", .file.display())]
    Json { file: PathBuf, reason: String },

    #[error(
        "{}: `{key}` is {found}, this program reads {expected}: measure the table again with `bench sensitivity`",
        .file.display()
    )]
    Unsupported { file: PathBuf, key: &'static str, found: String, expected: String },

    #[error("{}: {place} {what}; the table is damaged: measure it again with `bench sensitivity`", .file.display())]
    Tensor { file: PathBuf, place: String, what: &'static str },

    #[error(
        "{}: measured on the model with SHA-256 {found}, but the model is {expected}: measure it again with \
         `bench sensitivity`",
        .file.display()
    )]
    Model { file: PathBuf, found: String, expected: String },

    #[error("the formats with the fewest bits need {needed} bytes, the budget is {budget}: allow more bits per weight")]
    Budget { needed: usize, budget: usize },
}
