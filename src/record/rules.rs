//! What a row must satisfy beyond the types of its columns, by itself and beside its plan.

use std::ops::RangeInclusive;

use serde::{Serialize, de::DeserializeOwned};

use super::row::{
    ApartSample, CeilingRow, CounterRow, CounterStatus, FLAGS, FailureRow, PairRow, Sample, Side, WeightsRow,
};
use crate::{doctor::Quantity, plan::Plan};

/// Times in ns, rates in GMAC/s and bandwidths in GB/s: those of any machine lie far inside, and ratios of
/// any two in it, with the counts of a manifest, are finite numbers that are not zero.
pub(super) const PLAUSIBLE: RangeInclusive<f64> = 1e-12..=1e18;

/// A kind of row with its own CSV file.
pub trait Row: Serialize + DeserializeOwned {
    /// Name of the file within a results directory.
    const FILE: &'static str;
    /// Columns in the order in which they are written. Readers accept any order.
    const COLUMNS: &'static [&'static str];
    /// Columns that older files lack; they are empty there.
    const LATER: &'static [&'static str] = &[];
    /// The column that names one of a few things, and these.
    const CHOICE: Option<(&'static str, &'static [&'static str])>;
    /// What the types alone do not rule out: the column at fault and what it expects.
    fn check(&self) -> Result<(), (&'static str, &'static str)>;
    /// Where the row contradicts the plan: the column at fault and what the plan says. The plan has
    /// the row's cell, if the row is about one.
    fn contradicts(&self, _plan: &Plan) -> Option<(&'static str, String)> {
        None
    }
    /// What may be recorded only once.
    fn key(&self) -> String;
    /// The cell that the row is about, if it is about one.
    fn cell_id(&self) -> Option<&str>;
}

impl Row for Sample {
    const FILE: &'static str = "samples.csv";
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "block",
        "order",
        "cell_id",
        "workload",
        "arm",
        "format",
        "granularity",
        "layout",
        "unpack",
        "unroll",
        "isa",
        "prefetch",
        "epilogue",
        "activations",
        "blocking",
        "shape",
        "prefill",
        "regions",
        "pages",
        "kv_cache",
        "peer",
        "threads",
        "phase",
        "repetition",
        "metric",
        "unit",
        "value",
        "roof_before",
        "roof_after",
        "peak_before",
        "peak_after",
        "flags",
        "voluntary_switches",
        "involuntary_switches",
        "migrations",
        "minor_faults",
        "major_faults",
        "steal_ticks",
        "cpu_pressure",
        "memory_pressure",
    ];
    const LATER: &'static [&'static str] = &["peak_before", "peak_after", "cpu_pressure", "memory_pressure"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = Some(("phase", &["warmup", "measure"]));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let roof = |value: f64| value == 0.0 || PLAUSIBLE.contains(&value);
        let peak = |value: Option<f64>| value.is_none_or(|value| PLAUSIBLE.contains(&value));
        let pressure = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value >= 0.0);
        if !PLAUSIBLE.contains(&self.value) {
            Err(("value", "a positive number from 1e-12 to 1e18"))
        } else if !roof(self.roof_before) {
            Err(("roof_before", "a bandwidth in GB/s from 1e-12 to 1e18, or 0"))
        } else if !roof(self.roof_after) {
            Err(("roof_after", "a bandwidth in GB/s from 1e-12 to 1e18, or 0"))
        } else if !peak(self.peak_before) {
            Err(("peak_before", "a rate in GMAC/s from 1e-12 to 1e18, or nothing"))
        } else if !peak(self.peak_after) || self.peak_after.is_some() != self.peak_before.is_some() {
            Err(("peak_after", "a rate in GMAC/s from 1e-12 to 1e18, or nothing, as `peak_before`"))
        } else if !pressure(self.cpu_pressure) {
            Err(("cpu_pressure", "a finite share of the time, 0 or more, or nothing"))
        } else if !pressure(self.memory_pressure) {
            Err(("memory_pressure", "a finite share of the time, 0 or more, or nothing"))
        } else if !self.flags.split_terminator('+').all(|flag| FLAGS.contains(&flag)) {
            Err((
                "flags",
                "nothing, or some of preempted, migrated, faulted, stolen, roof_moved, peak_moved joined by `+`",
            ))
        } else {
            Ok(())
        }
    }

    fn contradicts(&self, plan: &Plan) -> Option<(&'static str, String)> {
        let cell = plan.cells.iter().find(|cell| cell.id == self.cell_id)?;
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload)?;
        let (threads, planned_threads) = (self.threads.to_string(), workload.threads.to_string());
        let unit = workload.time_unit();
        let levels = [
            ("workload", &self.workload, Some(cell.workload.as_str())),
            ("arm", &self.arm, Some(cell.arm.as_str())),
            ("format", &self.format, cell.level("format")),
            ("granularity", &self.granularity, cell.level("granularity")),
            ("layout", &self.layout, cell.level("layout")),
            ("unpack", &self.unpack, cell.level("unpack")),
            ("unroll", &self.unroll, cell.level("unroll")),
            ("isa", &self.isa, cell.level("isa")),
            ("prefetch", &self.prefetch, cell.level("prefetch")),
            ("epilogue", &self.epilogue, cell.level("epilogue")),
            ("activations", &self.activations, cell.level("activations")),
            ("blocking", &self.blocking, cell.level("blocking")),
            ("shape", &self.shape, cell.level("shape")),
            ("prefill", &self.prefill, cell.level("prefill")),
            ("regions", &self.regions, cell.level("regions")),
            ("pages", &self.pages, cell.level("pages")),
            ("kv_cache", &self.kv_cache, cell.level("kv_cache")),
            ("peer", &self.peer, cell.level("peer")),
            ("threads", &threads, Some(planned_threads.as_str())),
            ("unit", &self.unit, Some(unit.as_str())),
        ];
        let other = |(column, found, planned): &(&'static str, &String, Option<&str>)| {
            let planned = planned.filter(|planned| planned != found)?;
            Some((*column, format!("`{planned}`, as planned for this cell")))
        };
        if let Some(beyond) = beyond(self.block, plan) {
            return Some(beyond);
        }
        let metrics = workload.metrics();
        if !metrics.contains(&self.metric.as_str()) {
            return Some(("metric", format!("one of {}", metrics.join(", "))));
        }
        levels.iter().find_map(other)
    }

    fn key(&self) -> String {
        format!(
            "{} of repetition {} ({:?}) of cell {} in block {} of session {}",
            self.metric, self.repetition, self.phase, self.cell_id, self.block, self.session
        )
    }

    fn cell_id(&self) -> Option<&str> {
        Some(&self.cell_id)
    }
}

