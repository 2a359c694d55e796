//! Every published factor beside what this machine measured.

use super::{Table, notes};
use crate::report::analysis::{Analysis, Judged};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, TOKEN_TIME};
use crate::report::text;
use crate::stats::verdict::ClaimVerdict;

const HEADINGS: [&str; 9] = [
    "Design",
    "Claim",
    "Published >",
    "Workload",
    "Kernels >",
    "Kernels: claim",
    "Pipeline >",
    "Pipeline: claim",
    "Blocks >",
];

/// Held, not held, or open, for each claim on each workload.
pub struct Claims;

impl Table for Claims {
    fn name(&self) -> &'static str {
        "claims"
    }

    fn title(&self) -> &'static str {
        "Published speed-ups and what was measured"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let mut left_out = Vec::new();
        for design in &analysis.manifest.plan.designs {
            for contrast in &design.contrasts {
                let Some(published) = contrast.published else { continue };
                let kernels = analysis.outcome(&design.name, contrast, KERNEL_TIME);
                let pipeline = analysis.outcome(&design.name, contrast, TOKEN_TIME);
                if [kernels, pipeline].iter().any(|outcome| outcome.is_left_out()) {
                    notes::extend_unique(&mut left_out, notes::reasons(analysis, contrast));
                    continue;
                }
                let blocks = kernels.citable().or(pipeline.citable()).map(|judged| judged.effect.n_blocks);
                grid.push([
                    design.name.as_str().into(),
                    contrast.step.as_str().into(),
                    text::published(published).into(),
                    contrast.workload.as_str().into(),
                    ratio(kernels.citable()).into(),
                    verdict(kernels.citable(), published),
                    ratio(pipeline.citable()).into(),
                    verdict(pipeline.citable(), published),
                    text::or_none(blocks, |blocks| blocks.to_string()).into(),
                ]);
            }
        }
        grid.notes = notes::contrasts(analysis);
        grid.notes.push(
            "Held: the whole interval reaches the published factor. Not held: the whole interval lies below it. \
             Inconclusive: anything else."
                .to_owned(),
        );
        grid.notes.extend(left_out);
        grid
    }
}

fn ratio(judged: Option<&Judged>) -> String {
    text::or_none(judged, |judged| text::effect(&judged.effect))
}

fn verdict(judged: Option<&Judged>, published: f64) -> Entry {
    match judged.map(|judged| ClaimVerdict::of(judged.effect.interval, published)) {
        Some(verdict) => Entry::strong_if(verdict != ClaimVerdict::Inconclusive, verdict.to_string()),
        None => "missing".into(),
    }
}
