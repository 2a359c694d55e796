//! Factorial designs over the blocks of a run: effects, interactions, and who earned the total.

use std::collections::BTreeSet;

use super::analysis::CellResult;
use super::blocks::BlockTable;
use super::metric;
use crate::plan::{Design, Factorial, Plan};
use crate::stats::factorial::{FactorialEffects, factorial};

/// One factorial design on one workload in one metric.
#[derive(Clone, Debug)]
pub struct FactorialResult {
    pub design: String,
    pub metric: String,
    pub factorial: Factorial,
    pub outcome: FactorialOutcome,
}

/// What became of a factorial design.
#[derive(Clone, Debug, PartialEq)]
pub enum FactorialOutcome {
    /// From all cells, in the blocks that have them all.
    Estimated(FactorialEffects),
    /// Effects need all cells; why there are not, each reason once.
    Incomplete(Vec<String>),
}

impl FactorialResult {
    /// The estimates, if there are any.
    pub fn effects(&self) -> Option<&FactorialEffects> {
        match &self.outcome {
            FactorialOutcome::Estimated(effects) => Some(effects),
            FactorialOutcome::Incomplete(_) => None,
        }
    }

    /// Why there are no estimates, in sentences that name the design.
    pub fn incomplete(&self) -> Vec<String> {
        let FactorialOutcome::Incomplete(reasons) = &self.outcome else { return Vec::new() };
        let line = |reason: &String| format!("Incomplete: {} on {}: {reason}.", self.design, self.factorial.workload);
        reasons.iter().map(line).collect()
    }
}

/// Every factorial design of the plan in every metric that was measured on its workload, in the order of
/// designs, metrics and workloads.
pub fn factorials(plan: &Plan, cells: &[CellResult], table: &BlockTable) -> Vec<FactorialResult> {
    let metrics: BTreeSet<&str> = plan.workloads.iter().flat_map(|workload| workload.metrics()).copied().collect();
    let mut metrics: Vec<&str> = metrics.into_iter().collect();
    metrics.sort_by_key(|metric| metric::rank(metric));
    let has = |workload: &str, metric: &str| {
        plan.workloads.iter().any(|known| known.name == workload && known.metrics().contains(&metric))
    };
    let mut found = Vec::new();
    for design in &plan.designs {
        for metric in &metrics {
            for wanted in design.factorials.iter().filter(|wanted| has(&wanted.workload, metric)) {
                found.push(FactorialResult {
                    design: design.name.clone(),
                    metric: (*metric).to_owned(),
                    factorial: wanted.clone(),
                    outcome: outcome(plan, design, wanted, metric, cells, table),
                });
            }
        }
    }
    found
}

fn outcome(
    plan: &Plan,
    design: &Design,
    wanted: &Factorial,
    metric: &str,
    cells: &[CellResult],
    table: &BlockTable,
) -> FactorialOutcome {
    if !wanted.is_complete() {
        return FactorialOutcome::Incomplete(infeasible(plan, design, wanted));
    }
    let left_out = cells.iter().filter(|result| wanted.cells.contains(&result.cell.id) && result.is_left_out());
    let left_out: Vec<String> = left_out.map(|result| format!("{}: {}", result.cell.arm, result.status)).collect();
    if !left_out.is_empty() {
        return FactorialOutcome::Incomplete(left_out);
    }
    let blocks = responses(wanted, metric, table);
    factorial(&blocks, plan.protocol.confidence).map_or_else(
        || FactorialOutcome::Incomplete(vec![format!("no block has all {} cells", wanted.size())]),
        FactorialOutcome::Estimated,
    )
}

/// What the plan leaves out, the points of each reason together.
fn infeasible(plan: &Plan, design: &Design, wanted: &Factorial) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let points = plan.infeasible.iter();
    for point in points.filter(|point| point.design == design.name && point.workload == wanted.workload) {
        match reasons.iter_mut().find(|(reason, _)| *reason == point.reason) {
            Some((_, steps)) => steps.push(&point.step),
            None => reasons.push((&point.reason, vec![point.step.as_str()])),
        }
    }
    reasons.into_iter().map(|(reason, steps)| format!("{reason} ({})", steps.join("; "))).collect()
}

/// Log speeds of all cells, by block; only of blocks that have them all.
fn responses(wanted: &Factorial, metric: &str, table: &BlockTable) -> Vec<Vec<f64>> {
    let of_cell = |id: &String| table.get(&(id.clone(), metric.to_owned())).map(|blocks| &blocks.times);
    let Some(times) = wanted.cells.iter().map(of_cell).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let of_block = |block: &u32| -> Option<Vec<f64>> {
        times.iter().map(|times| times.get(block).map(|time| -time.ln())).collect()
    };
    times.first().map_or_else(Vec::new, |first| first.keys().filter_map(of_block).collect())
}
