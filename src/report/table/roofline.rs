//! How near each kernel comes to the lower of its two ceilings.

use super::{Table, notes};
use crate::plan::Residency;
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::text;
use crate::stats::Interval;

const HEADINGS: [&str; 9] =
    ["Matrix", "Arm", "Threads >", "Columns >", "Ops/byte >", "Gop/s >", "Binding ceiling", "Share of it >", "Status"];

/// Of a run with weights in a cache.
const ISSUE_HEADINGS: [&str; 2] = ["Issue bound, weights/ns >", "Share of issue bound >"];

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
        let in_cache = analysis.manifest.plan.workloads.iter().any(|w| w.residency == Residency::Cache);
        let headings = [&HEADINGS[..], if in_cache { &ISSUE_HEADINGS } else { &[] }].concat();
        let mut grid = Grid::new(self.title(), &headings);
        for standing in &analysis.standings {
            let Some(result) = analysis.cell(&standing.cell_id) else { continue };
            let workload = analysis.manifest.plan.workloads.iter().find(|w| w.name == result.cell.workload);
            let bound = standing.bound.as_ref();
            let columns: [Entry; 9] = [
                workload.map_or(result.cell.workload.as_str(), |workload| workload.title.as_str()).into(),
                result.cell.arm.as_str().into(),
                standing.threads.to_string().into(),
                standing.columns.to_string().into(),
                text::significant(standing.intensity).into(),
                text::with_interval(standing.speed).into(),
                text::or_none(bound, |bound| bound.name.clone()).into(),
                text::or_none(bound, |bound| share(bound.share)).into(),
                Entry::strong_if(result.is_left_out(), result.status.to_string()),
            ];
            let of_issue = in_cache.then(|| {
                [
                    text::or_none(standing.issue, |issue| text::with_interval(issue.weights_per_ns)).into(),
                    text::or_none(standing.issue, |issue| share(issue.share)).into(),
                ]
            });
            grid.push(columns.into_iter().chain(of_issue.into_iter().flatten()));
        }
        grid.notes = vec![
            "Two operations for each weight and column; bytes are the stored weights (codes, scales, padding). Medians \
             over blocks with their intervals."
                .to_owned(),
            "Binding ceiling: the lower of the int8 peak of the instruction set, and ops/byte times the bandwidth of \
             the memory that holds the weights, in most blocks. Its share is taken within each block: of a memory \
             from the bandwidth around each repetition, of a peak likewise, or in older runs from the one that its \
             block began with. Scalar kernels and those of other projects have no peak here."
                .to_owned(),
        ];
        if in_cache {
            grid.notes.push(
                "Issue bound, of weights in a cache: the vector instructions a nanosecond that a loop of vpor in \
                 registers issues at the beginning of the block, over the vector instructions (without loads, stores \
                 and moves) for each weight of the disassembled inner loop. An estimate from above: not every unit \
                 executes every instruction, and what surrounds the loop comes on top. A weight counts once for \
                 every column."
                    .to_owned(),
            );
        }
        grid.notes.extend(notes::common(analysis));
        grid
    }
}

/// A share and its interval, three decimals each.
fn share((share, interval): (f64, Interval)) -> String {
    format!("{share:.3} [{:.3}, {:.3}]", interval.low, interval.high)
}
