//! What a verdict must withstand before a gate acts on it. A verdict to which a rule objects is
//! inconclusive.

mod confirmed;
mod decided;
mod precise;

use super::Terms;
use crate::report::analysis::Judged;

/// One verdict on one question.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub judged: &'a Judged,
    pub terms: Terms,
    pub second: Second<'a>,
}

/// What a second, fresh measurement in reversed order says to the same question.
#[derive(Clone, Copy, Debug)]
pub enum Second<'a> {
    /// Nothing can be measured again: the runs are recorded ones, or counts that repeat.
    NotPossible,
    /// Not measured, or not yet.
    Missing,
    /// It has no ratio for this question.
    Without(&'a str),
    Judged(&'a Judged),
}

/// A reason not to act on a verdict.
pub trait Rule: Sync {
    /// Short name: `confirmed`.
    fn name(&self) -> &'static str;
    /// What it asks for, in one sentence.
    fn about(&self) -> &'static str;
    /// Why the verdict does not stand, if it does not.
    fn objection(&self, case: &Case<'_>) -> Option<String>;
}

/// Every rule, in the order in which they are asked; the first objection is told.
pub const RULES: [&dyn Rule; 3] = [&decided::Decided, &precise::Precise, &confirmed::Confirmed];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rules_have_names_of_their_own_and_a_sentence() {
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), RULES.len());
        let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
        assert!(RULES.iter().all(|rule| plain(rule.name()) && rule.about().ends_with('.')));
    }

    /// README and the rules say the same.
    #[test]
    fn the_readme_lists_every_rule() {
        let readme = include_str!("../../../README.md");
        for rule in RULES {
            assert!(readme.contains(&format!("| `{}` | {} |", rule.name(), rule.about())), "{}", rule.name());
        }
    }
}
