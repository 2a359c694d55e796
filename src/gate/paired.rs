//! Two programs in pairs of blocks: is each arm still as fast as it was?
//!
//! The two processes of a pair ran the same cells in the same order within the same minutes, so what
//! slows both cancels in the log ratio of one cell's two times. One such ratio a pair is a sample for
//! Student's t.

use super::{Finding, GateError, Question, Run};
use crate::stats::contrast::{Effect, contrast};

/// The time of every cell in A over its time in B, in each of `metrics`. The null check's repetition of the
/// baseline asks nothing new.
///
/// # Errors
/// No cell has one of the metrics.
pub fn findings(a: &Run, b: &Run, metrics: &[String], confidence: f64) -> Result<Vec<Finding>, GateError> {
    let plan = &a.manifest.plan;
    let mut findings = Vec::new();
    for cell in plan.cells.iter().filter(|cell| cell.null_of.is_none()) {
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload);
        let measured = workload.map_or(&[][..], |workload| workload.metrics());
        for metric in metrics.iter().filter(|metric| measured.contains(&metric.as_str())) {
            let question =
                Question { workload: cell.workload.clone(), metric: metric.clone(), subject: cell.arm.clone() };
            findings.push(Finding { question, effect: effect([a, b], &cell.id, metric, confidence), detail: None });
        }
    }
    match findings.is_empty() {
        false => Ok(findings),
        true => Err(GateError::Nothing {
            reason: "no cell of the experiment has one of these metrics",
            help: "choose others with --metric",
        }),
    }
}

fn effect([a, b]: [&Run; 2], cell: &str, metric: &str, confidence: f64) -> Result<Effect, String> {
    for (side, run) in [("A", a), ("B", b)] {
        if let Some(reason) = run.unusable(cell) {
            return Err(format!("in {side}: {reason}"));
        }
    }
    contrast(&b.times(cell, metric), &a.times(cell, metric), confidence)
        .ok_or_else(|| "missing: no pair has it on both sides".to_owned())
}
