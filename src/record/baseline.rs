//! The baseline of instruction counts: what each kernel took when somebody last looked, and why it was
//! taken to be right.

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RecordError, store};

/// Version of the file.
pub const BASELINE_SCHEMA: u32 = 1;

/// What counts depend on beside the code of the kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    pub rustc: String,
    pub target: String,
    pub profile: String,
    pub rustflags: String,
    pub libc: String,
    pub valgrind: String,
}

impl Toolchain {
    /// What differs here, in words; nothing if counts may be compared.
    pub fn difference(&self, here: &Self) -> Option<String> {
        let parts = |toolchain: &Self| {
            let Self { rustc, target, profile, rustflags, libc, valgrind } = toolchain.clone();
            [
                ("rustc", rustc),
                ("target", target),
                ("profile", profile),
                ("rustflags", rustflags),
                ("libc", libc),
                ("valgrind", valgrind),
            ]
        };
        let differ = parts(self).into_iter().zip(parts(here)).filter(|(baseline, here)| baseline != here);
        let words: Vec<String> =
            differ.map(|((what, baseline), (_, here))| format!("{what} is {baseline} there and {here} here")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// One update of a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// When, as `2026-01-31T12:00:00Z`.
    pub utc: String,
    /// Why the counts are what they should be, by whoever updated them.
    pub reason: String,
    /// Kernels that take more instructions than before, as `--accept-regressions` allowed.
    pub accepted: Vec<String>,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub schema: u32,
    pub toolchain: Toolchain,
    /// The matrix that every kernel is multiplied with, once, on one thread.
    pub rows: usize,
    pub cols: usize,
    /// The latest last.
    pub updates: Vec<Update>,
    /// Of one product, by name of the kernel.
    pub instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// What must be true of a file before later code may rely on it.
    fn check(&self) -> Result<(), String> {
        if self.rows == 0 || self.cols == 0 {
            Err(format!("the matrix is {} x {}, expected at least 1 x 1", self.rows, self.cols))
        } else if self.instructions.is_empty() {
            Err("`instructions` is empty, expected a count for each kernel".to_owned())
        } else if let Some((kernel, _)) = self.instructions.iter().find(|(_, count)| **count == 0) {
            Err(format!("`instructions` of {kernel} is 0, expected at least 1"))
        } else {
            Ok(())
        }
    }
}

/// Writes the file, replacing it in one step.
///
/// # Errors
/// If the disk fails.
pub fn write_baseline(path: &Path, baseline: &Baseline) -> Result<(), RecordError> {
    store::write_json(path, baseline)
}

/// Reads the file and checks that later code may rely on it.
///
/// # Errors
/// If it is missing, not JSON of this shape, of another schema, or contradicts itself.
pub fn read_baseline(path: &Path) -> Result<Baseline, RecordError> {
    let baseline: Baseline = store::read_json(path, BASELINE_SCHEMA)?;
    let inconsistent = |message| RecordError::Inconsistent { path: path.to_owned(), message };
    baseline.check().map_err(inconsistent)?;
    Ok(baseline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain() -> Toolchain {
        let [rustc, target, profile, rustflags, libc, valgrind] =
            ["rustc 1", "x86_64", "release", "not exposed", "glibc 2", "valgrind-3"].map(str::to_owned);
        Toolchain { rustc, target, profile, rustflags, libc, valgrind }
    }

    fn baseline() -> Baseline {
        let update = Update { utc: "2026-01-31T12:00:00Z".to_owned(), reason: "first".to_owned(), accepted: vec![] };
        Baseline {
            schema: BASELINE_SCHEMA,
            toolchain: toolchain(),
            rows: 64,
            cols: 128,
            updates: vec![update],
            instructions: BTreeMap::from([("gemv/w4/dense/lut/u1/scalar".to_owned(), 1000)]),
        }
    }

    #[test]
    fn a_toolchain_says_in_what_it_differs() {
        assert_eq!(toolchain().difference(&toolchain()), None);
        let other = Toolchain { rustc: "rustc 2".to_owned(), valgrind: "valgrind-4".to_owned(), ..toolchain() };
        let words = "rustc is rustc 1 there and rustc 2 here, valgrind is valgrind-3 there and valgrind-4 here";
        assert_eq!(toolchain().difference(&other).as_deref(), Some(words));
    }

    #[test]
    fn a_file_that_means_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        write_baseline(&path, &baseline()).unwrap();
        assert_eq!(read_baseline(&path).unwrap(), baseline());
        let refused = |baseline: &Baseline, part: &str| {
            write_baseline(&path, baseline).unwrap();
            let message = read_baseline(&path).unwrap_err().to_string();
            assert!(message.contains("baseline.json") && message.contains(part), "{message}");
        };
        refused(&Baseline { schema: 2, ..baseline() }, "`schema` is 2");
        refused(&Baseline { rows: 0, ..baseline() }, "0 x 128");
        refused(&Baseline { instructions: BTreeMap::new(), ..baseline() }, "`instructions` is empty");
        let nothing = BTreeMap::from([("gemv/a".to_owned(), 0)]);
        refused(&Baseline { instructions: nothing, ..baseline() }, "of gemv/a is 0");
        std::fs::write(&path, "{\"schema\": 1, \"more\": 0}").unwrap();
        assert!(read_baseline(&path).unwrap_err().to_string().contains("unknown field `more`"));
    }
}
