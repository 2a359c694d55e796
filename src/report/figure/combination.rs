//! The product of single speed-ups beside what they give together.

use super::axis::Scale;
use super::chart::{IntervalChart, PanelCell, Row, Series, Shape};
use super::palette::{BLUE, GREEN, INK, ORANGE};
use super::{Chart, Figure, pages, panel_title};
use crate::plan::Workload;
use crate::report::analysis::{Analysis, CombinationResult};
use crate::report::metric::TOKEN_TIME;
use crate::report::table::combinations::Reading;
use crate::report::table::notes;
use crate::report::text;

const PREDICTED: Series =
    Series { name: "predicted: product of the singles", color: ORANGE, shape: Shape::HollowSquare, lane: -1.5 };
const MEASURED: Series = Series { name: "measured together", color: BLUE, shape: Shape::Disc, lane: -0.5 };
const PUBLISHED: Series = Series { name: "published", color: INK, shape: Shape::HollowDiamond, lane: 0.5 };
const GAP: Series = Series { name: "measured / predicted", color: GREEN, shape: Shape::Square, lane: 1.5 };

/// Combinations of all designs, in the whole.
pub struct Combination;

impl Figure for Combination {
    fn charts(&self, analysis: &Analysis) -> Vec<Chart> {
        let results: Vec<&CombinationResult> =
            analysis.combinations.iter().filter(|result| result.metric == TOKEN_TIME).collect();
        let mut designs: Vec<(&str, &str)> = Vec::new();
        for result in &results {
            let design = (result.design.as_str(), result.title.as_str());
            if !designs.contains(&design) {
                designs.push(design);
            }
        }
        let cell = |design: &str, workload: &str| {
            results
                .iter()
                .find(|result| result.design == design && result.combination.workload == workload)
                .map_or_else(PanelCell::default, |result| panel_cell(result))
        };
        let row = |(design, title): &(&str, &str), workloads: &[Workload]| Row::Item {
            label: (*title).to_owned(),
            cells: workloads.iter().map(|workload| cell(design, &workload.name)).collect(),
        };
        pages(analysis, |workloads| IntervalChart {
            name: "combination".to_owned(),
            title: "Do single speed-ups multiply?".to_owned(),
            message: message(analysis, &results, workloads),
            caveat: notes::caveat(&analysis.manifest.plan.protocol),
            axis: "speed-up over the common reference; measured / predicted (log scale)".to_owned(),
            scale: Scale::Ratios { limit: f64::INFINITY },
            panels: workloads.iter().map(panel_title).collect(),
            rows: designs.iter().map(|design| row(design, workloads)).collect(),
            legend: vec![PREDICTED, MEASURED, PUBLISHED, GAP],
            notes: notes::figure(analysis),
        })
    }
}

fn panel_cell(result: &CombinationResult) -> PanelCell {
    match &result.prediction {
        Some(prediction) => PanelCell {
            marks: [PREDICTED.effect(&prediction.predicted), MEASURED.effect(&prediction.measured)]
                .into_iter()
                .chain(result.combination.measured.published.map(|factor| PUBLISHED.published(factor)))
                .chain([GAP.effect(&prediction.discrepancy)])
                .collect(),
            missing: String::new(),
        },
        None => PanelCell { marks: Vec::new(), missing: "missing or left out".to_owned() },
    }
}

/// How many combinations on these workloads give more, less, or what their parts promise.
fn message(analysis: &Analysis, results: &[&CombinationResult], workloads: &[Workload]) -> String {
    let margin = analysis.manifest.plan.protocol.margin;
    let here = |result: &&&CombinationResult| workloads.iter().any(|w| w.name == result.combination.workload);
    let gaps = results.iter().filter(here).filter_map(|result| Some(result.prediction?.discrepancy.interval));
    let readings: Vec<Reading> = gaps.map(|gap| Reading::of(gap, margin)).collect();
    let count = |reading: Reading| readings.iter().filter(|found| **found == reading).count();
    format!(
        "{}, together against the product of the singles: {} more, {} less, {} equal within {}, {} inconclusive.",
        analysis.whole().sentence,
        count(Reading::More),
        count(Reading::Less),
        count(Reading::Equal),
        text::percent(margin),
        count(Reading::Inconclusive),
    )
}
