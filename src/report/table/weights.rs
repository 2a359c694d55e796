//! How the weights came to lie in memory: the time of packing, apart from all times of kernels, and pages.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::Grid;
use crate::report::text;

const HEADINGS: [&str; 10] = [
    "Workload",
    "Format",
    "Scales",
    "Layout",
    "Pages",
    "Copies >",
    "MiB of a copy >",
    "Codes in huge pages >",
    "Packed in, ms >",
    "Packed, GB/s >",
];

/// Every workload and stored form whose weights were recorded; none in older runs.
pub struct Weights;

impl Table for Weights {
    fn name(&self) -> &'static str {
        "weights"
    }

    fn title(&self) -> &'static str {
        "How weights came to lie in memory"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let plan = &analysis.manifest.plan;
        for result in &analysis.weights {
            let row = &result.row;
            let workload = plan.workloads.iter().find(|workload| workload.name == row.workload);
            let packing = result.packing(plan.protocol.confidence);
            grid.push([
                workload.map_or(row.workload.as_str(), |workload| workload.title.as_str()).into(),
                row.format.as_str().into(),
                row.granularity.as_str().into(),
                row.layout.as_str().into(),
                row.pages.as_str().into(),
                row.copies.to_string().into(),
                text::significant(result.copy_bytes() / f64::from(1 << 20)).into(),
                text::or_none(result.huge_share(), |share| format!("{:.0} %", 100.0 * share)).into(),
                text::or_none(packing, |(ns, interval)| text::with_interval((ns / 1e6, interval.map(|ns| ns / 1e6))))
                    .into(),
                text::or_none(packing, |(ns, _)| text::significant(result.copy_bytes() / ns)).into(),
            ]);
        }
        let method = "Medians over blocks. Packed: the codes of one copy put into their layout by one thread, once in \
                      each block and before anything is timed: no other time contains it; GB/s counts the bytes that \
                      are stored. A dash: the weights are those of the workload before. Codes in huge pages: as the \
                      system tells it behind the writing of all copies.";
        grid.notes = [method.to_owned()].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}
