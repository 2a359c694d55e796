//! A gate's decision for people and for CI: each format is a function of it.

pub mod annotations;
pub mod go_bench;
pub mod junit;
pub mod summary;
pub mod text;

use super::{Gate, Judgement};
use crate::{
    report::text::{NONE, effect, or_none, p_value, two_decimals},
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
    parts.extend(confirmation(judgement));
    parts.extend(judgement.objection.clone());
    parts.join("; ")
}
