//! Facts of the compiled inner loop, from the disassembler.

use septet_kernels::{Shape, gemm, registry};

use super::{Counted, NoCounters, Pass, row};
use crate::{
    disassembly,
    plan::{CounterSource, Source},
    record::{CounterRow, CounterStatus, row::VECTOR_OPERATIONS},
    runner::RunError,
};

/// Facts of the loop with their units, in the order of [`facts`].
const LOOP: [(&str, &str); 4] = [
    ("loop_conditional_jumps_per_weight", "jumps/weight"),
    ("loop_instructions_per_weight", "instructions/weight"),
    ("loop_vector_bits", "bits"),
    (VECTOR_OPERATIONS, "operations/weight"),
];

/// What is in the loop of an arm's kernel.
pub struct Disassembly;

impl super::Source for Disassembly {
    fn kind(&self) -> CounterSource {
        CounterSource::Disassembly
    }

    fn count(&self, _: &Pass<'_>, cells: &[Counted<'_>]) -> Result<Vec<CounterRow>, RunError> {
        let rows_of = |cell: &Counted<'_>| -> Vec<CounterRow> {
            let facts = facts(cell);
            let value = |at: usize| facts.clone().map(|facts| (facts[at], CounterStatus::Measured, String::new()));
            LOOP.iter().enumerate().map(|(at, &counter)| row(cell, self.kind(), counter, value(at))).collect()
        };
        Ok(cells.iter().flat_map(rows_of).collect())
    }
}

/// What the disassembler found in the cell's inner loop: of a matrix with many columns that of the kernel
/// for many columns, if the arm uses it.
fn facts(cell: &Counted<'_>) -> Result<[f64; LOOP.len()], NoCounters> {
    let Counted { arm, workload, .. } = cell;
    if arm.peer.is_some() {
        return Err(NoCounters::new("a kernel of another project: not disassembled", "see the arms of septet"));
    }
    let [format] = arm.formats()[..] else {
        return Err(NoCounters::new("a mixed arm runs a loop for each format", "see the uniform arms"));
    };
    let cols = match (arm.shape, &workload.source) {
        (Shape::Runtime, _) => None,
        (Shape::CompileTime, Source::Matrix { cols, .. }) => Some(*cols),
        (Shape::CompileTime, Source::Shape { .. } | Source::Trained { .. }) => {
            let reason = "an arm of compile-time shapes runs a loop for each K of a model";
            return Err(NoCounters::new(reason, "see the matrices alone"));
        }
    };
    let batched = arm.prompt_kernels().first().filter(|_| workload.source.columns() > 1).copied();
    let found = match batched {
        Some(variant) => gemm::find(variant).map(disassembly::gemm_loop_facts),
        None => registry::find(arm.variant(format))
            .map(|kernel| disassembly::loop_facts(kernel, arm.prefetch.distance().is_some(), cols)),
    };
    let not_here = || NoCounters::new("the kernel is not compiled for this architecture", "run where it is");
    let facts = found.ok_or_else(not_here)?.map_err(|none| NoCounters::new(none.to_string(), "run on x86-64 Linux"))?;
    Ok([
        facts.jumps_per_weight(),
        facts.instructions_per_weight(),
        f64::from(facts.vector_bits),
        facts.vector_operations_per_weight(),
    ])
}
