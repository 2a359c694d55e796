//! Systems without `perf_event_open`.

use std::io;

use super::{Event, Reading};
use crate::{counters::NoCounters, pool::ThreadPool};

/// No counters: there is no value of this type.
pub enum Thread {}

impl Thread {
    /// # Errors
    /// Always.
    pub fn open() -> Result<Self, NoCounters> {
        let reason = "hardware counters are read through perf_event_open, which only Linux has";
        Err(NoCounters::new(reason, "run on Linux on a machine with a PMU"))
    }

    /// # Errors
    /// Always.
    pub fn of_pool(_: &ThreadPool) -> Result<Vec<Self>, NoCounters> {
        Self::open().map(|thread| vec![thread])
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn check(&self) -> Result<(), NoCounters> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn start(&mut self) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn stop(&mut self) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn read(&mut self, _: Event) -> Result<Reading, NoCounters> {
        match *self {}
    }
}
