//! `calibration.json` and `calibration.csv`: what a calibration writes.

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    error::RecordError,
    rules::{PLAUSIBLE, Row},
    store::{self, TornLine, parse_rows_of},
};
use crate::calibration::{CALIBRATION_SCHEMA, Settings};

/// Name of the settings within the folder of a calibration.
pub const CALIBRATION_FILE: &str = "calibration.json";

/// One arm in one block on one number of threads: all of its repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRow {
    /// Which start of the program took it: 0, then one more for each resume.
    pub session: u32,
    pub block: u32,
    pub threads: u32,
    /// Position of the arm in the realised order of its block on these threads.
    pub order: u32,
    pub arm: String,
    /// Whether a second process loaded a CPU meanwhile.
    pub loaded: bool,
    /// Time that a spin added to each product.
    pub spin_ns: f64,
    /// Mean time of a product in the repetition that does not count.
    pub warmup_ns: f64,
    /// Mean time of a product in each repetition, `+`-separated.
    pub ns: String,
    /// Repetitions with a flag of evidence.
    pub flagged: u32,
    /// The evidence of all repetitions that count, as in `samples.csv`.
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub migrations: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub steal_ticks: u64,
}

impl CalibrationRow {
    /// Mean time of a product in each repetition, in ns; nothing where the text is not a list of
    /// plausible times.
    pub fn times(&self) -> Option<Vec<f64>> {
        let time = |text: &str| text.parse().ok().filter(|ns: &f64| PLAUSIBLE.contains(ns));
        self.ns.split('+').map(time).collect()
    }

    /// The text of [`CalibrationRow::ns`], to a tenth of a nanosecond.
    pub fn joined(times: &[f64]) -> String {
        times.iter().map(|ns| format!("{ns:.1}")).collect::<Vec<_>>().join("+")
    }
}

impl Row for CalibrationRow {
    const FILE: &'static str = "calibration.csv";
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "block",
        "threads",
        "order",
        "arm",
        "loaded",
        "spin_ns",
        "warmup_ns",
        "ns",
        "flagged",
        "voluntary_switches",
        "involuntary_switches",
        "migrations",
        "minor_faults",
        "major_faults",
        "steal_ticks",
    ];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = Some(("loaded", &["true", "false"]));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let Some(times) = self.times() else {
            return Err(("ns", "positive numbers from 1e-12 to 1e18 joined by `+`"));
        };
        if !(self.warmup_ns.is_finite() && self.warmup_ns > 0.0) {
            Err(("warmup_ns", "a positive, finite number"))
        } else if !(self.spin_ns.is_finite() && self.spin_ns >= 0.0) {
            Err(("spin_ns", "a finite number, 0 or more"))
        } else if self.flagged as usize > times.len() {
            Err(("flagged", "at most as many as `ns` has times"))
        } else {
            Ok(())
        }
    }

    fn key(&self) -> String {
        let Self { session, block, threads, arm, .. } = self;
        format!("arm {arm} on {threads} threads in block {block} of session {session}")
    }

    fn cell_id(&self) -> Option<&str> {
        None
    }
}

/// Writes `calibration.json`, replacing it in one step.
///
/// # Errors
/// If the disk fails.
pub fn write_settings(dir: &Path, settings: &Settings) -> Result<(), RecordError> {
    store::write_json(&dir.join(CALIBRATION_FILE), settings)
}

/// Reads `calibration.json` and checks that later code may rely on it.
///
/// # Errors
/// If it is missing, not JSON of this shape, of another schema, or contradicts itself.
pub fn read_settings(dir: &Path) -> Result<Settings, RecordError> {
    let path = dir.join(CALIBRATION_FILE);
    let settings: Settings = store::read_json(&path, CALIBRATION_SCHEMA)?;
    settings.check().map_err(|message| RecordError::Inconsistent { path, message })?;
    Ok(settings)
}

/// Reads `calibration.csv`, if there is one, and whether a torn last line was left out.
///
/// # Errors
/// A row that is none, is there twice, or is not of these settings.
pub fn read_calibration(
    dir: &Path,
    settings: &Settings,
) -> Result<(Vec<CalibrationRow>, Option<TornLine>), RecordError> {
    let path = dir.join(CalibrationRow::FILE);
    if !path.exists() {
        return Ok((Vec::new(), None));
    }
    let bytes = std::fs::read(&path).map_err(|cause| RecordError::Io { path: path.clone(), cause })?;
    parse_rows_of(&path, &bytes, &BTreeMap::new(), |row: &CalibrationRow| {
        if row.block >= settings.blocks {
            Some(("block", format!("a planned block, below {}", settings.blocks)))
        } else if !settings.threads.contains(&(row.threads as usize)) {
            Some(("threads", format!("one of {:?}", settings.threads)))
        } else if !settings.arms.iter().any(|arm| arm.name == row.arm) {
            let names: Vec<&str> = settings.arms.iter().map(|arm| arm.name.as_str()).collect();
            Some(("arm", format!("one of {}", names.join(", "))))
        } else if row.times().is_none_or(|times| times.len() != settings.repetitions as usize) {
            Some(("ns", format!("{} times, as planned", settings.repetitions)))
        } else {
            None
        }
    })
}
