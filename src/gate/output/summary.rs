//! Markdown for the summary of a step on GitHub.

use super::{details, numbers, tally, terms};
use crate::{
    gate::Gate,
    report::{
        grid::{Entry, Grid},
        render::markdown,
    },
    stats::verdict::Verdict,
};

/// Most rows of the table: GitHub drops a summary of more than 1 MiB, and nobody reads one.
const MOST_ROWS: usize = 500;

/// A heading and one table, the worst first.
pub fn summary(gate: &Gate) -> String {
    let decision = &gate.decision;
    let title = format!("{}, {}: {}", gate.experiment, gate.metrics.join(", "), tally(gate));
    let mut grid =
        Grid::new(title, &["Verdict", "Ratio >", "p >", "Detects >", "Workload", "Metric", "Question", "Reason"]);
    let judgements = decision.worst_first();
    for judgement in judgements.iter().take(MOST_ROWS) {
        let strong = matches!(judgement.verdict, Verdict::Regression | Verdict::Improvement);
        let [ratio, p, detectable] = numbers(judgement).map(Entry::from);
        grid.push([
            Entry::strong_if(strong, judgement.verdict.to_string()),
            ratio,
            p,
            detectable,
            Entry::from(judgement.question.workload.as_str()),
            Entry::from(judgement.question.metric.as_str()),
            Entry::from(judgement.question.subject.as_str()),
            Entry::from(details(judgement).collect::<Vec<_>>().join("; ")),
        ]);
    }
    grid.notes = vec![
        format!("A: {}.", gate.sides[0]),
        format!("B: {}.", gate.sides[1]),
        format!("Ratio: {}; above 1 is good for B.", gate.source.ratio()),
        format!("Terms: {}.", terms(gate)),
    ];
    if judgements.len() > MOST_ROWS {
        grid.notes.push(format!("{} more questions are not shown.", judgements.len() - MOST_ROWS));
    }
    grid.notes.extend(gate.notes.iter().cloned());
    format!("## bench gate: {}\n\n{}", decision.overall(), markdown(&grid))
}
