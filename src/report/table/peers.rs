//! Kernels of ours beside those of other projects.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::metric::TOKEN_TIME;
use crate::report::rivals::BITS;
use crate::report::text;

const HEADINGS: [&str; 6] =
    ["Matrix", "Kernel", "Bits/weight >", "Weights/ns >", "Against the fastest of 3 to 4.6 bits >", "Which is"];

/// One row for each kernel on each matrix that a kernel of another project ran on.
pub struct Peers;

impl Table for Peers {
    fn name(&self) -> &'static str {
        "peers"
    }

    fn title(&self) -> &'static str {
        "Beside the kernels of other projects"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        for against in &analysis.rivals {
            let Some(result) = analysis.cell(&against.cell_id) else { continue };
            let workload = analysis.manifest.plan.workloads.iter().find(|w| w.name == result.cell.workload);
            let Some(workload) = workload.filter(|_| result.cell.null_of.is_none()) else { continue };
            let weights = (result.facts.weights_per_unit * workload.source.columns() as u64) as f64;
            let speed = text::or_none(result.metric(TOKEN_TIME), |time| {
                let speed = |ns: f64| text::significant(weights / ns);
                format!("{} [{}, {}]", speed(time.median), speed(time.interval.high), speed(time.interval.low))
            });
            grid.push([
                workload.title.as_str().into(),
                Entry::strong_if(!result.cell.is_peer(), result.cell.arm.clone()),
                text::bits(result).into(),
                speed.into(),
                text::or_none(against.effect, |effect| text::effect(&effect)).into(),
                against.rival.as_str().into(),
            ]);
        }
        let method = format!(
            "Weights/ns: of a whole product, with the quantization of its activations, each weight counted once for \
             every column; medians over blocks. Against the fastest: its time over the time of the kernel, inside \
             each block; above 1 the kernel is faster. The fastest is the peer with the smallest median time among \
             those that store {} to {} bits a weight. Kernels of ours are bold. Versions, build flags and what was \
             dispatched stand in the manifest.",
            BITS.start(),
            BITS.end()
        );
        grid.notes = [method].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}
