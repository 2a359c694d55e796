//! The baseline against itself: what the protocol reports when there is nothing to report.

use super::{Table, notes};
use crate::plan::DesignKind;
use crate::report::analysis::Analysis;
use crate::report::grid::Grid;
use crate::report::{metric, text};

const HEADINGS: [&str; 7] = ["Workload", "Metric", "A / A′ >", "p adj. >", "Verdict", "Blocks >", "Detectable >"];

/// A against A′, in every metric.
pub struct Null;

impl Table for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn title(&self) -> &'static str {
        "The baseline against itself (A and A′): must show no difference"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let mut left_out = Vec::new();
        for result in analysis.contrasts.iter().filter(|result| result.kind == DesignKind::Null) {
            let numbers = result.outcome.citable();
            if result.outcome.is_left_out() {
                notes::extend_unique(&mut left_out, notes::reasons(analysis, &result.contrast));
            }
            grid.push([
                result.contrast.workload.as_str().into(),
                metric::title(&result.metric, analysis.whole()).into(),
                text::or_none(numbers, |j| text::effect(&j.effect)).into(),
                text::or_none(numbers, |j| text::p_value(j.p_adjusted)).into(),
                result.outcome.word().into(),
                text::or_none(numbers, |j| j.effect.n_blocks.to_string()).into(),
                text::or_none(numbers, |j| text::two_decimals(j.effect.detectable)).into(),
            ]);
        }
        grid.notes = notes::contrasts(analysis);
        grid.notes.extend(left_out);
        grid
    }
}
