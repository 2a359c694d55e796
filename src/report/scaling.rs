//! More threads for the same weights: how much faster the kernels become, and the memory itself.
//!
//! Every ratio is taken inside a block, between two cells of the same arm. Reading scales, too, and less
//! than the number of threads: a kernel that is as good on all threads as on one keeps its share of the
//! roof, whatever its efficiency.

use std::collections::BTreeMap;

use super::blocks::{BlockTable, Blocks};
use super::metric::KERNEL_TIME;
use crate::plan::{Cell, Plan, Workload};
use crate::stats::contrast::{Effect, contrast};

/// An arm on some threads against the same arm on the fewest.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// Cell on more threads.
    pub cell: Cell,
    pub threads: usize,
    /// Fewest threads of the same arm on the same weights.
    pub base_threads: usize,
    /// Kernel time on the fewest threads / kernel time on these.
    pub speed_up: Effect,
    /// The same ratio of the read bandwidths beside the samples.
    pub roof_speed_up: Option<Effect>,
    /// The first ratio over the second: the change in the share of the roof.
    pub against_roof: Option<Effect>,
}

impl Scaling {
    /// Threads for each thread of the base.
    pub fn factor(&self) -> f64 {
        self.threads as f64 / self.base_threads as f64
    }
}

/// Every arm that was measured on several numbers of threads over the same weights, in the order of the
/// plan.
pub fn scalings(plan: &Plan, table: &BlockTable, confidence: f64) -> Vec<Scaling> {
    let mut found = Vec::new();
    for workload in &plan.workloads {
        for cell in plan.cells.iter().filter(|cell| cell.workload == workload.name && cell.null_of.is_none()) {
            let base = base(plan, workload, cell);
            found.extend(base.and_then(|(base, base_threads)| {
                let blocks = |cell: &Cell| table.get(&(cell.id.clone(), KERNEL_TIME.to_owned()));
                scaling(cell, workload.threads, blocks(cell)?, base_threads, blocks(base)?, confidence)
            }));
        }
    }
    found
}

/// The cell of the same arm on the fewest threads over the same weights, if `workload` has more.
fn base<'a>(plan: &'a Plan, workload: &Workload, cell: &Cell) -> Option<(&'a Cell, usize)> {
    let same = |other: &&Workload| other.source == workload.source && other.residency == workload.residency;
    let fewest = plan.workloads.iter().filter(same).min_by_key(|other| other.threads)?;
    if fewest.threads == workload.threads {
        return None;
    }
    let is_base = |other: &&Cell| other.workload == fewest.name && other.arm == cell.arm && other.null_of.is_none();
    plan.cells.iter().find(is_base).map(|base| (base, fewest.threads))
}

fn scaling(
    cell: &Cell,
    threads: usize,
    blocks: &Blocks,
    base_threads: usize,
    base: &Blocks,
    confidence: f64,
) -> Option<Scaling> {
    // Bandwidths enter as times, which `contrast` divides the other way round.
    let times = |roof: &BTreeMap<u32, f64>| roof.iter().map(|(block, gbps)| (*block, 1.0 / gbps)).collect();
    let shares = |blocks: &Blocks| times(&blocks.roof_share);
    Some(Scaling {
        cell: cell.clone(),
        threads,
        base_threads,
        speed_up: contrast(&blocks.times, &base.times, confidence)?,
        roof_speed_up: contrast(&times(&blocks.roof), &times(&base.roof), confidence),
        against_roof: contrast(&shares(blocks), &shares(base), confidence),
    })
}
