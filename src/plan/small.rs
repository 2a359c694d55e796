//! Plans of small experiments, for tests.

use std::path::Path;

use super::{
    Plan,
    expand::{Options, expand},
};
use crate::spec::{Spec, SpecError};

/// The text of an experiment with the workloads, arms and designs of `body`.
pub fn spec(body: &str) -> String {
    let words = ["name", "question", "hypothesis", "refuted_by"].map(|key| format!("{key} = \"small\"\n")).concat();
    let protocol = "{ blocks = 10, quick_blocks = 2, seed = 1, margin = 0.01, confidence = 0.95 }";
    format!("schema = 1\n{words}protocol = {protocol}\n{body}")
}

/// The plan of a quick run of `spec` on two CPUs, with one copy of every matrix and no presets.
///
/// # Errors
/// As [`expand`].
pub fn plan(spec: &str) -> Result<Plan, SpecError> {
    let spec = Spec::parse(Path::new("spec.toml"), spec.to_owned())?;
    expand(&spec, &Options { quick: true, keep: &|_| true, cores: 2, copies: &|_, _| 1, presets: &[] })
}
