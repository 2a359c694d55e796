//! Evidence against a sample: what the operating system did to this process while it ran.
//!
//! Read outside the timed region, from `/proc`. Rules depend on these counts alone and never on
//! the value of a sample; a sample is flagged, never dropped.

use std::{fs, ops::Add};

use serde::{Deserialize, Serialize};

/// Counts since the process started; their differences belong to one repetition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Voluntary context switches of all threads.
    pub voluntary_switches: u64,
    /// Involuntary context switches of all threads.
    pub involuntary_switches: u64,
    /// Moves of a thread between CPUs.
    pub migrations: u64,
    /// Page faults without and with a read from disk.
    pub minor_faults: u64,
    pub major_faults: u64,
    /// Ticks (10 ms) that the host took from this machine's CPUs.
    pub steal_ticks: u64,
    /// Microseconds in which some task of the machine waited for a CPU, where the system counts them.
    pub cpu_stalled_us: Option<u64>,
    /// The same for memory.
    pub memory_stalled_us: Option<u64>,
}

/// Involuntary switches a second of one thread above which a sample is flagged: a scheduler tick
/// every 4 ms that finds nobody waiting does not switch.
const SWITCHES_PER_SECOND: f64 = 20.0;

/// Minor faults in one repetition above which it is flagged: the buffers were touched before.
const MINOR_FAULTS: u64 = 64;

impl Evidence {
    /// The counts now. A file that the system does not have counts as zero.
    pub fn now() -> Self {
        let mut evidence = Self::default();
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        for task in tasks.map(|task| task.path()) {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            evidence.voluntary_switches += field(&status, "voluntary_ctxt_switches");
            evidence.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches");
            let sched = fs::read_to_string(task.join("sched")).unwrap_or_default();
            evidence.migrations += field(&sched, "se.nr_migrations");
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is a name in parentheses, which may hold spaces; minflt and majflt are
        // the 10th and 12th field of proc_pid_stat(5).
        let after_name: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let number = |at: usize| after_name.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        evidence.minor_faults = number(7);
        evidence.major_faults = number(9);
        let cpus = fs::read_to_string("/proc/stat").unwrap_or_default();
        let steal = cpus.lines().next().and_then(|line| line.split_whitespace().nth(8)).and_then(|n| n.parse().ok());
        evidence.steal_ticks = steal.unwrap_or(0);
        evidence.cpu_stalled_us = stalled("cpu");
        evidence.memory_stalled_us = stalled("memory");
        evidence
    }

    /// What happened since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            voluntary_switches: self.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(before.involuntary_switches),
            migrations: self.migrations.saturating_sub(before.migrations),
            minor_faults: self.minor_faults.saturating_sub(before.minor_faults),
            major_faults: self.major_faults.saturating_sub(before.major_faults),
            steal_ticks: self.steal_ticks.saturating_sub(before.steal_ticks),
            cpu_stalled_us: difference(self.cpu_stalled_us, before.cpu_stalled_us),
            memory_stalled_us: difference(self.memory_stalled_us, before.memory_stalled_us),
        }
    }

    /// Flags of a repetition that took `seconds` on `threads` threads and saw these counts.
    pub fn flags(&self, seconds: f64, threads: usize) -> Vec<&'static str> {
        let allowed = 1.0 + SWITCHES_PER_SECOND * seconds * threads as f64;
        let rules = [
            (self.involuntary_switches as f64 > allowed, "preempted"),
            (self.migrations > 0, "migrated"),
            (self.major_faults > 0 || self.minor_faults > MINOR_FAULTS, "faulted"),
            (self.steal_ticks > 0, "stolen"),
        ];
        rules.into_iter().filter_map(|(holds, flag)| holds.then_some(flag)).collect()
    }
}

impl Add for Evidence {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        Self {
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
            migrations: self.migrations + other.migrations,
            minor_faults: self.minor_faults + other.minor_faults,
            major_faults: self.major_faults + other.major_faults,
            steal_ticks: self.steal_ticks + other.steal_ticks,
            cpu_stalled_us: sum(self.cpu_stalled_us, other.cpu_stalled_us),
            memory_stalled_us: sum(self.memory_stalled_us, other.memory_stalled_us),
        }
    }
}

/// The total of the line `some` of a file of `/proc/pressure`, in microseconds.
fn stalled(resource: &str) -> Option<u64> {
    total(&fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?)
}

/// The total of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn total(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("total=")).and_then(|total| total.parse().ok())
}

fn difference(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(before?))
}

/// The number of a `name … number` line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.split([':', ' ', '\t']).next() == Some(name));
    line.and_then(|line| line.split_whitespace().last()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_whole_names() {
        let status = "voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "voluntary_ctxt_switches"), 12);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), 3);
        assert_eq!(field("se.nr_migrations                 :   7\n", "se.nr_migrations"), 7);
    }

    #[test]
    fn pressure_is_the_total_of_some_task() {
        let text =
            "some avg10=0.68 avg60=0.92 avg300=7.23 total=8925365264\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(total(text), Some(8_925_365_264));
        assert_eq!(total("full avg10=0.00 total=7\n"), None);
        assert_eq!(
            (difference(Some(9), Some(4)), difference(Some(9), None), difference(None, None)),
            (Some(5), None, None)
        );
    }

    #[test]
    fn flags_depend_on_counts_alone() {
        let clean = Evidence::default();
        assert!(clean.flags(1.0, 2).is_empty());
        let moved = Evidence { migrations: 1, steal_ticks: 2, ..clean };
        assert_eq!(moved.flags(1.0, 2), ["migrated", "stolen"]);
        let busy = Evidence { involuntary_switches: 30, ..clean };
        assert_eq!(busy.flags(0.1, 1), ["preempted"]);
        assert!(busy.flags(1.0, 2).is_empty());
    }
}
