//! One row for each step of each cumulative design.

use super::{Table, notes};
use crate::plan::{Contrast, Design, DesignKind};
use crate::record::CounterRow;
use crate::report::analysis::{Analysis, Outcome};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, TOKEN_TIME, TOKENS_PER_S};
use crate::report::text;
use crate::stats::verdict::Verdict;

/// Conditional jumps in the compiled loop of a kernel, for each weight.
const JUMPS: &str = "loop_conditional_jumps_per_weight";
/// Widest vector register in the compiled loop of a kernel.
const VECTOR_BITS: &str = "loop_vector_bits";

const HEADINGS: [&str; 15] = [
    "Ladder",
    "Workload",
    "Step",
    "Speed >",
    "Pipeline, vs. previous >",
    "Verdict",
    "p adj. >",
    "Kernels, vs. previous >",
    "Published >",
    "Bits/weight >",
    "GB/s >",
    "Roof >",
    "Quality",
    "Jumps/weight >",
    "Vector bits >",
];

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
    let mut grid = Grid::new(title, &HEADINGS);
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
    grid.notes.push(
        "Jumps/weight and vector bits: conditional jumps and the widest vector register in the disassembled loop."
            .to_owned(),
    );
    grid.notes.extend(left_out);
    grid
}

/// A step with its outcome in the pipeline, or without one the start of the ladder: the reference
/// of its first step.
fn row(analysis: &Analysis, design: &Design, step: &Contrast, pipeline: Option<Outcome>) -> [Entry; 15] {
    let (label, id) = match pipeline {
        Some(_) => (step.step.clone(), &step.arm),
        None => ("(start)".to_owned(), &step.reference),
    };
    let judged = pipeline.and_then(|outcome| outcome.citable().copied());
    let kernels = pipeline.map(|_| analysis.outcome(&design.name, step, KERNEL_TIME));
    let kernels = kernels.and_then(|outcome| outcome.citable().copied());
    let significant = judged.is_some_and(|j| matches!(j.verdict, Verdict::Improvement | Verdict::Regression));
    let published = step.published.filter(|_| pipeline.is_some());
    let cell = analysis.cell(id);
    let traffic = cell.and_then(|cell| cell.traffic);
    [
        design.name.as_str().into(),
        step.workload.as_str().into(),
        label.into(),
        text::speed(cell.and_then(|cell| cell.metric(TOKENS_PER_S))).into(),
        Entry::strong_if(significant, text::or_none(judged, |j| text::effect(&j.effect))),
        text::or_none(pipeline, |outcome| outcome.word()).into(),
        text::or_none(judged, |j| text::p_value(j.p_adjusted)).into(),
        text::or_none(kernels, |j| text::effect(&j.effect)).into(),
        text::or_none(published, text::published).into(),
        text::or_none(cell, text::bits).into(),
        text::gbps(traffic).into(),
        text::roof(traffic).into(),
        text::or_none(cell, |cell| text::quality(&cell.facts.quality)).into(),
        text::or_none(counter(analysis, id, JUMPS), text::significant).into(),
        text::or_none(counter(analysis, id, VECTOR_BITS), |bits| format!("{bits}")).into(),
    ]
}

fn counter(analysis: &Analysis, cell_id: &str, name: &str) -> Option<f64> {
    let wanted = |row: &&CounterRow| row.cell_id == cell_id && row.counter == name;
    analysis.counters.iter().find(wanted).and_then(|row| row.value)
}
