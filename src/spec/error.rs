//! What can be wrong with an experiment file, shown at its place.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

/// An experiment file that cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read the experiment {path}: {cause}")]
    #[diagnostic(help("experiments ship in `experiments/`; `bench run experiments/ablation.toml` runs the main one"))]
    Unreadable { path: PathBuf, cause: io::Error },
    /// Bytes that are no text.
    #[error("{path}:{line}: found bytes that are not UTF-8, expected TOML, which is UTF-8 text")]
    NotText { path: PathBuf, line: usize },
    /// A key or value is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Misplaced(Box<Misplaced>),
}

/// Something in the file that does not make sense, with its place.
#[derive(Debug, Error, Diagnostic)]
#[error("{message}")]
pub struct Misplaced {
    message: String,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
    #[help]
    help: Option<String>,
}

impl SpecError {
    /// An error at `span` of the file's text.
    pub fn at(path: &Path, text: &str, span: Range<usize>, message: String, help: Option<String>) -> Self {
        let text = NamedSource::new(path.display().to_string(), text.to_owned());
        Self::Misplaced(Box::new(Misplaced { message, text, span: span.into(), help }))
    }
}
