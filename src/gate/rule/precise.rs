//! Equivalence from enough data.

use super::{Case, Rule};
use crate::{
    report::text::{percent, two_decimals},
    stats::verdict::Verdict,
};

/// Objects to equivalence where a difference of the size of the margin would often have been missed.
pub struct Precise;

impl Rule for Precise {
    fn name(&self) -> &'static str {
        "precise"
    }

    fn about(&self) -> &'static str {
        "To call something equivalent, the minimum detectable effect must not exceed the margin."
    }

    fn objection(&self, case: &Case<'_>) -> Option<String> {
        let detectable = case.judged.effect.detectable;
        let coarse = case.judged.verdict == Verdict::Equivalent && detectable > case.terms.margin;
        coarse.then(|| {
            let (detectable, margin) = (two_decimals(detectable), percent(case.terms.margin));
            format!(
                "too few or too noisy blocks: the smallest effect that they detect is {detectable}, the margin {margin}"
            )
        })
    }
}
