//! From findings to verdicts, and from verdicts to one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    Finding, Question,
    rule::{Case, RULES, Second},
};
use crate::{
    report::analysis::Judged,
    stats::{holm::holm, verdict::Verdict},
};

/// On what terms a gate decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Effects inside `1 ± margin` are of no interest (0.01 = 1 %).
    pub margin: f64,
    /// Coverage of intervals; Holm's correction holds the family to one minus it.
    pub confidence: f64,
}

/// What a gate says to one question.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub question: Question,
    /// The numbers, where there are any.
    pub judged: Option<Judged>,
    /// Those of the confirmation, where one was asked for and has any.
    pub confirmation: Option<Judged>,
    pub verdict: Verdict,
    /// Why it is inconclusive; nothing otherwise.
    pub objection: Option<String>,
    /// As in the finding.
    pub detail: Option<String>,
}

/// What a gate says in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overall {
    /// Every verdict is equivalence or improvement.
    Pass,
    /// There is a regression.
    Regression,
    /// There is none, and a question without an answer.
    Inconclusive,
}

impl fmt::Display for Overall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Overall::Pass => "pass",
            Overall::Regression => "regression",
            Overall::Inconclusive => "inconclusive",
        })
    }
}

/// Every verdict of a family.
#[derive(Clone, Debug)]
pub struct Decision {
    pub terms: Terms,
    /// In the order of the findings.
    pub judgements: Vec<Judgement>,
}

impl Decision {
    /// Decides on what was measured before, or is counted exactly.
    pub fn recorded(findings: &[Finding], terms: Terms) -> Self {
        let judged = judge(findings, terms).into_iter();
        let judgements = findings.iter().zip(judged);
        let judgements = judgements.map(|(finding, judged)| Judgement::of(finding, judged, Second::NotPossible, terms));
        Self { terms, judgements: judgements.collect() }
    }

    /// Decides on two programs. `second` are the findings of the confirmation; of them only those count
    /// whose question was a regression at first, as a family of their own.
    pub fn paired(first: &[Finding], second: Option<&[Finding]>, terms: Terms) -> Self {
        let judged = judge(first, terms);
        let is_regression =
            |judged: &Result<Judged, String>| judged.as_ref().is_ok_and(|judged| judged.verdict == Verdict::Regression);
        let failed = first.iter().zip(&judged).filter(|(_, judged)| is_regression(judged));
        let failed: BTreeSet<&Question> = failed.map(|(finding, _)| &finding.question).collect();
        let asked = second.unwrap_or_default().iter().filter(|finding| failed.contains(&finding.question));
        let asked: Vec<Finding> = asked.cloned().collect();
        let again = judge(&asked, terms);
        let again: BTreeMap<&Question, &Result<Judged, String>> =
            asked.iter().map(|finding| &finding.question).zip(&again).collect();
        let judgements = first.iter().zip(judged).map(|(finding, judged)| {
            let second = match again.get(&finding.question) {
                None => Second::Missing,
                Some(Err(reason)) => Second::Without(reason),
                Some(Ok(judged)) => Second::Judged(judged),
            };
            Judgement::of(finding, judged, second, terms)
        });
        Self { terms, judgements: judgements.collect() }
    }

    /// Whether there is a regression at first sight that nothing has confirmed or denied.
    pub fn awaits_confirmation(&self) -> bool {
        let waits = |judgement: &Judgement| {
            judgement.confirmation.is_none()
                && judgement.judged.is_some_and(|judged| judged.verdict == Verdict::Regression)
        };
        self.judgements.iter().any(waits)
    }

    /// A regression outweighs everything; without one, a question without an answer does.
    pub fn overall(&self) -> Overall {
        let any = |verdict| self.judgements.iter().any(|judgement| judgement.verdict == verdict);
        if any(Verdict::Regression) {
            Overall::Regression
        } else if any(Verdict::Inconclusive) {
            Overall::Inconclusive
        } else {
            Overall::Pass
        }
    }

    /// How many verdicts are such.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.judgements.iter().filter(|judgement| judgement.verdict == verdict).count()
    }

    /// The judgements with regressions first, then what is inconclusive; otherwise in their order.
    pub fn worst_first(&self) -> Vec<&Judgement> {
        let rank = |judgement: &&Judgement| match judgement.verdict {
            Verdict::Regression => 0,
            Verdict::Inconclusive => 1,
            Verdict::Improvement | Verdict::Equivalent => 2,
        };
        let mut judgements: Vec<&Judgement> = self.judgements.iter().collect();
        judgements.sort_by_key(rank);
        judgements
    }
}

impl Judgement {
    /// The judgement on a finding, once every rule was asked.
    fn of(finding: &Finding, judged: Result<Judged, String>, second: Second<'_>, terms: Terms) -> Self {
        let objection = match &judged {
            Ok(judged) => RULES.iter().find_map(|rule| rule.objection(&Case { judged, terms, second })),
            Err(reason) => Some(reason.clone()),
        };
        let judged = judged.ok();
        let stands = judged.filter(|_| objection.is_none());
        let confirmation = match second {
            Second::Judged(second) => Some(*second),
            Second::NotPossible | Second::Missing | Second::Without(_) => None,
        };
        let verdict = stands.map_or(Verdict::Inconclusive, |judged| judged.verdict);
        let (question, detail) = (finding.question.clone(), finding.detail.clone());
        Self { question, judged, confirmation, verdict, objection, detail }
    }
}

/// Judges findings as one family, with Holm's correction over all that have an effect; of the others, why
/// they have none.
fn judge(findings: &[Finding], terms: Terms) -> Vec<Result<Judged, String>> {
    let p: Vec<f64> = findings.iter().filter_map(|finding| Some(finding.effect.as_ref().ok()?.p)).collect();
    let mut adjusted = holm(&p).into_iter();
    let judged = |finding: &Finding| {
        let effect = finding.effect.clone()?;
        // As many as there are effects.
        let p_adjusted = adjusted.next().unwrap_or(1.0);
        let verdict = Verdict::of(effect.interval, p_adjusted, terms.margin, 1.0 - terms.confidence);
        Ok(Judged { effect, p_adjusted, verdict })
    };
    findings.iter().map(judged).collect()
}