/// A block that the plan does not have, and what it has.
pub(super) fn beyond(block: u32, plan: &Plan) -> Option<(&'static str, String)> {
    let blocks = plan.protocol.blocks;
    (block >= blocks).then(|| ("block", format!("a block of the plan, below {blocks}")))
}

impl Row for CeilingRow {
    const FILE: &'static str = "ceilings.csv";
    const COLUMNS: &'static [&'static str] = &["session", "block", "ceiling", "place", "threads", "value", "unit"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = Some((
        "ceiling",
        &[
            Quantity::Int8Dot.name(),
            Quantity::VectorIssue.name(),
            Quantity::ReadBandwidth.name(),
            Quantity::CoreToCore.name(),
        ],
    ));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !PLAUSIBLE.contains(&self.value) {
            Err(("value", "a positive number from 1e-12 to 1e18"))
        } else if self.unit != self.ceiling.unit() {
            Err(("unit", "GMAC/s of int8_dot, Ginstr/s of vector_issue, GB/s of read_bandwidth, ns of core_to_core"))
        } else if self.place.is_empty() {
            Err(("place", "an instruction set, a cache level, DRAM, or two CPUs"))
        } else {
            Ok(())
        }
    }

    fn contradicts(&self, plan: &Plan) -> Option<(&'static str, String)> {
        let isas = plan.isas();
        // Two CPUs pass one line, whatever the number of threads of the workloads.
        let counts = if self.ceiling == Quantity::CoreToCore { vec![2] } else { plan.thread_counts() };
        let level = self.place == "DRAM" || self.place.strip_prefix('L').is_some_and(|n| n.parse::<u8>().is_ok());
        let counted = || counts.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        match self.ceiling {
            Quantity::Int8Dot | Quantity::VectorIssue if !isas.contains(self.place.as_str()) => {
                let isas: Vec<&str> = isas.into_iter().collect();
                Some(("place", format!("an instruction set of the plan: {}", isas.join(", "))))
            }
            Quantity::ReadBandwidth if !level => Some(("place", "DRAM, L1, L2, …".to_owned())),
            _ if !counts.contains(&(self.threads as usize)) => {
                Some(("threads", format!("a number of threads of the plan: {}", counted())))
            }
            _ => beyond(self.block, plan),
        }
    }

    fn key(&self) -> String {
        let Self { session, block, place, threads, .. } = self;
        format!("{} of {place}, threads {threads}, in block {block} of session {session}", self.ceiling.name())
    }

    fn cell_id(&self) -> Option<&str> {
        None
    }
}

