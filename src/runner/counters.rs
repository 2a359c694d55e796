//! Counters, in a pass of their own: what the hardware counts, where it can be asked, and what the
//! compiled loops contain. A counter without a value has a reason and a remedy.

use std::collections::BTreeMap;

use septet_kernels::{Shape, gemm, registry};
use thiserror::Error;

use super::{RunError, stage::Stage};
use crate::{
    arm::Arm,
    disassembly,
    plan::{Plan, Source, Workload},
    record::{CounterRow, CounterStatus, row::VECTOR_OPERATIONS},
};

/// Hardware counters, in the order of the table.
const HARDWARE: [&str; 7] =
    ["cycles", "instructions", "branches", "branch_misses", "l1d_misses", "llc_misses", "dtlb_misses"];

/// Facts of the compiled inner loop, in the order of the table.
const LOOP: [(&str, &str); 4] = [
    ("loop_conditional_jumps_per_weight", "jumps/weight"),
    ("loop_instructions_per_weight", "instructions/weight"),
    ("loop_vector_bits", "bits"),
    (VECTOR_OPERATIONS, "operations/weight"),
];

/// Why there are no hardware counters.
#[derive(Clone, Debug, Error)]
#[error("{reason}; remedy: {remedy}")]
pub struct NoCounters {
    pub reason: String,
    pub remedy: String,
}

/// Whether this process may read hardware counters.
///
/// # Errors
/// Why not, and what to do.
pub fn hardware() -> Result<(), NoCounters> {
    hardware::Group::open().map(drop)
}

