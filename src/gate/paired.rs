//! Two programs in pairs of blocks: is each arm still as fast as it was?
//!
//! The two processes of a pair ran the same cells in the same order and took turns at every repetition, so
//! what slows both cancels in the log ratio of two repetitions that were next to each other. The median of a
//! cell's ratios within a pair, which a burst on one side does not move, is one value of a sample whose trimmed
//! mean is the effect (`stats/trimmed.rs`): pairs are the unit, since what a process has in common with itself (its
//! memory layout) does not average out in it.

use super::{Finding, GateError, Question, Run, run::Repetitions};
use crate::stats::contrast::{Effect, log_of_neighbours};

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
    let logs = a.repetitions(cell, metric).zip(b.repetitions(cell, metric)).map(|(a, b)| log_ratios(a, b));
    Effect::of_pairs(&logs.unwrap_or_default(), confidence)
        .ok_or_else(|| "missing: no pair has it on both sides".to_owned())
}

/// Of each pair that both have, the median of ln(A / B) over its repetitions.
fn log_ratios(a: &Repetitions, b: &Repetitions) -> Vec<f64> {
    a.iter().filter_map(|(pair, a)| log_of_neighbours(a, b.get(pair)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_on_one_side_moves_no_ratio_and_a_drift_cancels() {
        // The machine gets slower by a tenth with each repetition; B is slower by a fiftieth.
        let drift: Vec<f64> = (0..5).map(|k| 1.1f64.powi(k)).collect();
        let mut slower: Vec<f64> = drift.iter().map(|time| 1.02 * time).collect();
        slower[3] *= 5.0;
        let a = Repetitions::from([(0, drift.clone()), (1, drift.clone()), (7, drift)]);
        let b = Repetitions::from([(0, slower.clone()), (1, slower)]);
        let logs = log_ratios(&a, &b);
        assert!(logs.len() == 2 && logs.iter().all(|log| (log + 1.02f64.ln()).abs() < 1e-12), "{logs:?}");
    }
}
