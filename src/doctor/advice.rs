//! What would make measurements on this machine better.

use super::Fact;

/// Runnable processes, on average of a minute, above which other work disturbs measurements.
const LOAD: f64 = 0.5;

/// Share of stolen time since boot above which the host is busy.
const STEAL: f64 = 0.01;

/// What advice depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    pub cores: Option<usize>,
    /// Runnable processes, on average of a minute.
    pub load: Option<f64>,
    pub governor: Option<String>,
    /// Share of all time since boot.
    pub steal: Option<f64>,
    pub counters: bool,
    pub valgrind: bool,
    pub caches: bool,
    /// `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

impl Condition {
    /// What `facts` say.
    pub fn of(facts: &[Fact]) -> Self {
        let known = |name: &str| facts.iter().find(|fact| fact.name == name).and_then(|fact| fact.value.known());
        let first = |name: &str| known(name).and_then(|value| value.split_whitespace().next());
        // The setting in force is in brackets.
        let setting = |text: &str| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned());
        Self {
            cores: first("cores").and_then(|n| n.parse().ok()),
            load: first("load").and_then(|n| n.parse().ok()),
            governor: known("governor").map(str::to_owned),
            steal: first("steal_since_boot").and_then(|n| n.parse::<f64>().ok()).map(|percent| percent / 100.0),
            counters: known("hardware_counters").is_some(),
            valgrind: known("valgrind").is_some(),
            caches: known("caches").is_some(),
            huge_pages: known("transparent_hugepage").and_then(setting),
        }
    }
}

/// One line for each thing to do; a rule whose fact is unknown says nothing.
pub fn advice(condition: &Condition) -> Vec<String> {
    let Condition { cores, load, governor, steal, counters, valgrind, caches, huge_pages } = condition;
    let simulator = match valgrind {
        true => "simulated ones are to be had (valgrind --tool=callgrind; it knows no AVX-512)",
        false => "install valgrind for simulated ones (it knows no AVX-512)",
    };
    let rules = [
        (!counters, format!("No hardware counters here: {simulator}, or run on bare metal.")),
        (
            load.is_some_and(|load| load > LOAD),
            format!("The load was {} before this began: close other programs and wait a minute.", load.unwrap_or(0.0)),
        ),
        (
            governor.as_deref().is_some_and(|governor| governor != "performance"),
            format!(
                "The governor is {}: cpupower frequency-set -g performance keeps the clock steady.",
                governor.as_deref().unwrap_or("")
            ),
        ),
        (
            cores.is_some_and(|cores| cores < 2),
            "One CPU: the harness and the system share it with the measured arm; two or more are better.".to_owned(),
        ),
        (
            steal.is_some_and(|steal| steal > STEAL),
            format!(
                "The host took {:.1} % of all time since boot: measure at another hour or on a dedicated host.",
                100.0 * steal.unwrap_or(0.0)
            ),
        ),
        (
            huge_pages.as_deref() == Some("never"),
            "Transparent huge pages are off: streaming pays for 4 KiB translations; \
             echo madvise > /sys/kernel/mm/transparent_hugepage/enabled."
                .to_owned(),
        ),
        (
            !caches,
            "Cache sizes are unknown: a last-level cache of 256 MiB is assumed; a larger one makes memory look fast."
                .to_owned(),
        ),
    ];
    rules.into_iter().filter_map(|(holds, line)| holds.then_some(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Value;

    #[test]
    fn a_quiet_machine_needs_no_advice() {
        let quiet = Condition {
            cores: Some(8),
            load: Some(0.1),
            governor: Some("performance".to_owned()),
            steal: Some(0.0),
            counters: true,
            valgrind: false,
            caches: true,
            huge_pages: Some("madvise".to_owned()),
        };
        assert_eq!(advice(&quiet), Vec::<String>::new());
        let busy = Condition { load: Some(1.5), ..quiet.clone() };
        assert_eq!(advice(&busy).len(), 1);
        assert!(advice(&busy)[0].contains("1.5"));
        let unknown = Condition { load: None, governor: None, steal: None, cores: None, huge_pages: None, ..quiet };
        assert_eq!(advice(&unknown), Vec::<String>::new());
    }

    #[test]
    fn conditions_are_read_from_facts() {
        let fact = |name: &str, value: &str| Fact {
            name: name.to_owned(),
            value: Value::Known { value: value.to_owned() },
            source: String::new(),
        };
        let facts = [
            fact("cores", "2"),
            fact("load", "0.52 0.3 0.1 1/80 99"),
            fact("steal_since_boot", "2.50 %"),
            fact("transparent_hugepage", "always [madvise] never"),
        ];
        let condition = Condition::of(&facts);
        assert_eq!((condition.cores, condition.load, condition.steal), (Some(2), Some(0.52), Some(0.025)));
        assert_eq!(condition.huge_pages.as_deref(), Some("madvise"));
        assert!(!condition.counters && !condition.valgrind && !condition.caches);
    }
}
