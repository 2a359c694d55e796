//! `calibration.json` and `calibration.csv`: what a calibration writes.

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    error::RecordError,
    row::FLAGS,
    rules::{PLAUSIBLE, Row},
    store::{self, TornLine, parse_rows_of},
};
use crate::calibration::{CALIBRATION_SCHEMA, Settings};

/// Name of the settings within the folder of a calibration.
pub const CALIBRATION_FILE: &str = "calibration.json";

/// One arm in one block on one number of threads: all of its turns.
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
    /// Time that a spin added to each product of side B.
    pub spin_ns: f64,
    /// Mean time of a product in each turn of side A, which ran the reference, `+`-separated.
    pub a_ns: String,
    /// The same of side B, which ran the arm.
    pub b_ns: String,
    /// Flags of the evidence, `+`-separated, as in `samples.csv`.
    pub flags: String,
    /// The evidence of both processes, each from its first turn to its last, added up: waiting for a turn is a
    /// voluntary switch, and what the host stole counts for both.
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub migrations: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub steal_ticks: u64,
}

impl CalibrationRow {
    /// Mean times of a product in the turns of A and of B, in ns; nothing where a text is not a list of
    /// plausible times.
    pub fn times(&self) -> Option<[Vec<f64>; 2]> {
        Some([plausible(&self.a_ns)?, plausible(&self.b_ns)?])
    }

    /// The text of a column of times, to the nanosecond.
    pub fn joined(times: &[f64]) -> String {
        times.iter().map(|ns| format!("{ns:.0}")).collect::<Vec<_>>().join("+")
    }
}

fn plausible(joined: &str) -> Option<Vec<f64>> {
    let time = |text: &str| text.parse().ok().filter(|ns: &f64| PLAUSIBLE.contains(ns));
    joined.split('+').map(time).collect()
}

impl Row for CalibrationRow {
    const FILE: &'static str = "calibration.csv";
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "block",
        "threads",
        "order",
        "arm",
        "spin_ns",
        "a_ns",
        "b_ns",
        "flags",
        "voluntary_switches",
        "involuntary_switches",
        "migrations",
        "minor_faults",
        "major_faults",
        "steal_ticks",
    ];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = None;

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let times = "positive numbers from 1e-12 to 1e18 joined by `+`";
        if plausible(&self.a_ns).is_none() {
            Err(("a_ns", times))
        } else if plausible(&self.b_ns).is_none() {
            Err(("b_ns", times))
        } else if !(self.spin_ns.is_finite() && self.spin_ns >= 0.0) {
            Err(("spin_ns", "a finite number, 0 or more"))
        } else if self.flags.split('+').any(|flag| !flag.is_empty() && !FLAGS.contains(&flag)) {
            Err(("flags", "flags of samples joined by `+`"))
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
        } else if !settings.compared().iter().any(|arm| arm.name == row.arm) {
            let names: Vec<&str> = settings.compared().iter().map(|arm| arm.name.as_str()).collect();
            Some(("arm", format!("one of {}", names.join(", "))))
        } else if row.times().is_none_or(|times| times.iter().any(|times| times.len() != settings.turns as usize)) {
            Some(("a_ns", format!("{} times, as planned, and as many in `b_ns`", settings.turns)))
        } else {
            None
        }
    })
}
