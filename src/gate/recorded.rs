//! Two recorded runs: is each step of the experiment still worth what it was?
//!
//! A run contributes nothing but ratios of arms that ran in the same block. What a step is worth is the
//! time without it over the time with it, so a ratio between B and A above one says that it gained. It
//! also moves when the arm without the step does: a faster reference makes every step that is compared
//! with it worth less.

use std::collections::BTreeSet;

use super::{Finding, GateError, Question, Run};
use crate::{
    plan::{Contrast, Design, DesignKind},
    stats::{
        contrast::{Effect, log_ratios},
        welch,
    },
};

/// What every step of the designs is worth in B over A, in each of `metrics`; a contrast that several designs
/// ask for is one question. Null checks ask nothing.
///
/// # Errors
/// No design asks anything.
pub fn findings(a: &Run, b: &Run, metrics: &[String], confidence: f64) -> Result<Vec<Finding>, GateError> {
    let plan = &a.manifest.plan;
    let mut asked = BTreeSet::new();
    let mut findings = Vec::new();
    for design in plan.designs.iter().filter(|design| design.kind != DesignKind::Null) {
        for contrast in &design.contrasts {
            let (with, without) = with_and_without(design, contrast);
            if !asked.insert((with, without)) {
                continue;
            }
            let workload = plan.workloads.iter().find(|workload| workload.name == contrast.workload);
            let measured = workload.map_or(&[][..], |workload| workload.metrics());
            for metric in metrics.iter().filter(|metric| measured.contains(&metric.as_str())) {
                let question = Question {
                    workload: contrast.workload.clone(),
                    metric: metric.clone(),
                    subject: format!("{}: {}", design.name, contrast.step),
                };
                let effect = effect([a, b], with, without, metric, confidence);
                findings.push(Finding { question, effect, detail: None });
            }
        }
    }
    match findings.is_empty() {
        false => Ok(findings),
        true => Err(GateError::Nothing {
            reason: "no design of the experiment compares two arms in these metrics",
            help: "compare runs of an experiment with steps; its null check is not a step",
        }),
    }
}

/// The cells with and without the step of a contrast.
fn with_and_without<'a>(design: &Design, contrast: &'a Contrast) -> (&'a str, &'a str) {
    match design.kind {
        DesignKind::Cumulative | DesignKind::AddOneIn | DesignKind::Factorial | DesignKind::Null => {
            (&contrast.arm, &contrast.reference)
        }
        // The arm is the one that lacks something.
        DesignKind::LeaveOneOut => (&contrast.reference, &contrast.arm),
    }
}

/// What the step is worth in the second run over the first.
fn effect(runs: [&Run; 2], with: &str, without: &str, metric: &str, confidence: f64) -> Result<Effect, String> {
    let mut logs = Vec::new();
    for (side, run) in ["A", "B"].into_iter().zip(runs) {
        if let Some(reason) = [with, without].into_iter().find_map(|cell| run.unusable(cell)) {
            return Err(format!("in {side}: {reason}"));
        }
        let found = log_ratios(&run.times(with, metric), &run.times(without, metric));
        if found.is_empty() {
            return Err(format!("missing: no block of {side} has both arms"));
        }
        logs.push(found.into_values().collect::<Vec<f64>>());
    }
    let estimate = welch::difference(&logs[0], &logs[1], confidence);
    estimate.map(Effect::from).ok_or_else(|| "missing: no blocks".to_owned())
}
