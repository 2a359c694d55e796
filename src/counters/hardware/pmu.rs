//! The counters of one thread, through the crate `perf-event`.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use perf_event::{
    Builder, Counter, Group,
    events::{Cache, CacheOp, CacheResult, Event as PerfEvent, Hardware, WhichCache},
};

use super::{Event, GROUPS, Reading};
use crate::{counters::NoCounters, pool::ThreadPool};

/// What would give counters where there are none.
const REMEDY: &str =
    "run on bare metal or in a virtual machine with a PMU, with kernel.perf_event_paranoid at 2 or below";

/// Every event on one thread, in user mode.
pub struct Thread {
    groups: Vec<Group>,
    counters: Vec<(Event, Result<Counter, NoCounters>)>,
}

impl Thread {
    /// Opens every event on the calling thread. An event that the PMU does not have is one without a
    /// counter.
    ///
    /// # Errors
    /// A system that opens no group at all.
    pub fn open() -> Result<Self, NoCounters> {
        let (mut groups, mut counters) = (Vec::new(), Vec::new());
        for events in GROUPS {
            let mut group = Group::new().map_err(|error| refused(&error))?;
            for &event in *events {
                let built = Builder::new().group(&mut group).kind(perf_event(event)).build();
                counters.push((event, built.map_err(|error| refused(&error))));
            }
            groups.push(group);
        }
        Ok(Self { groups, counters })
    }

    /// Every event on each thread of `pool`.
    ///
    /// # Errors
    /// As [`Thread::open`], on any of them.
    pub fn of_pool(pool: &ThreadPool) -> Result<Vec<Self>, NoCounters> {
        let opened = Mutex::new(Vec::new());
        pool.run(&|_| opened.lock().unwrap_or_else(PoisonError::into_inner).push(Self::open()));
        opened.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }

    /// Whether anything is counted.
    ///
    /// # Errors
    /// Why the last event is not, if none is.
    pub fn check(&self) -> Result<(), NoCounters> {
        let mut last = Ok(());
        for (_, counter) in &self.counters {
            match counter {
                Ok(_) => return Ok(()),
                Err(none) => last = Err(none.clone()),
            }
        }
        last
    }

    /// Counts from zero.
    ///
    /// # Errors
    /// A system that refuses.
    pub fn start(&mut self) -> io::Result<()> {
        self.groups.iter_mut().try_for_each(|group| group.reset().and_then(|()| group.enable()))
    }

    /// Stops counting.
    ///
    /// # Errors
    /// A system that refuses.
    pub fn stop(&mut self) -> io::Result<()> {
        self.groups.iter_mut().try_for_each(Group::disable)
    }

    /// What was counted between start and stop.
    ///
    /// # Errors
    /// Why the event has no counter, or cannot be read.
    pub fn read(&mut self, event: Event) -> Result<Reading, NoCounters> {
        let found = self.counters.iter_mut().find(|(other, _)| *other == event);
        let (_, counter) = found.ok_or_else(|| NoCounters::new("no group has this event", REMEDY))?;
        let read = counter.as_mut().map_err(|none| none.clone())?.read_count_and_time();
        let read = read.map_err(|error| refused(&error))?;
        Ok(Reading { count: read.count, enabled: read.time_enabled, running: read.time_running })
    }
}

fn refused(error: &io::Error) -> NoCounters {
    NoCounters::new(format!("perf_event_open: {error}"), REMEDY)
}

/// What the crate calls an event.
fn perf_event(event: Event) -> PerfEvent {
    let cache = |which, result| -> PerfEvent { Cache { which, operation: CacheOp::READ, result }.into() };
    match event {
        Event::Cycles => Hardware::CPU_CYCLES.into(),
        Event::Instructions => Hardware::INSTRUCTIONS.into(),
        Event::Branches => Hardware::BRANCH_INSTRUCTIONS.into(),
        Event::BranchMisses => Hardware::BRANCH_MISSES.into(),
        Event::L1dLoads => cache(WhichCache::L1D, CacheResult::ACCESS),
        Event::L1dMisses => cache(WhichCache::L1D, CacheResult::MISS),
        Event::LlcLoads => cache(WhichCache::LL, CacheResult::ACCESS),
        Event::LlcMisses => cache(WhichCache::LL, CacheResult::MISS),
        Event::DtlbMisses => cache(WhichCache::DTLB, CacheResult::MISS),
        Event::StalledFrontend => Hardware::STALLED_CYCLES_FRONTEND.into(),
        Event::StalledBackend => Hardware::STALLED_CYCLES_BACKEND.into(),
    }
}
