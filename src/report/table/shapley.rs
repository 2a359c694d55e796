//! Factorial designs: which factor earned how much of the total.

use super::{Table, effects, notes};
use crate::report::analysis::Analysis;
use crate::report::factorial::FactorialResult;
use crate::report::grid::{Entry, Grid};
use crate::report::metric::TOKEN_TIME;
use crate::report::text;
use crate::stats::contrast::Effect;
use crate::stats::verdict::Verdict;

/// Contributions to the speed-up of all factors together.
pub struct Shapley;

impl Table for Shapley {
    fn name(&self) -> &'static str {
        "shapley"
    }

    fn title(&self) -> &'static str {
        "Which factor earned how much of the speed-up of all together"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let whole = format!("{} >", analysis.whole().heading);
        let headings = [
            "Design",
            "Workload",
            "Factor",
            &whole,
            "Share of the total >",
            "p adj. >",
            "Kernels >",
            "Published >",
            "Blocks >",
        ];
        let mut grid = Grid::new(self.title(), &headings);
        let mut incomplete = Vec::new();
        for result in analysis.factorials.iter().filter(|result| result.metric == TOKEN_TIME) {
            let kernels = effects::of_kernels(analysis, result).and_then(FactorialResult::effects);
            let Some(found) = result.effects() else {
                notes::extend_unique(&mut incomplete, result.incomplete());
                grid.push(effects::incomplete_row(result, headings.len()));
                continue;
            };
            let row = |factor: &str, clear: bool, effect: &Effect, p: f64, kernels: Option<&Effect>, published| {
                let columns: [Entry; 9] = [
                    result.design.as_str().into(),
                    result.factorial.workload.as_str().into(),
                    factor.into(),
                    Entry::strong_if(clear, text::effect(effect)),
                    share(effect, &found.total).into(),
                    text::p_value(p).into(),
                    text::or_none(kernels, text::effect).into(),
                    text::or_none(published, text::published).into(),
                    effect.n_blocks.to_string().into(),
                ];
                columns
            };
            for (at, (factor, joint)) in result.factorial.factors.iter().zip(&found.contributions).enumerate() {
                let verdict = effects::verdict(analysis, joint);
                let clear = matches!(verdict, Verdict::Improvement | Verdict::Regression);
                let kernels = kernels.and_then(|kernels| kernels.contributions.get(at)).map(|joint| &joint.effect);
                grid.push(row(&factor.label, clear, &joint.effect, joint.p_adjusted, kernels, factor.published));
            }
            let (total, of_kernels) = (&found.total, kernels.map(|kernels| &kernels.total));
            grid.push(row("all on / all off", false, total, total.p, of_kernels, published(analysis, result)));
        }
        grid.notes = notes::factorial(analysis);
        grid.notes.push(
            "A contribution is Shapley's: what the factor adds to those that are on already, averaged over all orders \
             of switching them on. Inside each block the contributions multiply to the total exactly. Intervals of the \
             contributions of one design, workload and metric hold together (Bonferroni), and p is Holm-adjusted over \
             the same family; the total stands by itself. Share: of the logarithm of the total, from the means over \
             blocks; only where the interval of the total excludes 1."
                .to_owned(),
        );
        grid.notes.extend(incomplete);
        grid
    }
}

/// The share of a logarithm in that of the total, in percent.
fn share(effect: &Effect, total: &Effect) -> String {
    let certain = !total.interval.contains(1.0);
    text::or_none(certain.then(|| effect.ratio.ln() / total.ratio.ln()), |share| {
        // Adding zero turns −0 into 0.
        format!("{:.0} %", (100.0 * share).round() + 0.0)
    })
}

/// The published factor of all together.
fn published(analysis: &Analysis, result: &FactorialResult) -> Option<f64> {
    let design = analysis.manifest.plan.designs.iter().find(|design| design.name == result.design)?;
    let of_workload = design.combinations.iter().find(|c| c.workload == result.factorial.workload);
    of_workload.and_then(|combination| combination.measured.published)
}
