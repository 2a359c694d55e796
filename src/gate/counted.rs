//! Instruction counts and a baseline: does each kernel still take what it took?
//!
//! A simulator counts the same each time, so a count needs neither blocks nor a test: its ratio is a point,
//! and whatever lies beyond the margin is a verdict.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Question};
use crate::{
    record::baseline::Baseline,
    stats::{Interval, contrast::Effect},
};

/// The metric of a count.
pub const INSTRUCTIONS: &str = "instructions";

/// Of each kernel, what it takes now, or why that is not known.
pub type Counted = BTreeMap<String, Result<u64, String>>;

/// The count in the baseline over that of `now`, for every kernel that one of them has.
pub fn findings(baseline: &Baseline, now: &Counted) -> Vec<Finding> {
    let kernels: BTreeSet<&String> = baseline.instructions.keys().chain(now.keys()).collect();
    let finding = |kernel: &String| {
        let (effect, detail) = match (baseline.instructions.get(kernel), now.get(kernel)) {
            (Some(&before), Some(Ok(now))) => {
                let detail = (before != *now).then(|| format!("{before} instructions in A, {now} in B"));
                (Ok(exact(before, *now)), detail)
            }
            (_, Some(Err(reason))) => (Err(reason.clone()), None),
            (None, _) => (Err("not in the baseline: update it".to_owned()), None),
            (_, None) => (Err("in the baseline, and no kernel of this program: update it".to_owned()), None),
        };
        Finding { question: question(baseline, kernel.clone()), effect, detail }
    };
    kernels.into_iter().map(finding).collect()
}

/// The one question that is left where nothing can be compared, and why.
pub fn no_answer(baseline: &Baseline, reason: String) -> Finding {
    let kernels = format!("{} kernels", baseline.instructions.len());
    Finding { question: question(baseline, kernels), effect: Err(reason), detail: None }
}

fn question(baseline: &Baseline, subject: String) -> Question {
    let workload = format!("{} x {}", baseline.rows, baseline.cols);
    Question { workload, metric: INSTRUCTIONS.to_owned(), subject }
}

/// A ratio without any spread.
fn exact(before: u64, now: u64) -> Effect {
    let ratio = before as f64 / now as f64;
    Effect {
        n_blocks: 1,
        ratio,
        interval: Interval { low: ratio, high: ratio },
        p: if before == now { 1.0 } else { 0.0 },
        spread: 0.0,
        detectable: 0.0,
    }
}
