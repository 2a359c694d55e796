//! One row for each step of each cumulative design.

use super::{Table, cell_columns, notes};
use crate::plan::{Contrast, Design, DesignKind};
use crate::report::analysis::{Analysis, Outcome};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, PREFILL_TIME, TOKEN_TIME, TOKENS_PER_S};
use crate::report::text;
use crate::stats::verdict::Verdict;

/// The table of all ladders.
pub struct Ladders;

impl Table for Ladders {
    fn name(&self) -> &'static str {
        "ladders"
    }

    fn title(&self) -> &'static str {
        "Each optimization on top of the ones before it"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        build(analysis, self.title(), &analysis.designs(&[DesignKind::Cumulative]))
    }
}

/// The table of one ladder: the headline of an experiment.
pub fn ladder(analysis: &Analysis, design: &Design) -> Grid {
    build(analysis, &design.title, &[design])
}

fn build(analysis: &Analysis, title: &str, designs: &[&Design]) -> Grid {
    let whole = format!("{}, vs. previous >", analysis.whole().heading);
    let headings: [&str; 9] = [
        "Ladder",
        "Workload",
        "Step",
        "Speed >",
        &whole,
        "Verdict",
        "p adj. >",
        "Kernels, vs. previous >",
        "Published >",
    ];
    let of_prompt: &[&str] = if analysis.has(PREFILL_TIME) { &["Prefill, vs. previous >"] } else { &[] };
    let mut grid = Grid::new(title, &[&headings[..], &cell_columns::HEADINGS, of_prompt].concat());
    let mut left_out = Vec::new();
    for design in designs {
        for workload in &analysis.manifest.plan.workloads {
            let mut steps = design.contrasts.iter().filter(|c| c.workload == workload.name).peekable();
            if let Some(first) = steps.peek() {
                // The step before the first step is the start of the ladder.
                match analysis.cell(&first.reference).filter(|result| !result.is_left_out()) {
                    Some(_) => grid.push(row(analysis, design, first, None)),
                    None => notes::extend_unique(&mut left_out, notes::reasons(analysis, first)),
                }
            }
            for step in steps {
                let pipeline = analysis.outcome(&design.name, step, TOKEN_TIME);
                if pipeline.is_left_out() {
                    notes::extend_unique(&mut left_out, notes::reasons(analysis, step));
                } else {
                    grid.push(row(analysis, design, step, Some(pipeline)));
                }
            }
        }
    }
    grid.notes = notes::contrasts(analysis);
    grid.notes.push(cell_columns::NOTE.to_owned());
    grid.notes.extend(left_out);
    grid
}

/// A step with its outcome in the pipeline, or without one the start of the ladder: the reference
/// of its first step.
fn row(analysis: &Analysis, design: &Design, step: &Contrast, pipeline: Option<Outcome>) -> Vec<Entry> {
    let (label, id) = match pipeline {
        Some(_) => (step.step.clone(), &step.arm),
        None => ("(start)".to_owned(), &step.reference),
    };
    let judged = pipeline.and_then(|outcome| outcome.citable().copied());
    let kernels = pipeline.map(|_| analysis.outcome(&design.name, step, KERNEL_TIME));
    let kernels = kernels.and_then(|outcome| outcome.citable().copied());
    let significant = judged.is_some_and(|j| matches!(j.verdict, Verdict::Improvement | Verdict::Regression));
    let published = step.published.filter(|_| pipeline.is_some());
    let speed = analysis.cell(id).and_then(|cell| cell.metric(TOKENS_PER_S));
    let columns: [Entry; 9] = [
        design.name.as_str().into(),
        step.workload.as_str().into(),
        label.into(),
        text::speed(speed).into(),
        Entry::strong_if(significant, text::or_none(judged, |j| text::effect(&j.effect))),
        text::or_none(pipeline, |outcome| outcome.word()).into(),
        text::or_none(judged, |j| text::p_value(j.p_adjusted)).into(),
        text::or_none(kernels, |j| text::effect(&j.effect)).into(),
        text::or_none(published, text::published).into(),
    ];
    let of_prompt = analysis.has(PREFILL_TIME).then(|| {
        let outcome = pipeline.map(|_| analysis.outcome(&design.name, step, PREFILL_TIME));
        let prefill = outcome.and_then(|outcome| outcome.citable().copied());
        text::or_none(prefill, |j| text::effect(&j.effect)).into()
    });
    columns.into_iter().chain(cell_columns::entries(analysis, id)).chain(of_prompt).collect()
}
