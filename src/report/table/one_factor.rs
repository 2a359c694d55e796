//! Designs that change one factor at a time.

use super::{Table, cell_columns, notes};
use crate::plan::DesignKind;
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, PREFILL_TIME, TOKEN_TIME};
use crate::report::text;
use crate::stats::verdict::Verdict;

/// Add-one-in and leave-one-out.
pub struct OneFactor;

impl Table for OneFactor {
    fn name(&self) -> &'static str {
        "one_factor"
    }

    fn title(&self) -> &'static str {
        "Each factor alone, and everything without it"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let whole = format!("{} >", analysis.whole().heading);
        let headings = ["Design", "Workload", "Step", &whole, "Verdict", "p adj. >", "Detectable >", "Kernels >"];
        let prefill = analysis.has(PREFILL_TIME);
        let of_prompt: &[&str] = if prefill { &["Prefill >"] } else { &[] };
        let mut grid = Grid::new(self.title(), &[&headings[..], &cell_columns::HEADINGS, of_prompt].concat());
        let mut left_out = Vec::new();
        for design in analysis.designs(&[DesignKind::AddOneIn, DesignKind::LeaveOneOut]) {
            for workload in &analysis.manifest.plan.workloads {
                for contrast in design.contrasts.iter().filter(|c| c.workload == workload.name) {
                    let pipeline = analysis.outcome(&design.name, contrast, TOKEN_TIME);
                    if pipeline.is_left_out() {
                        notes::extend_unique(&mut left_out, notes::reasons(analysis, contrast));
                        continue;
                    }
                    let judged = pipeline.citable();
                    let clear = judged.is_some_and(|j| matches!(j.verdict, Verdict::Improvement | Verdict::Regression));
                    let kernels = analysis.outcome(&design.name, contrast, KERNEL_TIME);
                    let changed = match design.kind {
                        DesignKind::LeaveOneOut => &contrast.reference,
                        _ => &contrast.arm,
                    };
                    let columns: [Entry; 8] = [
                        design.name.as_str().into(),
                        contrast.workload.as_str().into(),
                        contrast.step.as_str().into(),
                        Entry::strong_if(clear, text::or_none(judged, |j| text::effect(&j.effect))),
                        pipeline.word().into(),
                        text::or_none(judged, |j| text::p_value(j.p_adjusted)).into(),
                        text::or_none(judged, |j| text::two_decimals(j.effect.detectable)).into(),
                        text::or_none(kernels.citable(), |j| text::effect(&j.effect)).into(),
                    ];
                    let of_prompt = prefill.then(|| {
                        let outcome = analysis.outcome(&design.name, contrast, PREFILL_TIME);
                        text::or_none(outcome.citable(), |j| text::effect(&j.effect)).into()
                    });
                    grid.push(columns.into_iter().chain(cell_columns::entries(analysis, changed)).chain(of_prompt));
                }
            }
        }
        grid.notes = notes::contrasts(analysis);
        grid.notes.push(cell_columns::NOTE.to_owned());
        grid.notes.push(
            "Columns behind the kernels' are of the changed arm: with the factor, or left without it.".to_owned(),
        );
        if prefill {
            grid.notes.push("Prefill: the ratio in the time of one token of the prompt.".to_owned());
        }
        grid.notes.push("Detectable: smallest true difference that this spread finds with power 0.8.".to_owned());
        grid.notes.extend(left_out);
        grid
    }
}
