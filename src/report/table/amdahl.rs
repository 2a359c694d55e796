//! Can the kernels explain what the pipeline gains?

use super::combinations::Reading;
use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::grid::{Entry, Grid};
use crate::report::text;

const HEADINGS: [&str; 10] = [
    "Design",
    "Workload",
    "Step",
    "Kernels' share >",
    "Kernels >",
    "Pipeline, predicted >",
    "Pipeline, measured >",
    "Measured / predicted >",
    "Reading",
    "Blocks >",
];

/// Each contrast of a pipeline beside what its kernels predict.
pub struct Amdahl;

impl Table for Amdahl {
    fn name(&self) -> &'static str {
        "amdahl"
    }

    fn title(&self) -> &'static str {
        "Can the kernels explain what the pipeline gains?"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let mut left_out = Vec::new();
        let margin = analysis.manifest.plan.protocol.margin;
        for result in &analysis.amdahls {
            let Some(check) = result.check else {
                notes::extend_unique(&mut left_out, notes::reasons(analysis, &result.contrast));
                continue;
            };
            let share = |share: f64| text::percent((share * 1e3).round() / 1e3);
            let reading = Reading::of(check.beyond.interval, margin);
            let apart = matches!(reading, Reading::Less | Reading::More);
            grid.push([
                result.design.as_str().into(),
                result.contrast.workload.as_str().into(),
                result.contrast.step.as_str().into(),
                share(check.share.mean).into(),
                text::effect(&check.kernel).into(),
                text::effect(&check.predicted).into(),
                text::effect(&check.measured).into(),
                Entry::strong_if(apart, text::effect(&check.beyond)),
                words(reading).into(),
                check.beyond.n_blocks.to_string().into(),
            ]);
        }
        let whole = analysis.whole().note.map(str::to_owned);
        grid.notes = [notes::method(analysis)].into_iter().chain(whole).chain(notes::common(analysis)).collect();
        grid.notes.push(
            "Kernels' share: of the time of the reference's token, mean over blocks. Predicted, within each block: the \
             gain of the pipeline if the kernels gain what they do and all else takes the time that it took (Amdahl's \
             law). More than the kernels explain: the pipeline gained outside of them; less: it lost there what the \
             kernels gained. Readings come from the interval and the margin, without correction for multiplicity. A \
             contrast that several designs share stands once."
                .to_owned(),
        );
        grid.notes.extend(left_out);
        grid
    }
}

fn words(reading: Reading) -> &'static str {
    match reading {
        Reading::Less => "less than the kernels promise",
        Reading::More => "more than the kernels explain",
        Reading::Equal => "explained by the kernels",
        Reading::Inconclusive => "inconclusive",
    }
}
