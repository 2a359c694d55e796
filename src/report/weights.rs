//! How the weights of each workload came to lie in memory, over the blocks of a run.

use std::collections::BTreeMap;

use crate::record::WeightsRow;
use crate::stats::Interval;
use crate::stats::summary::{median, median_interval};

/// The weights of one workload in one stored form.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsResult {
    /// What it says of the form is the same in every block.
    pub row: WeightsRow,
    /// Share of the codes that lie in transparent huge pages, by block.
    pub huge: Vec<f64>,
    /// Nanoseconds of packing one copy, of the blocks in which it was packed.
    pub pack_ns: Vec<f64>,
}

impl WeightsResult {
    /// Groups `rows` by workload and form, in the order of the run; of each block those of the session
    /// whose samples count.
    pub fn of_run(rows: &[WeightsRow], sessions: &BTreeMap<u32, u32>) -> Vec<Self> {
        let form = |row: &WeightsRow| {
            [&row.workload, &row.format, &row.granularity, &row.layout, &row.pages].map(String::clone)
        };
        let mut results: Vec<Self> = Vec::new();
        for row in rows.iter().filter(|row| sessions.get(&row.block) == Some(&row.session)) {
            let at = results.iter().position(|result| form(&result.row) == form(row)).unwrap_or_else(|| {
                results.push(Self { row: row.clone(), huge: Vec::new(), pack_ns: Vec::new() });
                results.len() - 1
            });
            results[at].huge.extend(row.huge_bytes.map(|huge| huge as f64 / row.code_bytes as f64));
            results[at].pack_ns.extend(row.pack_ns.map(|ns| ns as f64));
        }
        results
    }

    /// Stored bytes of one copy.
    pub fn copy_bytes(&self) -> f64 {
        self.row.bytes as f64 / self.row.copies as f64
    }

    /// Median share of the codes that lie in huge pages.
    pub fn huge_share(&self) -> Option<f64> {
        median(&self.huge)
    }

    /// Median nanoseconds of packing one copy, with its order-statistics interval.
    pub fn packing(&self, confidence: f64) -> Option<(f64, Interval)> {
        median(&self.pack_ns).zip(median_interval(&self.pack_ns, confidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: u32, block: u32, pages: &str, pack_ns: Option<u64>) -> WeightsRow {
        WeightsRow {
            session,
            block,
            workload: "square".to_owned(),
            format: "w3p5".to_owned(),
            granularity: "g128".to_owned(),
            layout: "rows16".to_owned(),
            pages: pages.to_owned(),
            copies: 4,
            bytes: 4000,
            code_bytes: 3000,
            huge_bytes: (pages == "huge").then_some(1500),
            pack_ns,
        }
    }

    #[test]
    fn blocks_of_a_form_are_one_result() {
        let rows = [
            row(0, 0, "system", Some(10)),
            row(0, 0, "huge", Some(30)),
            row(0, 1, "huge", Some(999)),
            row(1, 1, "huge", None),
        ];
        let results = WeightsResult::of_run(&rows, &BTreeMap::from([(0, 0), (1, 1)]));
        let [system, huge] = &results[..] else { panic!("{results:?}") };
        assert_eq!((system.copy_bytes(), system.huge_share()), (1000.0, None));
        assert_eq!(huge.huge_share(), Some(0.5));
        assert_eq!((huge.packing(0.95).map(|(ns, _)| ns), huge.huge.len()), (Some(30.0), 2));
    }
}
