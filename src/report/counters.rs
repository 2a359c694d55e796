//! What follows from two counters of one cell. Raw counters are recorded; ratios are made here.

use crate::record::{CounterRow, CounterStatus};

/// How a ratio is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Plain,
    /// For each thousand of the denominator.
    Thousand,
    Percent,
}

/// A quotient of two counters of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// What tables call it.
    pub name: &'static str,
    pub numerator: &'static str,
    pub denominator: &'static str,
    pub scale: Scale,
}

const fn ratio(name: &'static str, numerator: &'static str, denominator: &'static str, scale: Scale) -> Ratio {
    Ratio { name, numerator, denominator, scale }
}

/// Every ratio, in the order of the table. MPKI: misses per thousand instructions.
pub const RATIOS: &[Ratio] = &[
    ratio("IPC", "instructions", "cycles", Scale::Plain),
    ratio("CPI", "cycles", "instructions", Scale::Plain),
    ratio("branch MPKI", "branch_misses", "instructions", Scale::Thousand),
    ratio("branch miss rate", "branch_misses", "branches", Scale::Percent),
    ratio("L1D MPKI", "l1d_misses", "instructions", Scale::Thousand),
    ratio("L1D miss rate", "l1d_misses", "l1d_loads", Scale::Percent),
    ratio("LLC MPKI", "llc_misses", "instructions", Scale::Thousand),
    ratio("LLC miss rate", "llc_misses", "llc_loads", Scale::Percent),
    ratio("dTLB MPKI", "dtlb_misses", "instructions", Scale::Thousand),
    ratio("frontend stalls", "stalled_cycles_frontend", "cycles", Scale::Percent),
    ratio("backend stalls", "stalled_cycles_backend", "cycles", Scale::Percent),
    ratio("simulated branch MPKI", "simulated_branch_misses", "simulated_instructions", Scale::Thousand),
    ratio("simulated branch miss rate", "simulated_branch_misses", "simulated_branches", Scale::Percent),
    ratio("taken of stepped branches", "stepped_taken_branches", "stepped_branches", Scale::Percent),
];

impl Ratio {
    /// Its value among the counters of one cell, in the unit of its scale, and how certain it is: as the less
    /// certain of its two. Nothing where one of them has no value, or the denominator is zero.
    pub fn of(&self, counters: &[&CounterRow]) -> Option<(f64, CounterStatus)> {
        let find = |name: &str| {
            let row = counters.iter().find(|row| row.counter == name)?;
            Some((row.value?, row.status))
        };
        let (numerator, of_numerator) = find(self.numerator)?;
        let (denominator, of_denominator) = find(self.denominator)?;
        let factor = match self.scale {
            Scale::Plain => 1.0,
            Scale::Thousand => 1000.0,
            Scale::Percent => 100.0,
        };
        let status = if of_numerator == CounterStatus::Measured { of_denominator } else { of_numerator };
        (denominator != 0.0).then_some((factor * numerator / denominator, status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counter: &str, value: Option<f64>, status: CounterStatus) -> CounterRow {
        CounterRow {
            cell_id: "cell".to_owned(),
            counter: counter.to_owned(),
            value,
            unit: "1/token".to_owned(),
            status,
            source: "perf_event".to_owned(),
            reason: String::new(),
        }
    }

    fn find(name: &str) -> &'static Ratio {
        RATIOS.iter().find(|ratio| ratio.name == name).expect("a ratio")
    }

    #[test]
    fn ratios_follow_from_counters_of_one_cell() {
        let measured = |counter: &str, value| row(counter, Some(value), CounterStatus::Measured);
        let rows = [
            measured("cycles", 500.0),
            measured("instructions", 2000.0),
            row("branches", Some(400.0), CounterStatus::Multiplexed),
            measured("branch_misses", 10.0),
            row("l1d_misses", None, CounterStatus::Unavailable),
        ];
        let rows: Vec<&CounterRow> = rows.iter().collect();
        let of = |name| find(name).of(&rows);
        assert_eq!(of("IPC"), Some((4.0, CounterStatus::Measured)));
        assert_eq!(of("CPI"), Some((0.25, CounterStatus::Measured)));
        assert_eq!(of("branch MPKI"), Some((5.0, CounterStatus::Measured)));
        assert_eq!(of("branch miss rate"), Some((2.5, CounterStatus::Multiplexed)));
        assert_eq!((of("L1D MPKI"), of("LLC MPKI")), (None, None));
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let (misses, branches) = ("simulated_branch_misses", "simulated_branches");
        let rows = [misses, branches].map(|name| row(name, Some(0.0), CounterStatus::Simulated));
        assert_eq!(find("simulated branch miss rate").of(&[&rows[0], &rows[1]]), None);
    }
}
