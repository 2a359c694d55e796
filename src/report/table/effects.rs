//! Factorial designs: main effects and two-way interactions.

use super::{Table, notes};
use crate::report::analysis::Analysis;
use crate::report::factorial::FactorialResult;
use crate::report::grid::{Entry, Grid};
use crate::report::metric::{KERNEL_TIME, TOKEN_TIME};
use crate::report::text;
use crate::stats::simultaneous::Joint;
use crate::stats::verdict::Verdict;

/// What each factor is worth on average over the others, and what each two are worth together.
pub struct Effects;

impl Table for Effects {
    fn name(&self) -> &'static str {
        "effects"
    }

    fn title(&self) -> &'static str {
        "What each factor is worth over all levels of the others, and what each two are worth together"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let whole = format!("{} >", analysis.whole().heading);
        let headings = [
            "Design",
            "Workload",
            "Effect",
            &whole,
            "Reading",
            "p adj. >",
            "Detectable >",
            "Kernels >",
            "Published >",
            "Blocks >",
        ];
        let mut grid = Grid::new(self.title(), &headings);
        let mut incomplete = Vec::new();
        for result in analysis.factorials.iter().filter(|result| result.metric == TOKEN_TIME) {
            let kernels = of_kernels(analysis, result);
            let Some(effects) = result.effects() else {
                notes::extend_unique(&mut incomplete, result.incomplete());
                grid.push(incomplete_row(result, headings.len()));
                continue;
            };
            for (at, (term, joint)) in effects.terms.iter().enumerate() {
                let kernels = kernels.and_then(|kernels| kernels.effects()?.terms.get(at));
                let verdict = verdict(analysis, joint);
                let is_main = term.is_power_of_two();
                let reading = if is_main { verdict.to_string() } else { together(verdict).to_owned() };
                let clear = matches!(verdict, Verdict::Improvement | Verdict::Regression);
                grid.push([
                    result.design.as_str().into(),
                    result.factorial.workload.as_str().into(),
                    result.factorial.label(*term, " × ").into(),
                    Entry::strong_if(clear, text::effect(&joint.effect)),
                    reading.into(),
                    text::p_value(joint.p_adjusted).into(),
                    text::two_decimals(joint.effect.detectable).into(),
                    text::or_none(kernels, |(_, joint)| text::effect(&joint.effect)).into(),
                    text::or_none(result.factorial.published(*term), text::published).into(),
                    joint.effect.n_blocks.to_string().into(),
                ]);
            }
        }
        grid.notes = notes::factorial(analysis);
        grid.notes.push(
            "A factor alone: its main effect, the mean over all levels of the other factors of time off / time on. Two \
             factors: their interaction, half the difference between the effect of the one with the other on and with \
             the other off. So a factor is worth main effect × interaction where the other is on, and main effect / \
             interaction where it is off. Intervals of one design, workload and metric hold together (Bonferroni), and \
             p is Holm-adjusted over the same family."
                .to_owned(),
        );
        grid.notes.push("Detectable: smallest true effect that this spread finds with power 0.8.".to_owned());
        grid.notes.extend(incomplete);
        grid
    }
}

/// The verdict on an effect of a family.
pub fn verdict(analysis: &Analysis, joint: &Joint) -> Verdict {
    let protocol = &analysis.manifest.plan.protocol;
    Verdict::of(joint.effect.interval, joint.p_adjusted, protocol.margin, 1.0 - protocol.confidence)
}

/// What a verdict on an interaction says about two factors.
fn together(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Improvement => "worth more together",
        Verdict::Regression => "worth less together",
        Verdict::Equivalent => "no interaction",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// The same design on the same workload in the time of the kernels.
pub fn of_kernels<'a>(analysis: &'a Analysis, result: &FactorialResult) -> Option<&'a FactorialResult> {
    analysis.factorials.iter().find(|other| {
        other.metric == KERNEL_TIME && other.design == result.design && other.factorial == result.factorial
    })
}

/// The row of a design without estimates, `width` entries wide.
pub fn incomplete_row(result: &FactorialResult, width: usize) -> Vec<Entry> {
    let words = [result.design.as_str(), &result.factorial.workload, "incomplete: see below"].map(Entry::from);
    words.into_iter().chain(std::iter::repeat(text::NONE.into())).take(width).collect()
}
