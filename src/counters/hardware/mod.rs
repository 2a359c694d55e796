//! What the hardware counts, through `perf_event_open(2)`: in user mode, on every thread of a workload's
//! pool, over the tokens of one repetition.
//!
//! A PMU has few counters. Events whose ratio is of interest share a group, which is counted all at once;
//! groups take turns where they do not fit side by side, and then their counts are scaled and marked.

#[cfg(target_os = "linux")]
mod pmu;
#[cfg(not(target_os = "linux"))]
#[path = "no_pmu.rs"]
mod pmu;

use std::collections::BTreeMap;

use super::{Counted, NoCounters, Pass, Value, row};
use crate::{
    arm::Arm,
    plan::{CounterSource, Residency, Workload},
    record::{CounterRow, CounterStatus},
    runner::{RunError, stage::Stage},
};

/// What is counted. Events of one group are counted at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Cycles,
    Instructions,
    Branches,
    BranchMisses,
    L1dLoads,
    L1dMisses,
    LlcLoads,
    LlcMisses,
    DtlbMisses,
    StalledFrontend,
    StalledBackend,
}

impl Event {
    /// The name of its counter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Instructions => "instructions",
            Self::Branches => "branches",
            Self::BranchMisses => "branch_misses",
            Self::L1dLoads => "l1d_loads",
            Self::L1dMisses => "l1d_misses",
            Self::LlcLoads => "llc_loads",
            Self::LlcMisses => "llc_misses",
            Self::DtlbMisses => "dtlb_misses",
            Self::StalledFrontend => "stalled_cycles_frontend",
            Self::StalledBackend => "stalled_cycles_backend",
        }
    }
}

/// Every event, in groups of at most four: as many as any PMU counts at once. Rates are quotients within a
/// group; misses for each instruction are quotients of two.
pub const GROUPS: &[&[Event]] = &[
    &[Event::Cycles, Event::Instructions, Event::Branches, Event::BranchMisses],
    &[Event::L1dLoads, Event::L1dMisses, Event::LlcLoads, Event::LlcMisses],
    &[Event::DtlbMisses, Event::StalledFrontend, Event::StalledBackend],
];

/// Whether this process may read hardware counters.
///
/// # Errors
/// Why not, and what to do.
pub fn available() -> Result<(), NoCounters> {
    pmu::Thread::open().and_then(|thread| thread.check())
}

/// One event on one thread: the count, and for how many nanoseconds the thread ran with the counter
/// wanted and with it counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub count: u64,
    pub enabled: u64,
    pub running: u64,
}

/// The counter over all threads: their counts, each scaled to the time that its thread ran.
///
/// # Errors
/// A thread that ran and on which the event was never counted.
pub fn sum(readings: &[Reading]) -> Value {
    let mut total = 0.0;
    let (mut enabled, mut running) = (0, 0);
    for reading in readings.iter().filter(|reading| reading.enabled > 0) {
        if reading.running == 0 {
            let reason = "the event was not counted for a single moment: other events hold the counters of the PMU";
            return Err(NoCounters::new(reason, "end other profilers, and the NMI watchdog (kernel.nmi_watchdog=0)"));
        }
        total += reading.count as f64 * (reading.enabled as f64 / reading.running as f64);
        enabled += reading.enabled;
        running += reading.running;
    }
    if running == enabled {
        return Ok((total, CounterStatus::Measured, String::new()));
    }
    let share = 100.0 * running as f64 / enabled as f64;
    Ok((
        total,
        CounterStatus::Multiplexed,
        format!("counted {share:.1}% of the time and scaled: groups of events take turns"),
    ))
}

/// What the hardware counts.
pub struct Hardware;

impl super::Source for Hardware {
    fn kind(&self) -> CounterSource {
        CounterSource::Hardware
    }

