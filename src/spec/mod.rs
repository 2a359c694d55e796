//! An experiment as written: TOML, parsed strictly, every value with its place in the file.
//!
//! This module only says what the file says. Whether it makes sense is decided in
//! [`crate::plan::expand`], which can point back at the place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::plan::{CounterSource, Residency};

pub mod error;

pub use error::SpecError;

/// Version of the experiment files that this program reads.
pub const SPEC_SCHEMA: u32 = 1;

/// An experiment file with its text.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text, byte for byte.
    pub text: String,
    /// What the text says.
    pub file: SpecFile,
}

/// The top level of an experiment file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecFile {
    pub schema: Spanned<u32>,
    /// The folder under `results/`.
    pub name: Spanned<String>,
    pub question: String,
    pub hypothesis: String,
    pub refuted_by: String,
    pub protocol: ProtocolSpec,
    pub workload: Spanned<Vec<WorkloadSpec>>,
    /// Named arms: the levels in which each differs from the published baseline.
    pub arm: BTreeMap<String, Assignments>,
    pub design: Spanned<Vec<DesignSpec>>,
    /// Counters; what takes no time when absent.
    pub counters: Option<CountersSpec>,
}

/// What the pass of counters asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountersSpec {
    pub sources: Vec<Spanned<CounterSource>>,
}

/// Levels by axis, each with its place.
pub type Assignments = BTreeMap<Spanned<String>, Spanned<String>>;

/// How samples are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolSpec {
    pub blocks: Spanned<Blocks>,
    /// Most blocks that a pilot may choose; needed where `blocks` is `"pilot"`.
    pub max_blocks: Option<Spanned<u32>>,
    /// Blocks of a `--quick` run.
    pub quick_blocks: Spanned<u32>,
    pub seed: u64,
    /// Largest ratio without practical interest: `0.01` is 1 %.
    pub margin: Spanned<f64>,
    pub confidence: Spanned<f64>,
}

/// One model, driven in one way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    pub name: Spanned<String>,
    pub title: String,
    /// A trained checkpoint: a folder, or `builtin`.
    pub model: Option<Spanned<String>>,
    /// Text that a trained model continues.
    pub prompt: Option<Spanned<String>>,
    /// A preset shape with seeded weights.
    pub shape: Option<Spanned<String>>,
    /// Layers of the shape in each distinct copy.
    pub layers: Option<Spanned<usize>>,
    /// Tokens of the prompt that a shape reads before it goes on; no prompt when absent.
    pub prompt_tokens: Option<Spanned<u32>>,
    /// A matrix alone, with seeded weights.
    pub matrix: Option<Spanned<MatrixSpec>>,
    /// Where the weights of a matrix lie while it is multiplied; `dram` when absent.
    pub residency: Option<Spanned<Residency>>,
    /// Fewest MiB of the distinct copies of a matrix in memory; 1024 when absent.
    pub rotation_mib: Option<Spanned<usize>>,
    pub threads: Spanned<Threads>,
    pub repetitions: Spanned<u32>,
    pub tokens: Spanned<u32>,
    /// Tokens of a `--quick` run.
    pub quick_tokens: Option<Spanned<u32>>,
}

/// The shape of a matrix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixSpec {
    pub rows: Spanned<usize>,
    pub cols: Spanned<usize>,
    /// Columns that it is multiplied with at once; one when absent.
    pub columns: Option<Spanned<usize>>,
}

/// A number of threads, every core, or several numbers one after another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a number of threads, \"all\", or \"each\"")]
pub enum Threads {
    Count(usize),
    /// `"all"` or `"each"`.
    Word(String),
}

/// A number of blocks, or one that a pilot chooses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a number of blocks, or \"pilot\"")]
pub enum Blocks {
    Count(u32),
    /// `"pilot"`.
    Word(String),
}

/// A named set of contrasts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesignSpec {
    pub name: Spanned<String>,
    pub title: String,
    pub kind: crate::plan::DesignKind,
    /// The arm that steps begin with (cumulative, add-one-in), take away from (leave-one-out), are
    /// combined on (factorial), or repeat (null).
    pub from: Spanned<String>,
    /// Workloads; all of them when absent.
    pub workloads: Option<Vec<Spanned<String>>>,
    /// Absent for a null check.
    pub step: Option<Vec<StepSpec>>,
    /// Compare the product of the single factors with the measured combination.
    pub combination: Option<CombinationSpec>,
}

/// One step of a design.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Levels that the step changes (for leave-one-out: back to).
    pub set: Spanned<Assignments>,
    /// The published speed-up of this step.
    pub published: Option<Spanned<f64>>,
    /// Levels of other axes under which the step alone is measured for the combination, where it
    /// cannot exist on the baseline itself.
    pub context: Option<Assignments>,
    /// What tables call the step; the assignments when absent.
    pub label: Option<String>,
}

/// The measured whole beside the product of its parts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CombinationSpec {
    /// The published combined speed-up.
    pub published: Option<Spanned<f64>>,
}

impl Spec {
    /// Reads an experiment file.
    ///
    /// # Errors
    /// The file cannot be read, is not text, is not TOML, or has unknown, missing or mistyped keys: named with
    /// their place.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let bytes = fs::read(path).map_err(|cause| SpecError::Unreadable { path: path.to_owned(), cause })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            SpecError::NotText { path: path.to_owned(), line }
        })?;
        Self::parse(path, text)
    }

    /// Parses the text of an experiment file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Spec::read`].
    pub fn parse(path: &Path, text: String) -> Result<Self, SpecError> {
        let file = toml::from_str(&text).map_err(|error| {
            let message = error.message().trim_end().to_owned();
            SpecError::at(path, &text, error.span().unwrap_or(0..0), message, None)
        })?;
        Ok(Self { path: path.to_owned(), text, file })
    }

    /// An error at a place in the file.
    pub(crate) fn error(
        &self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) -> SpecError {
        SpecError::at(&self.path, &self.text, span, message.into(), help.into())
    }
}
