//! One row of each raw CSV file, as written and as read.
//!
//! Rows are raw: one metric of one repetition, one limit of the machine in one block, nothing
//! derived. Readers refuse unknown columns and other schema versions. A column for a new axis is no
//! new version, nor is one that may be empty: older files are read as [`read_rows`](super::read_rows) says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    doctor::Quantity,
    plan::{Cell, Workload},
};

/// Version of the raw CSV files, recorded in the manifest.
pub const SAMPLES_SCHEMA: u32 = 1;

/// What may be held against a sample: involuntary switches, a move between CPUs, page faults, time
/// taken by the host, a roof or a peak that moved meanwhile.
pub const FLAGS: [&str; 6] = ["preempted", "migrated", "faulted", "stolen", "roof_moved", "peak_moved"];

/// Flags that say that others had the CPUs while the sample was taken.
pub const DISTURBANCES: [&str; 2] = ["preempted", "stolen"];

/// Whether a repetition counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Recorded, never part of an estimate.
    Warmup,
    Measure,
}

/// One metric of one repetition of one cell in one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Which start of the runner took it: 0, then one more for each resume.
    pub session: u32,
    pub block: u32,
    /// Position of the cell in the realised order of its block.
    pub order: u32,
    pub cell_id: String,
    pub workload: String,
    pub arm: String,
    pub format: String,
    pub granularity: String,
    pub layout: String,
    pub unpack: String,
    pub unroll: String,
    pub isa: String,
    pub prefetch: String,
    pub epilogue: String,
    pub activations: String,
    pub blocking: String,
    pub shape: String,
    pub prefill: String,
    pub regions: String,
    pub pages: String,
    pub kv_cache: String,
    pub peer: String,
    pub threads: u32,
    pub phase: Phase,
    pub repetition: u32,
    /// `token_time`, `kernel_time`, `token_latency_p50`, `token_latency_p95`, `prefill_time`.
    pub metric: String,
    /// `ns/token`, `ns/layer_token` or `ns/product`.
    pub unit: String,
    pub value: f64,
    /// Read bandwidth of the memory that holds the weights (DRAM, or a cache for a cache-resident
    /// workload), measured just before the repetition with the same threads, in GB/s (1e9 bytes).
    pub roof_before: f64,
    /// The same, just after.
    pub roof_after: f64,
    /// Peak of int8 dot products with the vectors of the arm, measured just before the repetition with
    /// the same threads, in GMAC/s; of products with several columns alone, and not in older runs.
    pub peak_before: Option<f64>,
    /// The same, just after.
    pub peak_after: Option<f64>,
    /// Evidence against the sample, `+`-separated, each one of [`FLAGS`]; empty when clean.
    pub flags: String,
    /// Voluntary context switches of the process during the repetition.
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub migrations: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    /// Time stolen by the host during the repetition, all CPUs, in clock ticks of 10 ms.
    pub steal_ticks: u64,
    /// Time in which some task of the machine waited for a CPU during the repetition, as a part of it: what
    /// `/proc/pressure` counts. Empty where the system does not, and in older runs.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
}

impl Sample {
    /// What every sample of a cell says about it; all else is empty.
    pub fn of(cell: &Cell, workload: &Workload) -> Self {
        let level = |axis: &str| cell.level(axis).unwrap_or_default().to_owned();
        Self {
            session: 0,
            block: 0,
            order: 0,
            cell_id: cell.id.clone(),
            workload: workload.name.clone(),
            arm: cell.arm.clone(),
            format: level("format"),
            granularity: level("granularity"),
            layout: level("layout"),
            unpack: level("unpack"),
            unroll: level("unroll"),
            isa: level("isa"),
            prefetch: level("prefetch"),
            epilogue: level("epilogue"),
            activations: level("activations"),
            blocking: level("blocking"),
            shape: level("shape"),
            prefill: level("prefill"),
            regions: level("regions"),
            pages: level("pages"),
            kv_cache: level("kv_cache"),
            peer: level("peer"),
            threads: workload.threads as u32,
            phase: Phase::Measure,
            repetition: 0,
            metric: String::new(),
            unit: workload.time_unit(),
            value: 0.0,
            roof_before: 0.0,
            roof_after: 0.0,
            peak_before: None,
            peak_after: None,
            flags: String::new(),
            voluntary_switches: 0,
            involuntary_switches: 0,
            migrations: 0,
            minor_faults: 0,
            major_faults: 0,
            steal_ticks: 0,
            cpu_pressure: None,
            memory_pressure: None,
        }
    }
}

