//! A gate's decision for people and for CI: each format is a function of it.

pub mod annotations;
pub mod go_bench;
pub mod junit;
pub mod summary;
pub mod text;

use super::{Gate, Judgement, Source, Terms};
use crate::{
    report::text::{NONE, effect, or_none, p_value, percent, two_decimals},
    stats::verdict::Verdict,
};

/// The numbers of a judgement in words: ratio with interval, adjusted p, minimum detectable effect.
fn numbers(judgement: &Judgement) -> [String; 3] {
    let judged = judgement.judged.as_ref();
    [
        or_none(judged, |judged| effect(&judged.effect)),
        or_none(judged, |judged| p_value(judged.p_adjusted)),
        or_none(judged, |judged| two_decimals(judged.effect.detectable)),
    ]
}

/// The ratio of the confirmation, where there was one.
fn confirmation(judgement: &Judgement) -> Option<String> {
    judgement.confirmation.map(|judged| format!("in reversed order {}", effect(&judged.effect)))
}

/// On what terms it was decided. Exact counts have no chance to be corrected for.
fn terms(gate: &Gate) -> String {
    let (Terms { margin, confidence }, questions) = (gate.decision.terms, gate.decision.judgements.len());
    match gate.source {
        Source::Recorded | Source::Paired => {
            format!("margin {}, confidence {}, Holm over {questions} questions", percent(margin), percent(confidence))
        }
        Source::Counted => format!("margin {}, {questions} questions", percent(margin)),
    }
}

/// What stands below the numbers of a judgement.
fn details(judgement: &Judgement) -> impl Iterator<Item = String> {
    [judgement.detail.clone(), confirmation(judgement), judgement.objection.clone()].into_iter().flatten()
}

/// How many questions have which answer.
fn tally(gate: &Gate) -> String {
    let verdicts = [Verdict::Regression, Verdict::Inconclusive, Verdict::Improvement, Verdict::Equivalent];
    verdicts.map(|verdict| format!("{} {verdict}", gate.decision.count(verdict))).join(", ")
}

/// One line about a judgement, for places without columns.
fn sentence(judgement: &Judgement) -> String {
    let [ratio, p, detectable] = numbers(judgement);
    let mut parts = vec![format!("{}: {}", judgement.verdict, judgement.question)];
    if ratio != NONE {
        parts.push(format!("{ratio}, p {p}, detects {detectable}"));
    }
    parts.extend(details(judgement));
    parts.join("; ")
}
