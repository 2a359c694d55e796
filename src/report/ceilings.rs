//! What the machine could do at best, by block, and what that depends on.

use std::collections::BTreeMap;

use crate::doctor::Quantity;
use crate::record::CeilingRow;
use crate::stats::Interval;
use crate::stats::summary::{median, median_interval};

/// Multiply-accumulates are two operations.
pub const OPERATIONS: f64 = 2.0;

/// One-way latency, in nanoseconds, from which on two CPUs count as far: a line that crosses between
/// chiplets or sockets takes 100 ns and more, one that stays behind a shared cache half of that or less.
pub const FAR: f64 = 100.0;

/// How two workers are placed in the machine during a block. A shared host moves virtual CPUs, and
/// two that share a last-level cache have another bandwidth than two that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    Near,
    Far,
}

impl Placement {
    /// From the latency between the two, in nanoseconds.
    pub fn of(latency: f64) -> Self {
        if latency < FAR { Self::Near } else { Self::Far }
    }
}

/// One ceiling over the blocks of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct CeilingResult {
    pub threads: usize,
    pub quantity: Quantity,
    /// An instruction set, a cache level or `DRAM`, two CPUs.
    pub place: String,
    /// By block, in the unit of its quantity.
    pub values: BTreeMap<u32, f64>,
}

impl CeilingResult {
    /// Median over all blocks, with its order-statistics interval.
    pub fn level(&self, confidence: f64) -> Option<(f64, Interval)> {
        level(self.values.values().copied(), confidence)
    }
}

/// Median of `values`, with its order-statistics interval.
pub fn level(values: impl Iterator<Item = f64>, confidence: f64) -> Option<(f64, Interval)> {
    let values: Vec<f64> = values.collect();
    median(&values).zip(median_interval(&values, confidence))
}

/// All ceilings of a run; none in runs from before they were recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// By number of threads, quantity, and place in the order in which it was measured.
    pub results: Vec<CeilingResult>,
    /// Of blocks whose latency between two CPUs was measured.
    pub placements: BTreeMap<u32, Placement>,
}

impl Ceilings {
    /// Groups `rows`; of each block those of the session whose samples count.
    pub fn new(rows: &[CeilingRow], sessions: &BTreeMap<u32, u32>) -> Self {
        let mut ceilings = Self::default();
        for row in rows.iter().filter(|row| sessions.get(&row.block) == Some(&row.session)) {
            let (threads, quantity) = (row.threads as usize, row.ceiling);
            if quantity == Quantity::CoreToCore {
                ceilings.placements.insert(row.block, Placement::of(row.value));
            }
            let same = |result: &&mut CeilingResult| {
                (result.threads, result.quantity, &result.place) == (threads, quantity, &row.place)
            };
            match ceilings.results.iter_mut().find(same) {
                Some(result) => _ = result.values.insert(row.block, row.value),
                None => {
                    let (place, values) = (row.place.clone(), BTreeMap::from([(row.block, row.value)]));
                    ceilings.results.push(CeilingResult { threads, quantity, place, values });
                }
            }
        }
        ceilings.results.sort_by_key(|result| (result.threads, result.quantity));
        ceilings
    }

    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// The ceiling of this quantity at a place on so many threads.
    pub fn find(&self, threads: usize, quantity: Quantity, place: &str) -> Option<&CeilingResult> {
        self.results.iter().find(|r| (r.threads, r.quantity, r.place.as_str()) == (threads, quantity, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: u32, block: u32, ceiling: Quantity, value: f64) -> CeilingRow {
        let place = if ceiling == Quantity::CoreToCore { "CPU 0 - 1" } else { "DRAM" };
        let (place, unit) = (place.to_owned(), ceiling.unit().to_owned());
        CeilingRow { session, block, ceiling, place, threads: 2, value, unit }
    }

    #[test]
    fn ceilings_belong_to_the_session_whose_samples_count() {
        let rows = [
            row(0, 0, Quantity::CoreToCore, 40.0),
            row(0, 0, Quantity::ReadBandwidth, 20.0),
            row(0, 1, Quantity::ReadBandwidth, 999.0),
            row(1, 1, Quantity::CoreToCore, 180.0),
            row(1, 1, Quantity::ReadBandwidth, 30.0),
        ];
        let ceilings = Ceilings::new(&rows, &BTreeMap::from([(0, 0), (1, 1)]));
        let memory = ceilings.find(2, Quantity::ReadBandwidth, "DRAM").expect("a ceiling");
        assert_eq!(memory.values, BTreeMap::from([(0, 20.0), (1, 30.0)]));
        assert_eq!(ceilings.placements, BTreeMap::from([(0, Placement::Near), (1, Placement::Far)]));
        assert!(Ceilings::new(&rows, &BTreeMap::new()).is_empty());
    }
}
