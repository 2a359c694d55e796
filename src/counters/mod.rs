//! Counters, in a pass of their own: what the hardware counts, what the compiled loops contain, what a
//! simulator says, and what a kernel executes one instruction at a time.
//!
//! One source of counters is one file and one line in [`SOURCES`]; an experiment chooses among them. A
//! counter without a value has a reason and a remedy. Simulation and single steps count [`Product`]s:
//! one kernel on a small matrix, in a process of its own.

pub mod callgrind;
mod child;
mod disassembly;
pub mod hardware;
pub mod product;
pub mod single_step;

use thiserror::Error;

pub use product::Product;

use crate::{
    arm::Arm,
    plan::{CounterSource, Plan, Workload},
    record::{CounterRow, CounterStatus},
    runner::RunError,
};

/// Where counters come from. To add one: a variant of [`CounterSource`], its file, and one line in
/// [`SOURCES`].
pub trait Source: Sync {
    /// Which one it is.
    fn kind(&self) -> CounterSource;

    /// Each of its counters once for each of `cells`, with a value or with the reason why there is none.
    ///
    /// # Errors
    /// A workload that cannot be built. What this machine cannot count is no error.
    fn count(&self, pass: &Pass<'_>, cells: &[Counted<'_>]) -> Result<Vec<CounterRow>, RunError>;
}

/// Every source, in the order of `counters.csv`.
pub const SOURCES: &[&dyn Source] =
    &[&disassembly::Disassembly, &hardware::Hardware, &callgrind::Callgrind, &single_step::SingleStep];

/// The sources of an experiment that names none: they take no time worth mentioning.
pub const DEFAULT: [CounterSource; 2] = [CounterSource::Disassembly, CounterSource::Hardware];

/// What all sources of a pass share.
pub struct Pass<'a> {
    pub workloads: &'a [Workload],
    /// Whether the experiment asks for counters by name. If it does not, nothing is counted that needs
    /// weights in copies.
    pub asked: bool,
    /// Says what is going on.
    pub say: &'a dyn Fn(&str),
}

/// A cell whose counters are wanted.
pub struct Counted<'a> {
    /// Id of the cell.
    pub id: &'a str,
    pub workload: &'a Workload,
    pub arm: Arm,
}

/// Why a counter has no value, and what would give one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}; remedy: {remedy}")]
pub struct NoCounters {
    pub reason: String,
    pub remedy: String,
    /// Whether the CPU that would count, real or simulated, lacks the instructions: nothing is wrong.
    pub lacks_instructions: bool,
}

impl NoCounters {
    /// A reason and a remedy.
    pub fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into(), lacks_instructions: false }
    }

    /// The CPU that would count lacks instructions of the kernel.
    pub fn lacking(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { lacks_instructions: true, ..Self::new(reason, remedy) }
    }
}

/// A value, how it came about, and what has to be known of it; or why there is none.
type Value = Result<(f64, CounterStatus, String), NoCounters>;

/// Every counter that `plan` asks for, of every cell.
///
/// # Errors
/// A workload that cannot be built.
pub fn run(plan: &Plan, say: &dyn Fn(&str)) -> Result<Vec<CounterRow>, RunError> {
    let wanted = plan.counters.as_deref().unwrap_or(&DEFAULT);
    let pass = Pass { workloads: &plan.workloads, asked: plan.counters.is_some(), say };
    let mut cells = Vec::new();
    for workload in &plan.workloads {
        for cell in plan.cells.iter().filter(|cell| cell.workload == workload.name) {
            cells.push(Counted { id: &cell.id, workload, arm: Arm::from_factors(&cell.factors)? });
        }
    }
    let mut rows = Vec::new();
    for source in SOURCES.iter().filter(|source| wanted.contains(&source.kind())) {
        rows.extend(source.count(&pass, &cells)?);
    }
    Ok(rows)
}

/// A row of `counters.csv`.
fn row(cell: &Counted<'_>, source: CounterSource, (counter, unit): (&str, &str), value: Value) -> CounterRow {
    let (value, status, reason) = match value {
        Ok((value, status, reason)) => (Some(value), status, reason),
        Err(none) => (None, CounterStatus::Unavailable, none.to_string()),
    };
    CounterRow {
        cell_id: cell.id.to_owned(),
        counter: counter.to_owned(),
        value,
        unit: unit.to_owned(),
        status,
        source: source.name().to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_listed_once() {
        let listed: Vec<CounterSource> = SOURCES.iter().map(|source| source.kind()).collect();
        assert_eq!(listed, CounterSource::ALL);
        assert!(DEFAULT.iter().all(|source| listed.contains(source)));
    }
}
