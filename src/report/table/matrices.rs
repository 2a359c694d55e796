//! Kernels on one matrix alone: how many weights they take a nanosecond, and how near that is to the
//! memory that holds them.

use std::collections::BTreeSet;

use septet_kernels::{Format, Isa, Level};

use super::fastest::fastest;
use super::{Table, notes};
use crate::plan::Source;
use crate::report::analysis::{Analysis, CellResult};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::KERNEL_TIME;
use crate::report::text;

const HEADINGS: [&str; 8] =
    ["Matrix", "Arm", "Bits/weight >", "Weights/ns >", "GB/s >", "Share of the roof >", "Brackets apart >", "Status"];

/// The cells of all matrix workloads.
pub struct Matrices;

impl Table for Matrices {
    fn name(&self) -> &'static str {
        "matrices"
    }

    fn title(&self) -> &'static str {
        "One matrix alone"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let workloads = &analysis.manifest.plan.workloads;
        for workload in workloads.iter().filter(|workload| matches!(workload.source, Source::Matrix { .. })) {
            let pairs = Format::ALL.iter().flat_map(|&format| Isa::ALL.iter().map(move |&isa| (format, isa)));
            let fastest = pairs.filter_map(|(format, isa)| fastest(analysis, workload, format, isa));
            let fastest: BTreeSet<&str> = fastest.map(|result| result.cell.id.as_str()).collect();
            for result in analysis.cells.iter().filter(|result| result.cell.workload == workload.name) {
                let null = if result.cell.null_of.is_some() { " (A′)" } else { "" };
                let apart = result.traffic.zip(result.metric(KERNEL_TIME));
                grid.push([
                    workload.title.as_str().into(),
                    Entry::strong_if(fastest.contains(result.cell.id.as_str()), format!("{}{null}", result.cell.arm)),
                    text::bits(result).into(),
                    weights_per_ns(result, workload.source.columns()).into(),
                    text::gbps(result.traffic).into(),
                    text::or_none(result.traffic.and_then(|traffic| traffic.roof), |(share, interval)| {
                        format!("{share:.3} [{:.3}, {:.3}]", interval.low, interval.high)
                    })
                    .into(),
                    text::or_none(apart, |(traffic, time)| format!("{} of {}", traffic.brackets_apart, time.samples))
                        .into(),
                    Entry::strong_if(result.is_left_out(), result.status.to_string()),
                ]);
            }
        }
        let method = "In bold the fastest arm of each format and instruction set. Weights/ns and share of the roof: medians over blocks with their intervals. A weight that is \
                      multiplied with several columns counts once for each. Share of the roof: \
                      stored bytes (codes, scales, padding) a second of kernel time, over the read bandwidth measured \
                      before and after each repetition with the same threads; of weights in a cache, over the \
                      bandwidth of that cache. Brackets apart: repetitions whose two bandwidths differ by more than a \
                      tenth.";
        grid.notes = [method.to_owned()].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}

/// Weights for each nanosecond of kernel time, each counted once for every column: the median and its
/// interval.
fn weights_per_ns(result: &CellResult, columns: usize) -> String {
    let weights = (result.facts.weights_per_unit * columns as u64) as f64;
    text::or_none(result.metric(KERNEL_TIME), |time| {
        let speed = |ns: f64| text::significant(weights / ns);
        format!("{} [{}, {}]", speed(time.median), speed(time.interval.high), speed(time.interval.low))
    })
}
