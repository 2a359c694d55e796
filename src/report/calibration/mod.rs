//! From the rows of a calibration to what it says: false alarms, and which slow-downs are found.
//!
//! A pure function of `calibration.json` and `calibration.csv`, as reports of runs are of theirs.

mod figure;
pub mod rates;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::grid::Grid;
use super::{ReportError, ReportSummary, Writer, render};
use crate::calibration::Settings;
use crate::record::TornLine;
use crate::record::calibration::{CALIBRATION_FILE, read_calibration, read_settings};
use rates::{Stratum, strata};

/// Facts of the environment that make a machine class: runs with these facts are calibrated by it. Those
/// that change with a reboot or from minute to minute are none of them.
pub const FINGERPRINT: [&str; 7] =
    ["cpu", "cpu_family_model_stepping", "cores", "caches", "os_kernel", "governor", "clocksource"];

/// The folder below the results that holds calibrations, and how the names of those begin that reports of
/// other runs may rest on: committed ones, so that a report does not depend on what else lies there.
const FOLDER: &str = "calibration";
const COMMITTED: &str = "reference";

/// A calibration, read and counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    pub settings: Settings,
    pub strata: Vec<Stratum>,
    pub torn: Option<TornLine>,
}

impl Calibration {
    /// Whether `dir` holds a calibration.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(CALIBRATION_FILE).exists()
    }

    /// Reads and counts the calibration in `dir`.
    ///
    /// # Errors
    /// Files that are missing or malformed.
    pub fn read(dir: &Path) -> Result<Self, ReportError> {
        let settings = read_settings(dir)?;
        let (rows, torn) = read_calibration(dir, &settings)?;
        let strata = strata(&settings, &rows);
        Ok(Self { settings, strata, torn })
    }

    /// The calibration of the machine class of `environment` beside the run in `run`, that is in
    /// `calibration/reference*/` of the folder that holds its experiment; of several the last by name.
    ///
    /// # Errors
    /// A calibration that cannot be read.
    pub fn beside(run: &Path, environment: &BTreeMap<String, String>) -> Result<Option<Self>, ReportError> {
        results_of(run).map_or(Ok(None), |results| Self::among(&results, environment))
    }

    /// As [`Calibration::beside`], of the folder of all results.
    ///
    /// # Errors
    /// As there.
    pub fn among(results: &Path, environment: &BTreeMap<String, String>) -> Result<Option<Self>, ReportError> {
        let folder = results.join(FOLDER);
        let mut dirs: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        dirs.sort();
        for dir in dirs.into_iter().rev().filter(|dir| is_committed(dir) && Self::is_in(dir)) {
            if same_class(&read_settings(&dir)?.environment, environment) {
                return Self::read(&dir).map(Some);
            }
        }
        Ok(None)
    }

    /// What tables of other runs and gates say of it.
    pub fn sentence(&self) -> Option<String> {
        tables::sentence(self)
    }

    /// Writes tables and figure into `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<ReportSummary, ReportError> {
        let mut writer = Writer { dir, files: Vec::new() };
        writer.write("rates.csv", render::csv(&tables::rates(self)).as_bytes())?;
        let origin = format!("calibration {}", self.settings.run_id);
        let all: [(&str, Grid); 3] = [
            ("false_alarms", tables::false_alarms(self)),
            ("detection", tables::detection(self)),
            ("evidence", tables::evidence(self)),
        ];
        for (name, grid) in all {
            writer.table(name, &grid, &origin)?;
        }
        for chart in figure::charts(self) {
            writer.chart(&chart)?;
        }
        Ok(ReportSummary { files: writer.files, torn: self.torn.clone().into_iter().collect() })
    }
}

/// Rebuilds everything derived in the folder `dir` of a calibration.
///
/// # Errors
/// If it cannot be read or a derived file cannot be written.
pub fn build(dir: &Path) -> Result<ReportSummary, ReportError> {
    Calibration::read(dir)?.write(dir)
}

/// The folder of all results that the run in `run` belongs to: `results` of `results/ablation/reference`.
fn results_of(run: &Path) -> Option<PathBuf> {
    let run = fs::canonicalize(run).ok()?;
    run.parent()?.parent().map(Path::to_owned)
}

fn is_committed(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(COMMITTED))
}

/// Whether two environments are of one machine class.
fn same_class(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    FINGERPRINT.iter().all(|key| one.get(*key) == other.get(*key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Size;
    use crate::record::calibration::write_settings;

    fn environment(cpu: &str, load: &str) -> BTreeMap<String, String> {
        [("cpu", cpu), ("cores", "2"), ("load", load)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn a_run_finds_the_calibration_of_its_machine_class() {
        let results = tempfile::tempdir().unwrap();
        let run = results.path().join("ablation/reference");
        fs::create_dir_all(&run).unwrap();
        assert_eq!(Calibration::beside(&run, &environment("x", "0")).unwrap(), None, "no calibration at all");
        for (name, cpu) in [("reference", "x"), ("reference-y", "y"), ("20261121T000000Z-1", "z")] {
            let dir = results.path().join(FOLDER).join(name);
            fs::create_dir_all(&dir).unwrap();
            let size = Size { blocks: 16, window: 2, cores: 2 };
            write_settings(&dir, &Settings::new(size, name.to_owned(), environment(cpu, "1"))).unwrap();
        }
        let found = |cpu| Calibration::beside(&run, &environment(cpu, "7")).unwrap().map(|c| c.settings.run_id);
        assert_eq!(
            [found("x"), found("y"), found("z")],
            [Some("reference".to_owned()), Some("reference-y".to_owned()), None]
        );
        // Nothing is counted yet, so there is nothing to say.
        assert_eq!(Calibration::beside(&run, &environment("x", "7")).unwrap().unwrap().sentence(), None);
    }
}
