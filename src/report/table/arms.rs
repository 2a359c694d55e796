//! Every cell: what it computes, how fast, and whether its numbers may be used.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{
    KERNEL_TIME, PREFILL_TIME, PREFILL_TOKENS_PER_S, TIME_TO_FIRST_TOKEN, TOKEN_TIME, TOKENS_PER_S,
};
use crate::report::text;

const HEADINGS: [&str; 11] = [
    "Workload",
    "Arm",
    "Speed >",
    "Unit time >",
    "Kernel time >",
    "Blocks >",
    "Bits/weight >",
    "GB/s >",
    "Roof >",
    "Quality",
    "Status",
];

/// Of a run with prompts: their speed, and the time until the first token behind them can be chosen.
const PREFILL_HEADINGS: [&str; 2] = ["Prefill >", "First token >"];

/// All cells, those that failed, are refused or missing included.
pub struct Arms;

impl Table for Arms {
    fn name(&self) -> &'static str {
        "arms"
    }

    fn title(&self) -> &'static str {
        "All arms"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let prefill = analysis.has(PREFILL_TIME);
        let headings = [&HEADINGS[..], if prefill { &PREFILL_HEADINGS } else { &[] }].concat();
        let mut grid = Grid::new(self.title(), &headings);
        for result in &analysis.cells {
            let time = result.metric(TOKEN_TIME);
            let null = if result.cell.null_of.is_some() { " (A′)" } else { "" };
            let columns: [Entry; 11] = [
                result.cell.workload.as_str().into(),
                format!("{}{null}", result.cell.arm).into(),
                text::speed(result.metric(TOKENS_PER_S)).into(),
                text::microseconds(time).into(),
                text::microseconds(result.metric(KERNEL_TIME)).into(),
                text::or_none(time, |time| time.n_blocks.to_string()).into(),
                text::bits(result).into(),
                text::gbps(result.traffic).into(),
                text::roof(result.traffic).into(),
                text::quality(&result.facts.quality).into(),
                Entry::strong_if(result.is_left_out(), result.status.to_string()),
            ];
            let of_prompt = prefill.then(|| {
                [
                    text::speed(result.metric(PREFILL_TOKENS_PER_S)).into(),
                    text::microseconds(result.metric(TIME_TO_FIRST_TOKEN)).into(),
                ]
            });
            grid.push(columns.into_iter().chain(of_prompt.into_iter().flatten()));
        }
        grid.notes = notes::cells(analysis);
        grid.notes.extend(analysis.manifest.plan.infeasible.iter().map(|point| {
            format!("Infeasible: {} of {} on {}: {}.", point.step, point.design, point.workload, point.reason)
        }));
        grid
    }
}
