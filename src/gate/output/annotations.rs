//! Workflow commands of GitHub Actions: lines in a log that become annotations.

use super::sentence;
use crate::{gate::Gate, stats::verdict::Verdict};

/// Annotations of each level that GitHub shows for a step.
const MOST: usize = 10;

/// An error for each regression and a warning for each question without an answer, each on a line.
pub fn annotations(gate: &Gate) -> String {
    let lines = [("error", Verdict::Regression), ("warning", Verdict::Inconclusive)];
    lines.into_iter().map(|(command, verdict)| of_verdict(gate, command, verdict)).collect()
}

/// The annotations for one verdict; if there are too many, the last one says how many more.
fn of_verdict(gate: &Gate, command: &str, verdict: Verdict) -> String {
    let judgements = gate.decision.judgements.iter().filter(|judgement| judgement.verdict == verdict);
    let mut messages: Vec<String> = judgements.map(sentence).collect();
    if messages.len() > MOST {
        let more = messages.split_off(MOST - 1).len();
        messages.push(format!("{verdict}: {more} more questions"));
    }
    messages.iter().map(|message| format!("::{command} title=bench gate::{}\n", escape(message))).collect()
}

/// What would end a command is written as GitHub reads it back.
fn escape(message: &str) -> String {
    message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
