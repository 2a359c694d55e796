//! Every published factor beside what this machine measured.

use super::{Table, notes};
use crate::plan::Contrast;
use crate::report::analysis::{Analysis, CombinationResult};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, TOKEN_TIME};
use crate::report::text;
use crate::stats::contrast::Effect;
use crate::stats::verdict::ClaimVerdict;

/// Columns that name the claim.
const SETTING: usize = 3;

/// Columns of each workload.
const COLUMNS: usize = 3;

/// Held, not held, or open: a row for each claim in each setting, the workloads side by side.
pub struct Claims;

impl Table for Claims {
    fn name(&self) -> &'static str {
        "claims"
    }

    fn title(&self) -> &'static str {
        "Published speed-ups and what was measured"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let workloads = &analysis.manifest.plan.workloads;
        let mut headings: Vec<String> = ["Setting", "Claim", "Published >"].map(str::to_owned).to_vec();
        for workload in workloads {
            let name = &workload.name;
            let whole = analysis.whole().name;
            headings.extend([format!("{name}: kernels >"), format!("{name}: {whole} >"), format!("{name}: claim")]);
        }
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut grid = Grid::new(self.title(), &headings);
        let mut left_out = Vec::new();
        for claim in claims(analysis) {
            let setting = [claim.design.into(), claim.step.into(), text::published(claim.published).into()];
            let measured = workloads.iter().flat_map(|workload| {
                let Some(contrast) = claim.contrasts.iter().find(|contrast| contrast.workload == workload.name) else {
                    return ["–".into(), "–".into(), "–".into()];
                };
                notes::extend_unique(&mut left_out, notes::reasons(analysis, contrast));
                let kernels = claim.effect(analysis, contrast, KERNEL_TIME);
                let pipeline = claim.effect(analysis, contrast, TOKEN_TIME);
                let ratio = |effect: &Option<Effect>| text::or_none(effect.as_ref(), text::effect).into();
                [ratio(&kernels), ratio(&pipeline), verdict(pipeline.as_ref(), claim.published)]
            });
            grid.push(setting.into_iter().chain(measured));
        }
        grid.notes = tally(&grid, workloads.len());
        grid.notes.push(notes::method(analysis));
        grid.notes.extend(analysis.whole().note.map(str::to_owned));
        grid.notes.extend(notes::common(analysis));
        grid.notes.push(format!(
            "Claims are judged on the {}. Held: the whole interval reaches the published factor. Not held: the whole \
             interval lies below it. Inconclusive: anything else. Each claim is judged on its own interval, not \
             corrected for multiplicity. A contrast that several designs share stands once.",
            analysis.whole().phrase,
        ));
        grid.notes.extend(left_out);
        grid
    }
}

/// How many claims came out which way, a line for each workload.
fn tally(grid: &Grid, workloads: usize) -> Vec<String> {
    let count = |column: usize, verdict: ClaimVerdict| {
        grid.rows.iter().filter(|row| row[column].text == verdict.to_string()).count()
    };
    let line = |column: usize| {
        let counts = [ClaimVerdict::Held, ClaimVerdict::NotHeld, ClaimVerdict::Inconclusive]
            .map(|verdict| format!("{} {verdict}", count(column, verdict)));
        format!("{}: {}.", grid.headings[column].text, counts.join(", "))
    };
    (0..workloads).map(|workload| line(SETTING + COLUMNS * workload + COLUMNS - 1)).collect()
}

/// A published factor in one setting, with its contrast on each workload.
struct Claim<'a> {
    design: &'a str,
    step: &'a str,
    published: f64,
    contrasts: Vec<&'a Contrast>,
    /// Whether it is about a whole combination rather than a step.
    together: bool,
}

impl Claim<'_> {
    /// What was measured of `contrast`, unless it is missing or left out.
    fn effect(&self, analysis: &Analysis, contrast: &Contrast, metric: &str) -> Option<Effect> {
        if !self.together {
            return analysis.outcome(self.design, contrast, metric).citable().map(|judged| judged.effect);
        }
        let of_this = |result: &&CombinationResult| {
            result.design == self.design && result.metric == metric && result.combination.measured == *contrast
        };
        Some(analysis.combinations.iter().find(of_this)?.prediction.as_ref()?.measured)
    }
}

/// Every published factor of the plan, in the order of its designs.
fn claims(analysis: &Analysis) -> Vec<Claim<'_>> {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for design in &analysis.manifest.plan.designs {
        let together = design.combinations.iter().map(|combination| (&combination.measured, true));
        let steps = design.contrasts.iter().map(|contrast| (contrast, false));
        for (contrast, together) in steps.chain(together) {
            let Some(published) = contrast.published else { continue };
            let cells = (contrast.arm.as_str(), contrast.reference.as_str());
            if seen.contains(&cells) {
                continue;
            }
            seen.push(cells);
            let (design, step) = (design.name.as_str(), contrast.step.as_str());
            let step = if together { "all steps together" } else { step };
            match claims.iter_mut().find(|claim| (claim.design, claim.step) == (design, step)) {
                Some(claim) => claim.contrasts.push(contrast),
                None => claims.push(Claim { design, step, published, contrasts: vec![contrast], together }),
            }
        }
    }
    claims
}

fn verdict(effect: Option<&Effect>, published: f64) -> Entry {
    match effect.map(|effect| ClaimVerdict::of(effect.interval, published)) {
        Some(verdict) => Entry::strong_if(verdict != ClaimVerdict::Inconclusive, verdict.to_string()),
        None => "missing".into(),
    }
}
