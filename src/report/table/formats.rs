//! What each number format costs and what it gives.

use std::collections::BTreeSet;

use super::{Table, notes};
use crate::report::analysis::{Analysis, CellResult};
use crate::report::grid::Grid;
use crate::report::metric::{TOKEN_TIME, TOKENS_PER_S};
use crate::report::text;

/// Factors whose levels are the rows: codes, and how many of them share a scale.
const FORMAT: [&str; 2] = ["format", "granularity"];

const HEADINGS: [&str; 9] =
    ["Workload", "Format", "Bits/weight >", "PPL vs. f32 >", "KLD >", "Top-1 >", "Fastest arm", "Speed >", "GB/s >"];

/// One row for each format on each workload.
pub struct Formats;

impl Table for Formats {
    fn name(&self) -> &'static str {
        "formats"
    }

    fn title(&self) -> &'static str {
        "Formats: size, quality, and the fastest arm of each"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        for workload in &analysis.manifest.plan.workloads {
            let here = || analysis.cells.iter().filter(|result| result.cell.workload == workload.name);
            let formats: BTreeSet<String> = here().map(format).collect();
            for name in formats {
                let cells: Vec<&CellResult> = here().filter(|result| format(result) == name).collect();
                let fastest = fastest(&cells);
                // Of the arm that is named; where none is, of any.
                let of = |f: fn(&CellResult) -> Option<f64>| cells.iter().find_map(|result| f(result));
                let quality = |f: fn(&CellResult) -> Option<f64>| fastest.and_then(f).or_else(|| of(f));
                grid.push([
                    workload.name.as_str().into(),
                    name.as_str().into(),
                    bits(&cells).into(),
                    text::or_none(quality(|r| r.facts.quality.perplexity_ratio), |ppl| format!("×{ppl:.3}")).into(),
                    text::or_none(quality(|r| r.facts.quality.kld), |kld| format!("{kld:.3}")).into(),
                    text::or_none(quality(|r| r.facts.quality.top1_agreement), text::two_decimals).into(),
                    text::or_none(fastest, |result| result.cell.arm.clone()).into(),
                    text::speed(fastest.and_then(|result| result.metric(TOKENS_PER_S))).into(),
                    text::gbps(fastest.and_then(|result| result.traffic)).into(),
                ]);
            }
        }
        grid.notes = notes::cells(analysis);
        grid.notes.push("The fastest arm is picked after the measurement: a description, not a test.".to_owned());
        grid
    }
}

/// Name of the format of a cell: `w3p5 g128`.
fn format(result: &CellResult) -> String {
    let levels: Vec<&str> = FORMAT.iter().filter_map(|name| result.cell.level(name)).collect();
    levels.join(" ")
}

/// The citable cell with the shortest median unit.
fn fastest<'a>(cells: &[&'a CellResult]) -> Option<&'a CellResult> {
    cells
        .iter()
        .filter(|result| !result.is_left_out())
        .filter_map(|result| Some((*result, result.metric(TOKEN_TIME)?.median)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(result, _)| result)
}

/// The stored size, or its range over layouts.
fn bits(cells: &[&CellResult]) -> String {
    let sizes: BTreeSet<String> = cells.iter().map(|result| text::bits(result)).collect();
    match (sizes.first(), sizes.last()) {
        (Some(low), Some(high)) if low != high => format!("{low} to {high}"),
        (Some(only), _) => only.clone(),
        (None, _) => text::NONE.to_owned(),
    }
}
