//! What the machine says about itself, each fact with its source and, where it says nothing, with a
//! remedy.

use std::fs;

use serde::Serialize;

use crate::{
    counters::{callgrind::Simulator, hardware},
    runner::machine::{self, NOT_EXPOSED},
};

/// One fact.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    pub name: String,
    #[serde(flatten)]
    pub value: Value,
    /// File or call that it comes from.
    pub source: String,
}

/// A value, or why there is none.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Value {
    Known { value: String },
    Unavailable { reason: String, remedy: String },
}

impl Value {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known { value } => Some(value),
            Self::Unavailable { .. } => None,
        }
    }
}

/// Facts that the fingerprint of a run has, too: name, source, and what to do if it is not exposed.
const FINGERPRINT: [(&str, &str, &str); 13] = [
    ("cpu", "/proc/cpuinfo", "run on Linux"),
    ("cores", "available_parallelism", "run on Linux"),
    ("thread_siblings_of_cpu0", "/sys/devices/system/cpu", "mount /sys"),
    ("caches", "/sys/devices/system/cpu/cpu0/cache", "mount /sys; else a last-level cache of 256 MiB is assumed"),
    ("memory", "/proc/meminfo", "run on Linux"),
    ("os_kernel", "/proc/sys/kernel/osrelease", "run on Linux"),
    (
        "governor",
        "/sys/devices/system/cpu/cpu0/cpufreq",
        "run on bare metal: a virtual machine's host governs the clock",
    ),
    ("clocksource", "/sys/devices/system/clocksource", "mount /sys"),
    ("transparent_hugepage", "/sys/kernel/mm/transparent_hugepage", "a kernel with CONFIG_TRANSPARENT_HUGEPAGE"),
    ("aslr", "/proc/sys/kernel/randomize_va_space", "run on Linux"),
    ("pmu_devices", "/sys/bus/event_source/devices", "mount /sys"),
    ("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid", "a kernel with CONFIG_PERF_EVENTS"),
    ("load", "/proc/loadavg", "run on Linux"),
];

/// All facts, in the order of the report.
pub fn read() -> Vec<Fact> {
    let fingerprint = machine::facts();
    let mut facts: Vec<Fact> = FINGERPRINT
        .iter()
        .map(|&(name, source, remedy)| {
            let value = fingerprint.get(name).filter(|value| *value != NOT_EXPOSED).cloned();
            fact(name, source, value.ok_or(("not exposed".to_owned(), remedy.to_owned())))
        })
        .collect();
    let steal = fs::read_to_string("/proc/stat").ok().and_then(|stat| steal_share(&stat));
    let steal = steal.map(|share| format!("{:.2} %", 100.0 * share));
    let unknown = ("not exposed".to_owned(), "run on Linux".to_owned());
    facts.push(fact("steal_since_boot", "/proc/stat", steal.ok_or(unknown)));
    let counters = hardware::available().map(|()| "available".to_owned());
    facts.push(fact("hardware_counters", "perf_event_open", counters.map_err(|no| (no.reason, no.remedy))));
    facts.push(fact("valgrind", "PATH", valgrind()));
    facts
}

fn fact(name: &str, source: &str, value: Result<String, (String, String)>) -> Fact {
    let value = match value {
        Ok(value) => Value::Known { value },
        Err((reason, remedy)) => Value::Unavailable { reason, remedy },
    };
    Fact { name: name.to_owned(), value, source: source.to_owned() }
}

/// Share of all time since boot that the host gave to others, from the first line of `/proc/stat`:
/// user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time.
fn steal_share(stat: &str) -> Option<f64> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    let ticks = words.take(8).map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let (steal, total) = (*ticks.get(7)?, ticks.iter().sum::<u64>());
    (total > 0).then(|| steal as f64 / total as f64)
}

/// The version of the valgrind in `PATH`.
fn valgrind() -> Result<String, (String, String)> {
    match Simulator::find() {
        Ok(simulator) => Ok(format!("{} ({})", simulator.version, simulator.path().display())),
        Err(none) => Err((none.reason, none.remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_of_eight_parts() {
        let stat = "cpu  50 0 20 900 5 0 0 25 40 0\ncpu0 1 2 3\n";
        assert_eq!(steal_share(stat), Some(0.025));
        assert_eq!(steal_share("cpu  1 2 3 4\n"), None);
        assert_eq!(steal_share("cpu  0 0 0 0 0 0 0 0\n"), None);
        assert_eq!(steal_share("intr 1\n"), None);
        assert_eq!(steal_share(""), None);
    }

    #[test]
    fn every_fact_has_a_value_or_a_reason_and_a_remedy() {
        for fact in read() {
            match &fact.value {
                Value::Known { value } => assert!(!value.is_empty(), "{fact:?}"),
                Value::Unavailable { reason, remedy } => assert!(!reason.is_empty() && !remedy.is_empty(), "{fact:?}"),
            }
        }
    }
}
