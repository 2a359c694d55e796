//! Every counter, with where it comes from or why there is none.

use super::{Table, notes};
use crate::record::CounterStatus;
use crate::report::analysis::Analysis;
use crate::report::grid::Grid;
use crate::report::text;

const HEADINGS: [&str; 8] = ["Workload", "Arm", "Counter", "Value >", "Unit", "Status", "Source", "Reason"];

/// All rows of `counters.csv`.
pub struct Counters;

impl Table for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn title(&self) -> &'static str {
        "Counters, from a pass of their own"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        for row in &analysis.counters {
            let cell = analysis.cell(&row.cell_id).map(|result| &result.cell);
            grid.push([
                text::or_none(cell, |cell| cell.workload.clone()).into(),
                text::or_none(cell, |cell| cell.arm.clone()).into(),
                row.counter.as_str().into(),
                text::or_none(row.value, text::significant).into(),
                row.unit.as_str().into(),
                status(row.status).into(),
                row.source.as_str().into(),
                row.reason.as_str().into(),
            ]);
        }
        grid.notes = notes::common(analysis);
        grid
    }
}

fn status(status: CounterStatus) -> &'static str {
    match status {
        CounterStatus::Measured => "measured",
        CounterStatus::Simulated => "simulated",
        CounterStatus::Multiplexed => "multiplexed",
        CounterStatus::Unavailable => "unavailable",
    }
}
