//! A regression twice, or none.

use super::{Case, Rule, Second};
use crate::stats::verdict::Verdict;

/// Objects to a regression that fresh pairs in reversed order do not repeat.
pub struct Confirmed;

impl Rule for Confirmed {
    fn name(&self) -> &'static str {
        "confirmed"
    }

    fn about(&self) -> &'static str {
        "A regression between two programs must be one again in fresh pairs that begin with the other program."
    }

    fn objection(&self, case: &Case<'_>) -> Option<String> {
        if case.judged.verdict != Verdict::Regression {
            return None;
        }
        match case.second {
            Second::NotPossible => None,
            Second::Missing => Some("a regression that was not confirmed in reversed order".to_owned()),
            Second::Without(reason) => Some(format!("a regression that could not be confirmed: {reason}")),
            Second::Judged(second) => (second.verdict != Verdict::Regression)
                .then(|| format!("a regression that was not confirmed: {} in reversed order", second.verdict)),
        }
    }
}