/// Roofs before and after one repetition that differ by more than this share of the larger one say
/// that the machine changed state in between.
pub const BRACKET_TOLERANCE: f64 = 0.10;

/// Whether a bracket's ends are apart.
pub fn bracket_moved(before: f64, after: f64) -> bool {
    (before - after).abs() > BRACKET_TOLERANCE * before.max(after)
}

/// Where a counter's value comes from, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CounterStatus {
    Measured,
    Simulated,
    Multiplexed,
    Unavailable,
}

/// One counter of one cell, from its own pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CounterRow {
    pub cell_id: String,
    /// `cycles`, `instructions`, `branch_misses`, …
    pub counter: String,
    /// Empty exactly when the status is `unavailable`.
    pub value: Option<f64>,
    pub unit: String,
    pub status: CounterStatus,
    /// `disassembly`, `perf_event`, `callgrind` or `single_step`.
    pub source: String,
    /// Why there is no value and what would give one. Of a value, how it came about where the source
    /// leaves that open: its settings, and behind a semicolon the kernel that ran.
    pub reason: String,
}

/// The counter of instructions of vector units for each weight of the inner loop, from which reports
/// estimate a bound by issue.
pub const VECTOR_OPERATIONS: &str = "loop_vector_operations_per_weight";

/// One limit of the machine, measured at the beginning of one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CeilingRow {
    /// As in [`Sample`]: the ceilings of a block belong to the samples of the same session.
    pub session: u32,
    pub block: u32,
    pub ceiling: Quantity,
    /// Of `int8_dot` and `vector_issue` an instruction set, of `read_bandwidth` a cache level or `DRAM`, of
    /// `core_to_core` the two CPUs.
    pub place: String,
    /// Threads that worked at the same time.
    pub threads: u32,
    /// Median of a few repetitions within the block.
    pub value: f64,
    /// [`Quantity::unit`].
    pub unit: String,
}

/// How the weights of a workload came to lie in memory in one block, in one of the forms of its arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightsRow {
    /// As in [`Sample`].
    pub session: u32,
    pub block: u32,
    pub workload: String,
    pub format: String,
    pub granularity: String,
    pub layout: String,
    pub pages: String,
    /// Equal copies at distinct addresses.
    pub copies: u64,
    /// Stored bytes of all copies: codes, scales and padding.
    pub bytes: u64,
    /// Bytes of their codes.
    pub code_bytes: u64,
    /// Those of them that lie in transparent huge pages; empty where the system does not tell.
    pub huge_bytes: Option<u64>,
    /// Nanoseconds that it took one thread to put the codes of one copy into their layout; empty where the
    /// weights are those of the workload before.
    pub pack_ns: Option<u64>,
}

/// A sample that is not, or not yet, in `samples.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApartSample<const OPEN: bool>(pub Sample);

/// A sample of a block that did not finish: kept for inspection, part of no estimate.
pub type PartialSample = ApartSample<false>;

/// A sample of the block that runs now: it is in `samples.csv` or `partial.csv` once the block has ended.
pub type OpenSample = ApartSample<true>;

/// A cell that is not timed any more, and why: it failed its check, crashed, hung, or computed
/// something else than the other arms of its format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureRow {
    pub cell_id: String,
    /// The block that it voided; the first if it never ran.
    pub block: u32,
    pub reason: String,
}

/// One of the two programs that a gate compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The base.
    A,
    /// The candidate.
    B,
}

impl Side {
    /// The name of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The one that it is compared with.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The order of the two processes of a pair, of which each side has the block of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairRow {
    pub pair: u32,
    /// The side whose process ran first.
    pub first: Side,
}
