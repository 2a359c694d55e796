//! A verdict at all.

use super::{Case, Rule};
use crate::{report::text::percent, stats::verdict::Verdict};

/// Objects to what the interval leaves open.
pub struct Decided;

impl Rule for Decided {
    fn name(&self) -> &'static str {
        "decided"
    }

    fn about(&self) -> &'static str {
        "The interval lies inside the margin, or beyond it with a significant difference after Holm's correction."
    }

    fn objection(&self, case: &Case<'_>) -> Option<String> {
        let margin = percent(case.terms.margin);
        (case.judged.verdict == Verdict::Inconclusive).then(|| {
            let interval = case.judged.effect.interval;
            let band = (1.0 / (1.0 + case.terms.margin), 1.0 + case.terms.margin);
            if interval.high < band.0 || interval.low > band.1 {
                format!("beyond the margin of {margin}, but not significant among all questions")
            } else {
                format!("the interval reaches across the margin of {margin}")
            }
        })
    }
}
