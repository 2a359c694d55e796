//! Kernels on more threads, beside the memory on more threads.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::Grid;
use crate::report::text;

const HEADINGS: [&str; 7] = [
    "Workload",
    "Arm",
    "Threads >",
    "Faster than on fewest >",
    "Parallel efficiency >",
    "Reading alone >",
    "Kernel against reading >",
];

/// Every arm that ran on several numbers of threads.
pub struct Scaling;

impl Table for Scaling {
    fn name(&self) -> &'static str {
        "scaling"
    }

    fn title(&self) -> &'static str {
        "More threads"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        for scaling in &analysis.scalings {
            let result = analysis.cell(&scaling.cell.id);
            if result.is_none_or(|result| result.is_left_out()) {
                continue;
            }
            let workload = analysis.manifest.plan.workloads.iter().find(|w| w.name == scaling.cell.workload);
            let factor = scaling.factor();
            grid.push([
                workload.map_or("", |workload| workload.title.as_str()).into(),
                scaling.cell.arm.as_str().into(),
                format!("{} / {}", scaling.threads, scaling.base_threads).into(),
                text::effect(&scaling.speed_up).into(),
                format!("{:.0} %", 100.0 * scaling.speed_up.ratio / factor).into(),
                text::or_none(scaling.roof_speed_up, |roof| text::effect(&roof)).into(),
                text::or_none(scaling.against_roof, |share| text::effect(&share)).into(),
            ]);
        }
        let method = "Kernel time on the fewest threads over kernel time on these, inside each block. Parallel \
                      efficiency: that ratio over the ratio of the numbers of threads. Reading alone: the same ratio of \
                      the read bandwidths measured around the samples. Kernel against reading: the change in the share \
                      of the roof; 1 means that the kernel scales as the memory does.";
        grid.notes = [method.to_owned()].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}
