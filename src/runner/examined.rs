//! What is known of a plan before its first block: the machine, the checks, the quality of each format.

use std::collections::BTreeMap;

use super::{RunError, machine, preflight, progress::Progress, stage};
use crate::{
    affinity,
    plan::{Cell, Plan, Residency},
    record::{Manifest, manifest::MANIFEST_SCHEMA, row::SAMPLES_SCHEMA},
};

/// Share of the free memory that a workload's copies may take.
const MEMORY_SHARE: f64 = 0.85;

/// What the blocks of a plan need.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    /// That run at the same time.
    pub processes: usize,
    /// Measured seconds of a cell in a block after which it needs no further repetition.
    pub enough_seconds: f64,
}

/// A plan with all that is known of it before the first block.
pub struct Examined {
    pub manifest: Manifest,
    /// Cells that may not be timed, with the reason.
    pub failed: BTreeMap<String, String>,
}

/// Checks that the copies fit the memory, checks arms and evaluates formats.
///
/// # Errors
/// A workload that cannot be built, or does not fit the memory in so many processes at once.
pub fn examine(
    run_id: &str,
    plan: Plan,
    spec: String,
    blocks: Blocks,
    progress: &Progress,
) -> Result<Examined, RunError> {
    // First of all: the load of the machine is that of others.
    let mut environment = machine::environment();
    check_memory(&plan, blocks.processes)?;
    let preflight = preflight::run(&plan, blocks.enough_seconds, &|what| progress.doing(what))?;
    if plan.cells.iter().any(Cell::is_peer) {
        environment.extend(septet_peers::facts());
    }
    environment.insert("model_sha256".to_owned(), stage::model_hash(&plan)?);
    environment.insert("pinning".to_owned(), pinning(&plan));
    environment.insert("started_utc".to_owned(), run_id[..run_id.len().min(16)].to_owned());
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        samples_schema: SAMPLES_SCHEMA,
        run_id: run_id.to_owned(),
        facts: preflight.facts,
        environment,
        spec,
        plan,
    };
    Ok(Examined { manifest, failed: preflight.failed })
}

/// For each number of threads of the plan, the CPUs that they are bound to, or why they are not.
fn pinning(plan: &Plan) -> String {
    let text = |&threads: &usize| match affinity::placement(threads) {
        Ok(cpus) => format!("{threads} threads on CPUs {cpus:?}"),
        Err(reason) => format!("{threads} threads free: {reason}"),
    };
    plan.thread_counts().iter().map(text).collect::<Vec<_>>().join("; ")
}

fn check_memory(plan: &Plan, processes: usize) -> Result<(), RunError> {
    let Some(available) = machine::available_memory() else { return Ok(()) };
    for workload in plan.workloads.iter().filter(|workload| workload.residency == Residency::Dram) {
        let needed = processes * stage::memory(plan, workload)?;
        if needed as f64 > MEMORY_SHARE * available as f64 {
            let (needed, available) = (needed >> 20, available >> 20);
            return Err(RunError::Memory { workload: workload.name.clone(), needed, available });
        }
    }
    Ok(())
}
