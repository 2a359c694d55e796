//! Each step of a ladder against the step before it, with the published claim beside it.

use super::axis::Scale;
use super::chart::{IntervalChart, Mark, PanelCell, Row, Series, Shape};
use super::palette::{BLUE, INK, ORANGE};
use super::{Chart, Figure, STEP_LIMIT, find, pages, panel_title, steps};
use crate::plan::{Contrast, Design, DesignKind, Workload};
use crate::report::analysis::{Analysis, Outcome};
use crate::report::metric::{KERNEL_TIME, TOKEN_TIME};
use crate::report::table::notes;
use crate::stats::verdict::ClaimVerdict;

/// Legends name these two in the words of the run.
const WHOLE: Series = Series { name: "whole", color: BLUE, shape: Shape::Disc, lane: -1.0 };
const KERNELS: Series = Series { name: "kernels", color: ORANGE, shape: Shape::Square, lane: 1.0 };
const PUBLISHED: Series = Series { name: "published", color: INK, shape: Shape::HollowDiamond, lane: 0.0 };

/// One chart for each cumulative design.
pub struct Ladder;

impl Figure for Ladder {
    fn charts(&self, analysis: &Analysis) -> Vec<Chart> {
        let designs = analysis.designs(&[DesignKind::Cumulative]).into_iter();
        designs.flat_map(|design| pages(analysis, |workloads| chart(analysis, design, workloads))).collect()
    }
}

fn chart(analysis: &Analysis, design: &Design, workloads: &[Workload]) -> IntervalChart {
    let series =
        [Series { name: analysis.whole().phrase, ..WHOLE }, Series { name: analysis.whole().kernels, ..KERNELS }];
    let cell = |step: &str, workload: &Workload| match find(design, step, workload) {
        Some(contrast) => panel_cell(analysis, design, contrast, series),
        None => PanelCell::default(),
    };
    let row = |step: &str| Row::Item {
        label: step.to_owned(),
        cells: workloads.iter().map(|workload| cell(step, workload)).collect(),
    };
    let claims = design.contrasts.iter().any(|contrast| contrast.published.is_some());
    IntervalChart {
        name: format!("ladder-{}", design.name),
        title: design.title.clone(),
        message: message(analysis, design, workloads),
        caveat: notes::caveat(&analysis.manifest.plan.protocol),
        axis: "speed-up over the previous step (log scale; right of 1 is faster)".to_owned(),
        scale: Scale::Ratios { limit: STEP_LIMIT },
        panels: workloads.iter().map(panel_title).collect(),
        rows: steps(design).into_iter().map(row).collect(),
        legend: [Some(series[0]), claims.then_some(PUBLISHED), Some(series[1])].into_iter().flatten().collect(),
        notes: notes::figure(analysis),
    }
}

fn panel_cell(analysis: &Analysis, design: &Design, contrast: &Contrast, series: [Series; 2]) -> PanelCell {
    let [of_whole, of_kernels] = series;
    let pipeline = analysis.outcome(&design.name, contrast, TOKEN_TIME);
    let kernels = analysis.outcome(&design.name, contrast, KERNEL_TIME);
    let mut marks = Vec::new();
    marks.extend(contrast.published.map(|factor| published(pipeline, factor)));
    marks.extend(kernels.citable().map(|judged| of_kernels.effect(&judged.effect)));
    marks.extend(pipeline.citable().map(|judged| of_whole.effect(&judged.effect)));
    let missing = if marks.is_empty() { pipeline.word() } else { String::new() };
    PanelCell { marks, missing }
}

/// A published factor, with what became of it in the whole.
fn published(pipeline: Outcome, factor: f64) -> Mark {
    let mark = PUBLISHED.published(factor);
    let verdict = match pipeline.citable() {
        Some(judged) => ClaimVerdict::of(judged.effect.interval, factor).to_string(),
        None => pipeline.word(),
    };
    Mark { text: format!("{}: {verdict}", mark.text), ..mark }
}

/// How many published factors the whole reached on these workloads.
fn message(analysis: &Analysis, design: &Design, workloads: &[Workload]) -> String {
    let mut parts = Vec::new();
    for workload in workloads {
        let verdicts: Vec<ClaimVerdict> = design
            .contrasts
            .iter()
            .filter(|contrast| contrast.workload == workload.name)
            .filter_map(|contrast| {
                let outcome = analysis.outcome(&design.name, contrast, TOKEN_TIME);
                Some(ClaimVerdict::of(outcome.citable()?.effect.interval, contrast.published?))
            })
            .collect();
        if !verdicts.is_empty() {
            let held = verdicts.iter().filter(|verdict| **verdict == ClaimVerdict::Held).count();
            parts.push(format!("{held} of {} on {}", verdicts.len(), workload.name));
        }
    }
    if parts.is_empty() {
        "Each step against the step before it, with its interval.".to_owned()
    } else {
        format!("Published speed-ups that the {} reaches: {}.", analysis.whole().phrase, parts.join(", "))
    }
}
