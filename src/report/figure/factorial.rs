//! Factorial designs: who earned the total, and which factors are worth more or less together.

use super::axis::Scale;
use super::chart::{IntervalChart, PanelCell, Row, Series, Shape};
use super::palette::{BLUE, GREEN, INK, NEUTRAL, ORANGE, VERMILLION};
use super::{Chart, Figure, STEP_LIMIT, pages, panel_title};
use crate::plan::{Design, DesignKind, Workload};
use crate::report::analysis::Analysis;
use crate::report::factorial::FactorialResult;
use crate::report::metric::TOKEN_TIME;
use crate::report::table::effects::verdict;
use crate::report::table::notes;
use crate::report::text;
use crate::stats::contrast::Effect;
use crate::stats::factorial::{FactorialEffects, terms};
use crate::stats::verdict::Verdict;

const CONTRIBUTION: Series = Series { name: "contribution", color: ORANGE, shape: Shape::Disc, lane: 0.0 };
const TOTAL: Series = Series { name: "all on / all off", color: INK, shape: Shape::Diamond, lane: 0.0 };
const MORE: Series = Series { name: "more together", color: GREEN, shape: Shape::Triangle, lane: 0.0 };
const LESS: Series = Series { name: "less together", color: VERMILLION, shape: Shape::DownTriangle, lane: 0.0 };
const NONE: Series = Series { name: "no interaction", color: BLUE, shape: Shape::HollowSquare, lane: 0.0 };
const INCONCLUSIVE: Series = Series { name: "inconclusive", color: NEUTRAL, shape: Shape::HollowDisc, lane: 0.0 };

/// One chart for each factorial design, in the time of the whole.
pub struct Factorial;

impl Figure for Factorial {
    fn charts(&self, analysis: &Analysis) -> Vec<Chart> {
        let designs = analysis.designs(&[DesignKind::Factorial]).into_iter();
        designs.flat_map(|design| pages(analysis, |workloads| chart(analysis, design, workloads))).collect()
    }
}

fn chart(analysis: &Analysis, design: &Design, workloads: &[Workload]) -> IntervalChart {
    let results: Vec<Option<&FactorialResult>> =
        workloads.iter().map(|workload| result(analysis, design, workload)).collect();
    // Labels and terms are those of any workload: all have the factors of the design.
    let factorial = results.iter().flatten().next().map(|result| &result.factorial);
    let count = factorial.map_or(0, |factorial| factorial.factors.len());
    let row = |label: String, cell: &dyn Fn(&FactorialEffects) -> PanelCell| Row::Item {
        label,
        cells: results.iter().map(|result| panel_cell(*result, cell)).collect(),
    };
    let mark =
        |series: Series, effect: &Effect| PanelCell { marks: vec![series.effect(effect)], missing: String::new() };
    let mut rows = vec![Row::Heading("Who earned it: contributions that multiply to the total".to_owned())];
    if let Some(factorial) = factorial {
        rows.extend((0..count).map(|at| {
            row(factorial.label(1 << at, ""), &|effects| mark(CONTRIBUTION, &effects.contributions[at].effect))
        }));
        rows.push(row(TOTAL.name.to_owned(), &|effects| mark(TOTAL, &effects.total)));
        rows.push(Row::Heading(
            "Interactions: how much more each is worth where the other is on, than on average".to_owned(),
        ));
        let pairs = terms(count).into_iter().enumerate().skip(count);
        rows.extend(pairs.map(|(at, term)| {
            row(factorial.label(term, " × "), &|effects| {
                let joint = &effects.terms[at].1;
                mark(series(verdict(analysis, joint)), &joint.effect)
            })
        }));
    }
    IntervalChart {
        name: format!("factorial-{}", design.name),
        title: design.title.clone(),
        message: message(analysis, &results),
        caveat: notes::caveat(&analysis.manifest.plan.protocol),
        axis: "speed-up (log scale; right of 1 is faster)".to_owned(),
        scale: Scale::Ratios { limit: STEP_LIMIT },
        panels: workloads.iter().map(panel_title).collect(),
        rows,
        legend: vec![CONTRIBUTION, TOTAL, MORE, LESS, NONE, INCONCLUSIVE],
        notes: notes::figure(analysis).into_iter().chain([SIMULTANEOUS.to_owned()]).collect(),
    }
}

const SIMULTANEOUS: &str = "Contributions are Shapley's; intervals of contributions, and of main effects and \
                            interactions, hold together on each workload (Bonferroni).";

fn result<'a>(analysis: &'a Analysis, design: &Design, workload: &Workload) -> Option<&'a FactorialResult> {
    analysis.factorials.iter().find(|result| {
        result.design == design.name && result.factorial.workload == workload.name && result.metric == TOKEN_TIME
    })
}

fn panel_cell(result: Option<&FactorialResult>, cell: &dyn Fn(&FactorialEffects) -> PanelCell) -> PanelCell {
    match result.map(FactorialResult::effects) {
        None => PanelCell::default(),
        Some(Some(effects)) => cell(effects),
        Some(None) => PanelCell { marks: Vec::new(), missing: "incomplete".to_owned() },
    }
}

fn series(verdict: Verdict) -> Series {
    match verdict {
        Verdict::Improvement => MORE,
        Verdict::Regression => LESS,
        Verdict::Equivalent => NONE,
        Verdict::Inconclusive => INCONCLUSIVE,
    }
}

/// How many interactions stand out on these workloads.
fn message(analysis: &Analysis, results: &[Option<&FactorialResult>]) -> String {
    let effects = results.iter().flatten().filter_map(|result| result.effects());
    let interactions = effects.flat_map(|effects| &effects.terms).filter(|(term, _)| !term.is_power_of_two());
    let verdicts: Vec<Verdict> = interactions.map(|(_, joint)| verdict(analysis, joint)).collect();
    let count = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    format!(
        "{}, pairs of factors: {} worth more together, {} worth less together, {} without interaction within {}, {} \
         inconclusive.",
        analysis.whole().sentence,
        count(Verdict::Improvement),
        count(Verdict::Regression),
        count(Verdict::Equivalent),
        text::percent(analysis.manifest.plan.protocol.margin),
        count(Verdict::Inconclusive),
    )
}