impl Row for WeightsRow {
    const FILE: &'static str = "weights.csv";
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "block",
        "workload",
        "format",
        "granularity",
        "layout",
        "pages",
        "copies",
        "bytes",
        "code_bytes",
        "huge_bytes",
        "pack_ns",
    ];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = None;

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.copies == 0 {
            Err(("copies", "at least 1"))
        } else if self.bytes < self.code_bytes {
            Err(("bytes", "as many as `code_bytes` or more"))
        } else if self.code_bytes == 0 {
            Err(("code_bytes", "at least 1"))
        } else if self.huge_bytes.is_some_and(|huge| huge > self.code_bytes) {
            Err(("huge_bytes", "as many as `code_bytes` or fewer, or nothing"))
        } else if self.pack_ns == Some(0) {
            Err(("pack_ns", "a positive number, or nothing"))
        } else {
            Ok(())
        }
    }

    fn contradicts(&self, plan: &Plan) -> Option<(&'static str, String)> {
        let form = [
            ("format", &self.format),
            ("granularity", &self.granularity),
            ("layout", &self.layout),
            ("pages", &self.pages),
        ];
        if !plan.workloads.iter().any(|workload| workload.name == self.workload) {
            let names: Vec<&str> = plan.workloads.iter().map(|workload| workload.name.as_str()).collect();
            return Some(("workload", format!("a workload of the plan: {}", names.join(", "))));
        }
        let cells = || plan.cells.iter().filter(|cell| cell.workload == self.workload);
        let unused = form.into_iter().find(|(axis, level)| !cells().any(|cell| cell.level(axis) == Some(level)));
        unused
            .map(|(axis, _)| (axis, format!("a level of a cell on `{}`", self.workload)))
            .or_else(|| beyond(self.block, plan))
    }

    fn key(&self) -> String {
        let Self { session, block, workload, format, granularity, layout, pages, .. } = self;
        format!(
            "weights of `{workload}` as {format}, {granularity}, {layout}, {pages} in block {block} of session {session}"
        )
    }

    fn cell_id(&self) -> Option<&str> {
        None
    }
}

impl Row for CounterRow {
    const FILE: &'static str = "counters.csv";
    const COLUMNS: &'static [&'static str] = &["cell_id", "counter", "value", "unit", "status", "source", "reason"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> =
        Some(("status", &["measured", "simulated", "multiplexed", "unavailable"]));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let unavailable = self.status == CounterStatus::Unavailable;
        if self.value.is_some() == unavailable {
            Err(("value", "empty exactly when the status is `unavailable`"))
        } else if self.value.is_some_and(|value| !value.is_finite()) {
            Err(("value", "a finite number"))
        } else if unavailable && self.reason.is_empty() {
            Err(("reason", "why the counter is unavailable"))
        } else {
            Ok(())
        }
    }

    fn key(&self) -> String {
        format!("counter {} of cell {} from {}", self.counter, self.cell_id, self.source)
    }

    fn cell_id(&self) -> Option<&str> {
        Some(&self.cell_id)
    }
}

impl<const OPEN: bool> Row for ApartSample<OPEN> {
    const FILE: &'static str = if OPEN { "open.csv" } else { "partial.csv" };
    const COLUMNS: &'static [&'static str] = Sample::COLUMNS;
    const LATER: &'static [&'static str] = Sample::LATER;
    const CHOICE: Option<(&'static str, &'static [&'static str])> = Sample::CHOICE;

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        self.0.check()
    }

    fn key(&self) -> String {
        self.0.key()
    }

    fn cell_id(&self) -> Option<&str> {
        self.0.cell_id()
    }
}

impl Row for FailureRow {
    const FILE: &'static str = "failures.csv";
    const COLUMNS: &'static [&'static str] = &["cell_id", "block", "reason"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = None;

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.reason.is_empty() { Err(("reason", "why the cell failed")) } else { Ok(()) }
    }

    fn key(&self) -> String {
        format!("failure of cell {}", self.cell_id)
    }

    fn cell_id(&self) -> Option<&str> {
        Some(&self.cell_id)
    }
}

impl Row for PairRow {
    const FILE: &'static str = "pairs.csv";
    const COLUMNS: &'static [&'static str] = &["pair", "first"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> = Some(("first", &[Side::A.name(), Side::B.name()]));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        Ok(())
    }

    fn contradicts(&self, plan: &Plan) -> Option<(&'static str, String)> {
        let blocks = plan.protocol.blocks;
        (self.pair >= blocks).then(|| ("pair", format!("a pair of the plan, below {blocks}")))
    }

    fn key(&self) -> String {
        format!("pair {}", self.pair)
    }

    fn cell_id(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::AXES;

    #[test]
    fn every_factor_is_a_column() {
        let missing = AXES.iter().map(|axis| axis.name).find(|name| !Sample::COLUMNS.contains(name));
        assert_eq!(missing, None);
    }
}
