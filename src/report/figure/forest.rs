//! Forest plot of all contrasts that change one factor.

use super::axis::Scale;
use super::chart::{IntervalChart, PanelCell, Row, Series, Shape};
use super::palette::{BLUE, GREEN, NEUTRAL, VERMILLION};
use super::{Chart, Figure, STEP_LIMIT, find, pages, panel_title, steps};
use crate::plan::{Design, DesignKind, Workload};
use crate::report::analysis::Analysis;
use crate::report::metric::TOKEN_TIME;
use crate::report::table::notes;
use crate::report::text;
use crate::stats::verdict::Verdict;

const IMPROVEMENT: Series = Series { name: "improvement", color: GREEN, shape: Shape::Disc, lane: 0.0 };
const REGRESSION: Series = Series { name: "regression", color: VERMILLION, shape: Shape::Square, lane: 0.0 };
const EQUIVALENT: Series = Series { name: "equivalent", color: BLUE, shape: Shape::HollowSquare, lane: 0.0 };
const INCONCLUSIVE: Series = Series { name: "inconclusive", color: NEUTRAL, shape: Shape::HollowDisc, lane: 0.0 };

/// Add-one-in and leave-one-out, a group each.
pub struct Forest;

impl Figure for Forest {
    fn charts(&self, analysis: &Analysis) -> Vec<Chart> {
        let designs = analysis.designs(&[DesignKind::AddOneIn, DesignKind::LeaveOneOut]);
        pages(analysis, |workloads| IntervalChart {
            name: "one_factor".to_owned(),
            title: "What each factor is worth".to_owned(),
            message: message(analysis, workloads),
            caveat: notes::caveat(&analysis.manifest.plan.protocol),
            axis: "speed-up over the reference (log scale; right of 1 is faster)".to_owned(),
            scale: Scale::Ratios { limit: STEP_LIMIT },
            panels: workloads.iter().map(panel_title).collect(),
            rows: designs.iter().flat_map(|design| group(analysis, design, workloads)).collect(),
            legend: vec![IMPROVEMENT, REGRESSION, EQUIVALENT, INCONCLUSIVE],
            notes: notes::figure(analysis),
        })
    }
}

/// How many verdicts of each kind on these workloads.
fn message(analysis: &Analysis, workloads: &[Workload]) -> String {
    let kinds = [DesignKind::AddOneIn, DesignKind::LeaveOneOut];
    let verdicts: Vec<Verdict> = analysis
        .contrasts
        .iter()
        .filter(|result| kinds.contains(&result.kind) && result.metric == TOKEN_TIME)
        .filter(|result| workloads.iter().any(|workload| workload.name == result.contrast.workload))
        .filter_map(|result| result.outcome.citable().map(|judged| judged.verdict))
        .collect();
    let count = |verdict: Verdict| verdicts.iter().filter(|found| **found == verdict).count();
    format!(
        "{}, one factor changed: {} faster, {} slower, {} equivalent within {}, {} inconclusive.",
        analysis.whole().sentence,
        count(Verdict::Improvement),
        count(Verdict::Regression),
        count(Verdict::Equivalent),
        text::percent(analysis.manifest.plan.protocol.margin),
        count(Verdict::Inconclusive),
    )
}

/// A heading and one row for each step that is on one of these workloads.
fn group(analysis: &Analysis, design: &Design, workloads: &[Workload]) -> Vec<Row> {
    let mut steps = steps(design);
    steps.retain(|step| workloads.iter().any(|workload| find(design, step, workload).is_some()));
    if steps.is_empty() {
        return Vec::new();
    }
    let row = |step: &str| Row::Item {
        label: step.to_owned(),
        cells: workloads.iter().map(|workload| panel_cell(analysis, design, step, workload)).collect(),
    };
    [Row::Heading(design.title.clone())].into_iter().chain(steps.into_iter().map(row)).collect()
}

fn panel_cell(analysis: &Analysis, design: &Design, step: &str, workload: &Workload) -> PanelCell {
    let Some(contrast) = find(design, step, workload) else {
        return PanelCell::default();
    };
    let outcome = analysis.outcome(&design.name, contrast, TOKEN_TIME);
    match outcome.citable() {
        Some(judged) => {
            PanelCell { marks: vec![series(judged.verdict).effect(&judged.effect)], missing: String::new() }
        }
        None => PanelCell { marks: Vec::new(), missing: outcome.word() },
    }
}

fn series(verdict: Verdict) -> Series {
    match verdict {
        Verdict::Improvement => IMPROVEMENT,
        Verdict::Regression => REGRESSION,
        Verdict::Equivalent => EQUIVALENT,
        Verdict::Inconclusive => INCONCLUSIVE,
    }
}
