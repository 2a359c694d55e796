//! The product of single speed-ups beside the measured combination.

use super::{Table, notes};
use crate::report::analysis::{Analysis, CombinationResult};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{self, KERNEL_TIME, TOKEN_TIME};
use crate::report::text;
use crate::stats::Interval;

const HEADINGS: [&str; 11] = [
    "Design",
    "Workload",
    "Metric",
    "Singles",
    "Predicted product >",
    "Measured together >",
    "Measured / predicted >",
    "Published >",
    "Published product >",
    "Reading",
    "Blocks >",
];

/// Predicted and measured combinations, in pipeline and kernels.
pub struct Combinations;

impl Table for Combinations {
    fn name(&self) -> &'static str {
        "combinations"
    }

    fn title(&self) -> &'static str {
        "Does the product of single speed-ups predict the combination?"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let mut left_out = Vec::new();
        let margin = analysis.manifest.plan.protocol.margin;
        for result in analysis.combinations.iter().filter(|r| [TOKEN_TIME, KERNEL_TIME].contains(&r.metric.as_str())) {
            let prediction = result.prediction.as_ref();
            for contrast in result.combination.singles.iter().chain([&result.combination.measured]) {
                notes::extend_unique(&mut left_out, notes::reasons(analysis, contrast));
            }
            let gap = prediction.map(|p| p.discrepancy.interval);
            grid.push([
                result.design.as_str().into(),
                result.combination.workload.as_str().into(),
                metric::title(&result.metric, analysis.whole()).into(),
                singles(result).into(),
                text::or_none(prediction, |p| text::effect(&p.predicted)).into(),
                text::or_none(prediction, |p| text::effect(&p.measured)).into(),
                text::or_none(prediction, |p| text::effect(&p.discrepancy)).into(),
                text::or_none(result.combination.measured.published, text::published).into(),
                text::or_none(published_product(result), text::significant).into(),
                Entry::strong_if(false, gap.map_or("missing or left out", |gap| Reading::of(gap, margin).words())),
                text::or_none(prediction, |p| p.discrepancy.n_blocks.to_string()).into(),
            ]);
        }
        grid.notes = notes::contrasts(analysis);
        grid.notes.push(
            "Predicted: the product, within each block, of every step alone against its own reference. Readings come \
             from the interval and the margin, without correction for multiplicity. Published product: what the \
             published factors of the singles multiply to, where each has one."
                .to_owned(),
        );
        grid.notes.extend(left_out);
        grid
    }
}

fn singles(result: &CombinationResult) -> String {
    let steps: Vec<&str> = result.combination.singles.iter().map(|single| single.step.as_str()).collect();
    steps.join(" × ")
}

/// The product of the published factors of all singles, if each has one.
fn published_product(result: &CombinationResult) -> Option<f64> {
    result.combination.singles.iter().map(|single| single.published).product()
}

/// What the interval of measured / predicted says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Less,
    More,
    Equal,
    Inconclusive,
}

impl Reading {
    pub fn of(gap: Interval, margin: f64) -> Reading {
        let (low, high) = (1.0 / (1.0 + margin), 1.0 + margin);
        if gap.high < low {
            Reading::Less
        } else if gap.low > high {
            Reading::More
        } else if low <= gap.low && gap.high <= high {
            Reading::Equal
        } else {
            Reading::Inconclusive
        }
    }

    fn words(self) -> &'static str {
        match self {
            Reading::Less => "less than the product",
            Reading::More => "more than the product",
            Reading::Equal => "the product holds",
            Reading::Inconclusive => "inconclusive",
        }
    }
}