/// Every counter of every cell of `plan`.
///
/// # Errors
/// A workload that cannot be built.
pub fn run(plan: &Plan) -> Result<Vec<CounterRow>, RunError> {
    let mut rows = Vec::new();
    let hardware = hardware::Group::open();
    for workload in &plan.workloads {
        let cells = plan.cells.iter().filter(|cell| cell.workload == workload.name);
        let arms = cells
            .map(|cell| Ok((cell.id.as_str(), Arm::from_factors(&cell.factors)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        for (id, arm) in &arms {
            rows.extend(loop_facts(id, arm, workload));
        }
        rows.extend(hardware_counts(workload, &arms, &hardware)?);
    }
    Ok(rows)
}

/// What the disassembler found in the arm's inner loop: of a matrix with many columns that of the kernel
/// for many columns, if the arm uses it.
fn loop_facts(cell: &str, arm: &Arm, workload: &Workload) -> Vec<CounterRow> {
    let row = |(counter, unit): (&str, &str), value: Option<f64>, reason: String| CounterRow {
        cell_id: cell.to_owned(),
        counter: counter.to_owned(),
        value,
        unit: unit.to_owned(),
        status: if value.is_some() { CounterStatus::Measured } else { CounterStatus::Unavailable },
        source: "disassembly".to_owned(),
        reason,
    };
    if arm.peer.is_some() {
        let reason = "a kernel of another project: not disassembled";
        return LOOP.iter().map(|&counter| row(counter, None, reason.to_owned())).collect();
    }
    let [format] = arm.formats()[..] else {
        let reason = "a mixed arm runs a loop for each format: see the uniform arms";
        return LOOP.iter().map(|&counter| row(counter, None, reason.to_owned())).collect();
    };
    let cols = match (arm.shape, &workload.source) {
        (Shape::Runtime, _) => None,
        (Shape::CompileTime, Source::Matrix { cols, .. }) => Some(*cols),
        (Shape::CompileTime, Source::Shape { .. } | Source::Trained { .. }) => {
            let reason = "an arm of compile-time shapes runs a loop for each K of a model: see the matrices alone";
            return LOOP.iter().map(|&counter| row(counter, None, reason.to_owned())).collect();
        }
    };
    let batched = arm.prompt_kernels().first().filter(|_| workload.source.columns() > 1).copied();
    let found = match batched {
        Some(variant) => gemm::find(variant).map(disassembly::gemm_loop_facts),
        None => registry::find(arm.variant(format))
            .map(|kernel| disassembly::loop_facts(kernel, arm.prefetch.distance().is_some(), cols)),
    };
    match found {
        None => Vec::new(),
        Some(Ok(facts)) => {
            let values = [
                facts.jumps_per_weight(),
                facts.instructions_per_weight(),
                f64::from(facts.vector_bits),
                facts.vector_operations_per_weight(),
            ];
            LOOP.iter().zip(values).map(|(&counter, value)| row(counter, Some(value), String::new())).collect()
        }
        Some(Err(unavailable)) => LOOP.iter().map(|&counter| row(counter, None, unavailable.to_string())).collect(),
    }
}

/// Counts of one repetition of each arm of a trained workload, divided by its tokens.
fn hardware_counts(
    workload: &Workload,
    arms: &[(&str, Arm)],
    group: &Result<hardware::Group, NoCounters>,
) -> Result<Vec<CounterRow>, RunError> {
    let unavailable = |reason: &str| {
        let row = |cell: &str, counter: &str| CounterRow {
            cell_id: cell.to_owned(),
            counter: counter.to_owned(),
            value: None,
            unit: format!("1/{}", workload.unit),
            status: CounterStatus::Unavailable,
            source: "perf_event".to_owned(),
            reason: reason.to_owned(),
        };
        arms.iter().flat_map(|(cell, _)| HARDWARE.iter().map(move |counter| row(cell, counter))).collect()
    };
    let group = match group {
        Ok(group) => group,
        Err(none) => return Ok(unavailable(&none.to_string())),
    };
    if workload.threads > 1 || !matches!(workload.source, Source::Trained { .. }) {
        return Ok(unavailable("counted on single-threaded trained workloads only: a group follows one thread"));
    }
    let all: Vec<Arm> = arms.iter().map(|(_, arm)| *arm).collect();
    let stage = Stage::new(workload, &all, None)?;
    let mut rows = Vec::new();
    for (cell, arm) in arms {
        let mut running = stage.arm(arm, 2)?;
        stage.repeat(&mut *running)?;
        let counts: BTreeMap<&str, hardware::Count> = group.count(|| stage.repeat(&mut *running))?;
        rows.extend(HARDWARE.iter().map(|counter| {
            let count = counts.get(counter);
            CounterRow {
                cell_id: (*cell).to_owned(),
                counter: (*counter).to_owned(),
                value: count.map(|count| count.value / f64::from(workload.tokens)),
                unit: format!("1/{}", workload.unit),
                status: count.map_or(CounterStatus::Unavailable, |count| count.status),
                source: "perf_event".to_owned(),
                reason: if count.is_some() { String::new() } else { "this PMU has no such event".to_owned() },
            }
        }));
    }
    Ok(rows)
}

/// The PMU, through `perf_event_open(2)`.
#[cfg(target_os = "linux")]
mod hardware {
    use std::{cell::RefCell, collections::BTreeMap};

    use perf_event::{
        Builder, Counter,
        events::{Cache, CacheOp, CacheResult, Event, Hardware, WhichCache},
    };

    use super::NoCounters;
    use crate::record::CounterStatus;

    /// One counter's value and how it came about.
    pub struct Count {
        pub value: f64,
        pub status: CounterStatus,
    }

    /// The counters that this PMU has, of the calling thread, user mode only.
    pub struct Group(RefCell<Vec<(&'static str, Counter)>>);

    impl Group {
        /// Opens every counter that exists; an error, with a remedy, if there is none.
        pub fn open() -> Result<Self, NoCounters> {
            let misses = |which| Event::from(Cache { which, operation: CacheOp::READ, result: CacheResult::MISS });
            let events: [(&str, Event); 7] = [
                ("cycles", Hardware::CPU_CYCLES.into()),
                ("instructions", Hardware::INSTRUCTIONS.into()),
                ("branches", Hardware::BRANCH_INSTRUCTIONS.into()),
                ("branch_misses", Hardware::BRANCH_MISSES.into()),
                ("l1d_misses", misses(WhichCache::L1D)),
                ("llc_misses", misses(WhichCache::LL)),
                ("dtlb_misses", misses(WhichCache::DTLB)),
            ];
            let mut counters = Vec::new();
            let mut refused = None;
            for (name, event) in events {
                match Builder::new().kind(event).build() {
                    Ok(counter) => counters.push((name, counter)),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if counters.is_empty() => Err(NoCounters {
                    reason: format!("perf_event_open: {error}"),
                    remedy: "run on bare metal or in a virtual machine with a PMU, with kernel.perf_event_paranoid at \
                             2 or below"
                        .to_owned(),
                }),
                _ => Ok(Self(RefCell::new(counters))),
            }
        }

        /// What the counters say of `work`; scaled, and marked so, where they shared the hardware.
        ///
        /// # Errors
        /// The error of `work`, or of reading a counter.
        pub fn count<T, E: From<std::io::Error>>(
            &self,
            work: impl FnOnce() -> Result<T, E>,
        ) -> Result<BTreeMap<&'static str, Count>, E> {
            let mut counters = self.0.borrow_mut();
            for (_, counter) in counters.iter_mut() {
                counter.reset()?;
                counter.enable()?;
            }
            work()?;
            let mut counts = BTreeMap::new();
            for (name, counter) in counters.iter_mut() {
                counter.disable()?;
                let read = counter.read_count_and_time()?;
                if read.time_running == 0 {
                    continue;
                }
                let share = read.time_running as f64 / read.time_enabled as f64;
                let status = if share < 1.0 { CounterStatus::Multiplexed } else { CounterStatus::Measured };
                counts.insert(*name, Count { value: read.count as f64 / share, status });
            }
            Ok(counts)
        }
    }
}

/// Elsewhere there is no such interface.
#[cfg(not(target_os = "linux"))]
mod hardware {
    use std::collections::BTreeMap;

    use super::NoCounters;
    use crate::record::CounterStatus;

    /// One counter's value and how it came about.
    pub struct Count {
        pub value: f64,
        pub status: CounterStatus,
    }

    /// No counters.
    pub enum Group {}

    impl Group {
        /// Never succeeds.
        pub fn open() -> Result<Self, NoCounters> {
            Err(NoCounters {
                reason: "hardware counters are read through perf_event_open, which only Linux has".to_owned(),
                remedy: "run on Linux".to_owned(),
            })
        }

        /// Never called: there is no value of this type.
        pub fn count<T, E>(&self, _: impl FnOnce() -> Result<T, E>) -> Result<BTreeMap<&'static str, Count>, E> {
            match *self {}
        }
    }
}
