//! What a gate asks, and what it found.

use std::fmt;

use super::GateError;
use crate::{plan::Plan, report::metric::rank, stats::contrast::Effect};

/// One member of the family of a gate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub workload: String,
    pub metric: String,
    /// The step or the arm.
    pub subject: String,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.metric, self.workload, self.subject)
    }
}

/// What the rows say to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub question: Question,
    /// A ratio above one is good for B; or why there is none.
    pub effect: Result<Effect, String>,
    /// What the ratio is made of, where a reader wants to see it.
    pub detail: Option<String>,
}

/// The metrics that a gate is about: those `asked` for, in the order of reports.
///
/// # Errors
/// A metric that no workload of the plan has.
pub fn chosen_metrics(plan: &Plan, asked: &[String]) -> Result<Vec<String>, GateError> {
    let mut valid: Vec<&str> = plan.workloads.iter().flat_map(|workload| workload.metrics().iter().copied()).collect();
    valid.sort_by_key(|metric| rank(metric));
    valid.dedup();
    match asked.iter().find(|asked| !valid.contains(&asked.as_str())) {
        Some(found) => {
            Err(GateError::Metric { found: found.clone(), valid: valid.into_iter().map(str::to_owned).collect() })
        }
        None => {
            valid.retain(|metric| asked.iter().any(|asked| asked == metric));
            Ok(valid.into_iter().map(str::to_owned).collect())
        }
    }
}
