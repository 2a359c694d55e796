//! Text for a terminal or a log.

use std::fmt::Write;

use super::{details, numbers, tally, terms};
use crate::gate::Gate;

/// The decision, what it is about, and every question with its answer, the worst first.
pub fn text(gate: &Gate) -> String {
    let mut text = String::new();
    write(gate, &mut text).expect("writing to a string cannot fail");
    text
}

fn write(gate: &Gate, out: &mut String) -> std::fmt::Result {
    let decision = &gate.decision;
    writeln!(out, "gate: {} ({})", decision.overall(), tally(gate))?;
    writeln!(out, "  A      {}", gate.sides[0])?;
    writeln!(out, "  B      {}", gate.sides[1])?;
    writeln!(out, "  about  {}, {}", gate.experiment, gate.metrics.join(", "))?;
    writeln!(out, "  terms  {}", terms(gate))?;
    writeln!(out, "  ratio  {}; above 1 is good for B", gate.source.ratio())?;
    for note in &gate.notes {
        writeln!(out, "  note   {note}")?;
    }
    writeln!(out, "\n{:13} {:22} {:7} {:8} question", "verdict", "ratio", "p", "detects")?;
    for judgement in decision.worst_first() {
        let [ratio, p, detectable] = numbers(judgement);
        let verdict = judgement.verdict.to_string();
        writeln!(out, "{verdict:13} {ratio:22} {p:7} {detectable:8} {}", judgement.question)?;
        for detail in details(judgement) {
            writeln!(out, "{:13} {detail}", "")?;
        }
    }
    Ok(())
}
