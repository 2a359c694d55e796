//! From a results directory to everything derived from it.
//!
//! [`build`] is a pure function of `manifest.json`, `samples.csv`, `ceilings.csv`, `weights.csv`,
//! `counters.csv` and `failures.csv`: no clock, no randomness, no map in hash order, fonts embedded. Running it again writes the same
//! bytes. The one thing from elsewhere is a sentence on the calibration of the same machine class, where
//! one lies beside the run ([`calibration::Calibration::beside`]).

pub mod amdahl;
pub mod analysis;
pub mod blocks;
pub mod calibration;
pub mod ceilings;
pub mod counters;
pub mod derived;
pub mod error;
pub mod factorial;
pub mod figure;
pub mod forecast;
pub mod grid;
pub mod metric;
pub mod quality;
pub mod render;
pub mod rivals;
pub mod roofline;
pub mod scaling;
pub mod splice;
pub mod table;
pub mod text;
pub mod throughput;
pub mod weights;

use std::fs;
use std::path::{Path, PathBuf};

use crate::plan::DesignKind;
use crate::record::block::{BlockRow, BlockStatus};
use crate::record::{
    CeilingRow, CounterRow, FailureRow, Sample, TornLine, WeightsRow, read_manifest, read_rows, read_rows_if_any,
};
use analysis::Analysis;
use calibration::Calibration;
pub use error::ReportError;
use figure::{Chart, FIGURES};
use grid::Grid;
use table::{TABLES, Table};

/// What was written, and what a reader should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportSummary {
    /// Paths relative to the results directory, in the order in which they were written.
    pub files: Vec<PathBuf>,
    /// Rows that an interrupted writer left unfinished.
    pub torn: Vec<TornLine>,
}

/// A results directory, read and analysed.
pub struct Report {
    pub analysis: Analysis,
    pub torn: Vec<TornLine>,
}

impl Report {
    /// Reads and analyses `dir`. A run that was stopped before its counter pass has no
    /// `counters.csv`, one from before ceilings or weights were recorded no `ceilings.csv` or `weights.csv`, and one without a failure
    /// no `failures.csv`.
    ///
    /// # Errors
    ///
    /// If a file is missing or malformed; the error says where and what was expected.
    pub fn read(dir: &Path) -> Result<Report, ReportError> {
        let manifest = read_manifest(dir)?;
        let (samples, torn_sample) = read_rows::<Sample>(dir, &manifest)?;
        let (counters, torn_counter) = read_rows_if_any::<CounterRow>(dir, &manifest)?;
        let (ceilings, torn_ceiling) = read_rows_if_any::<CeilingRow>(dir, &manifest)?;
        let (weights, torn_weights) = read_rows_if_any::<WeightsRow>(dir, &manifest)?;
        let (failures, torn_failure) = read_rows_if_any::<FailureRow>(dir, &manifest)?;
        let torns = [torn_sample, torn_counter, torn_ceiling, torn_weights, torn_failure];
        let mut torn: Vec<TornLine> = torns.into_iter().flatten().collect();
        let mut analysis = Analysis::new(manifest, &samples, counters, &ceilings, &weights, &failures)?;
        let calibration = Calibration::beside(dir, &analysis.manifest.environment)?;
        analysis.calibration = calibration.and_then(|calibration| calibration.sentence());
        let (tries, torn_try) = read_rows_if_any::<BlockRow>(dir, &analysis.manifest)?;
        analysis.requeued = tries.iter().filter(|row| row.status == BlockStatus::Requeued).count();
        torn.extend(torn_try);
        Ok(Report { analysis, torn })
    }

    /// Writes every derived file into `dir`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<ReportSummary, ReportError> {
        let analysis = &self.analysis;
        let mut writer = Writer { dir, files: Vec::new() };
        writer.write("cells.csv", &derived::cells_csv(analysis)?)?;
        writer.write("contrasts.csv", &derived::contrasts_csv(analysis)?)?;
        if !analysis.factorials.is_empty() {
            writer.write("effects.csv", &derived::effects_csv(analysis)?)?;
        }
        let origin = format!("{}, run {}", analysis.manifest.plan.experiment, analysis.manifest.run_id);
        // A table that the experiment has nothing to show in is not written.
        let tables = TABLES.iter().map(|table| (table.name(), table.build(analysis)));
        for (name, grid) in tables.filter(|(_, grid)| !grid.rows.is_empty()) {
            writer.table(name, &grid, &origin)?;
        }
        let charts = FIGURES.iter().flat_map(|figure| figure.charts(analysis));
        for chart in charts.filter(|chart| !chart.is_empty()) {
            writer.chart(&chart)?;
        }
        Ok(ReportSummary { files: writer.files, torn: self.torn.clone() })
    }

    /// The tables that a README shows, by the name of their markers: of kernels on matrices alone
    /// `beside_peers` where other projects ran, else `fastest`; of anything else `claims`, and `ladder` (the
    /// first cumulative design).
    pub fn headlines(&self) -> Vec<(&'static str, String)> {
        if self.analysis.manifest.plan.is_of_matrices() {
            let beside = table::BesidePeers.build(&self.analysis);
            return if beside.rows.is_empty() {
                vec![("fastest", render::markdown(&table::Fastest.build(&self.analysis)))]
            } else {
                vec![("beside_peers", render::markdown(&beside))]
            };
        }
        let claims = table::Claims.build(&self.analysis);
        let ladder = match self.analysis.designs(&[DesignKind::Cumulative]).first() {
            Some(design) => table::ladder(&self.analysis, design),
            None => Grid::new("This experiment has no cumulative design", &[]),
        };
        vec![("claims", render::markdown(&claims)), ("ladder", render::markdown(&ladder))]
    }
}

/// Rebuilds everything derived in the results directory `dir`.
///
/// # Errors
///
/// If the run cannot be read or a derived file cannot be written.
pub fn build(dir: &Path) -> Result<ReportSummary, ReportError> {
    Report::read(dir)?.write(dir)
}

/// Writes files below one directory and remembers them.
struct Writer<'a> {
    dir: &'a Path,
    files: Vec<PathBuf>,
}

impl Writer<'_> {
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        let path = self.dir.join(name);
        let io = |cause| ReportError::Io { path: path.clone(), cause };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        fs::write(&path, bytes).map_err(io)?;
        self.files.push(PathBuf::from(name));
        Ok(())
    }

    /// A table in every notation.
    fn table(&mut self, name: &str, grid: &Grid, origin: &str) -> Result<(), ReportError> {
        self.write(&format!("tables/{name}.md"), render::markdown(grid).as_bytes())?;
        self.write(&format!("tables/{name}.tex"), render::latex(grid, origin).as_bytes())?;
        self.write(&format!("tables/{name}.csv"), render::csv(grid).as_bytes())
    }

    /// A figure with its data.
    fn chart(&mut self, chart: &Chart) -> Result<(), ReportError> {
        let name = format!("figures/{}", chart.name());
        self.write(&format!("{name}.csv"), render::csv(&chart.data()).as_bytes())?;
        self.write(&format!("{name}.svg"), figure::svg(chart, &self.dir.join(&name))?.as_bytes())?;
        figure::png(chart, &self.dir.join(format!("{name}.png")))?;
        self.files.push(PathBuf::from(format!("{name}.png")));
        Ok(())
    }
}