    /// Tokens of one repetition behind one that warms up, without the prompt, for each unit of the
    /// workload.
    fn count(&self, pass: &Pass<'_>, cells: &[Counted<'_>]) -> Result<Vec<CounterRow>, RunError> {
        let available = available();
        let mut rows = Vec::new();
        for workload in pass.workloads {
            let cells: Vec<&Counted<'_>> = cells.iter().filter(|cell| cell.workload.name == workload.name).collect();
            if cells.is_empty() {
                continue;
            }
            let arms: Vec<Arm> = cells.iter().map(|cell| cell.arm).collect();
            let stage = match &available {
                Err(none) => Err(none.clone()),
                Ok(()) if workload.residency == Residency::Dram && !pass.asked => Err(NoCounters::new(
                    "weights in memory are not made a second time for counters that nobody asked for",
                    "name `hardware` in `[counters]` of the experiment",
                )),
                Ok(()) => {
                    (pass.say)(&format!("reading hardware counters on {}", workload.name));
                    Ok(Stage::new(workload, &arms, None)?)
                }
            };
            let unit = format!("1/{}", workload.unit);
            let units = f64::from(workload.tokens) * workload.units_of_a_token() as f64;
            for cell in cells {
                let counts = match &stage {
                    Ok(stage) => counts(stage, workload, &cell.arm)?,
                    Err(none) => Err(none.clone()),
                };
                rows.extend(GROUPS.iter().copied().flatten().map(|event| {
                    let value = counts.as_ref().map_err(NoCounters::clone).and_then(|counts| counts[event].clone());
                    let value = value.map(|(value, status, how)| (value / units, status, how));
                    row(cell, self.kind(), (event.name(), &unit), value)
                }));
            }
        }
        Ok(rows)
    }
}

/// Every event over one repetition of `arm`.
fn counts(
    stage: &Stage,
    workload: &Workload,
    arm: &Arm,
) -> Result<Result<BTreeMap<Event, Value>, NoCounters>, RunError> {
    if arm.peer.is_some() {
        let reason = "the threads of another project's library are not followed";
        return Ok(Err(NoCounters::new(reason, "use `perf stat` on the whole process")));
    }
    let mut running = stage.arm(arm, 2)?;
    stage.repeat(&mut *running)?;
    running.rewind();
    running.read_prompt()?;
    let mut threads = match pmu::Thread::of_pool(stage.pool()) {
        Ok(threads) => threads,
        Err(reason) => return Ok(Err(reason)),
    };
    threads.iter_mut().try_for_each(pmu::Thread::start)?;
    for _ in 0..workload.tokens {
        running.token()?;
    }
    threads.iter_mut().try_for_each(pmu::Thread::stop)?;
    running.rest();
    let mut counts = BTreeMap::new();
    for &event in GROUPS.iter().copied().flatten() {
        let readings: Result<Vec<Reading>, NoCounters> = threads.iter_mut().map(|thread| thread.read(event)).collect();
        counts.insert(event, readings.and_then(|readings| sum(&readings)));
    }
    Ok(Ok(counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn reading(count: u64, enabled: u64, running: u64) -> Reading {
        Reading { count, enabled, running }
    }

    #[test]
    fn counts_of_threads_add_up() {
        let idle = reading(0, 0, 0);
        let sum = sum(&[reading(100, 50, 50), reading(20, 10, 10), idle]);
        assert_eq!(sum, Ok((120.0, CounterStatus::Measured, String::new())));
        assert_eq!(super::sum(&[idle]), Ok((0.0, CounterStatus::Measured, String::new())));
    }

    #[test]
    fn each_thread_is_scaled_by_its_own_time() {
        let (value, status, reason) = sum(&[reading(100, 80, 20), reading(30, 20, 20)]).unwrap();
        assert_eq!((value, status), (430.0, CounterStatus::Multiplexed));
        assert!(reason.contains("40.0%"), "{reason}");
    }

    #[test]
    fn an_event_that_never_ran_has_no_count() {
        let none = sum(&[reading(100, 80, 80), reading(0, 20, 0)]).unwrap_err();
        assert!(none.reason.contains("not counted") && none.remedy.contains("watchdog"), "{none}");
    }

    #[test]
    fn no_group_is_larger_than_a_pmu_and_no_event_is_counted_twice() {
        let mut events: Vec<Event> = GROUPS.iter().copied().flatten().copied().collect();
        assert!(GROUPS.iter().all(|group| (1..=4).contains(&group.len())));
        let listed = events.len();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), listed);
    }

    /// Without a PMU every row has the reason; with one, a value.
    #[test]
    fn the_pmu_counts_or_says_why_not() {
        match available() {
            Ok(()) => {
                let mut thread = pmu::Thread::open().unwrap();
                thread.start().unwrap();
                let work: u64 = std::hint::black_box((0..1000_u64).sum());
                thread.stop().unwrap();
                let read = thread.read(Event::Instructions).unwrap();
                assert!(work == 499_500 && (read.running == 0 || read.count > 0), "{read:?}");
            }
            Err(none) => assert!(!none.reason.is_empty() && none.remedy.contains("PMU"), "{none}"),
        }
    }
}
