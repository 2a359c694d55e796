//! How near each kernel comes to the lower of its two ceilings.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::text;

const HEADINGS: [&str; 9] =
    ["Matrix", "Arm", "Threads >", "Columns >", "Ops/byte >", "Gop/s >", "Binding ceiling", "Share of it >", "Status"];

/// One row for each kernel arm on each matrix.
pub struct Roofline;

impl Table for Roofline {
    fn name(&self) -> &'static str {
        "roofline"
    }

    fn title(&self) -> &'static str {
        "Kernels below their ceilings"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        for standing in &analysis.standings {
            let Some(result) = analysis.cell(&standing.cell_id) else { continue };
            let workload = analysis.manifest.plan.workloads.iter().find(|w| w.name == result.cell.workload);
            let bound = standing.bound.as_ref();
            grid.push([
                workload.map_or(result.cell.workload.as_str(), |workload| workload.title.as_str()).into(),
                result.cell.arm.as_str().into(),
                standing.threads.to_string().into(),
                standing.columns.to_string().into(),
                text::significant(standing.intensity).into(),
                text::with_interval(standing.speed).into(),
                text::or_none(bound, |bound| bound.name.clone()).into(),
                text::or_none(bound, |bound| {
                    let (share, interval) = bound.share;
                    format!("{share:.3} [{:.3}, {:.3}]", interval.low, interval.high)
                })
                .into(),
                Entry::strong_if(result.is_left_out(), result.status.to_string()),
            ]);
        }
        grid.notes = vec![
            "Two operations for each weight and column; bytes are the stored weights (codes, scales, padding). Medians \
             over blocks with their intervals."
                .to_owned(),
            "Binding ceiling: the lower of the int8 peak of the instruction set, and ops/byte times the bandwidth of \
             the memory that holds the weights, in most blocks. Its share is taken within each block: of a memory \
             from the bandwidth around each repetition, of a peak from the one that its block began with. Scalar \
             kernels have no peak here."
                .to_owned(),
        ];
        grid.notes.extend(notes::common(analysis));
        grid
    }
}
