//! What one product executes, counted one instruction at a time by `ptrace(2)`: exact, on any CPU, for every
//! instruction set, without a PMU and without a simulator. It is slow, so the product is small.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trace;

use std::{collections::BTreeMap, env, path::Path};

use super::{Counted, NoCounters, Pass, Product, row};
use crate::{
    plan::CounterSource,
    record::{CounterRow, CounterStatus},
    runner::RunError,
};

/// Weights of the product, where its arm leaves the choice: 64 rows.
const WEIGHTS: usize = 64 * COLS;

/// Columns of its matrix.
const COLS: usize = 512;

/// Most steps through one product: a step takes about 30 µs, so this is half a minute.
pub const LIMIT: u64 = 1_000_000;

/// A counter of steps.
struct Counter {
    name: &'static str,
    read: fn(&Steps) -> u64,
}

/// Every one, in the order of `counters.csv`.
const COUNTERS: [Counter; 3] = [
    Counter { name: "stepped_instructions", read: |steps| steps.instructions },
    Counter { name: "stepped_branches", read: |steps| steps.branches },
    Counter { name: "stepped_taken_branches", read: |steps| steps.taken_branches },
];

/// What a product executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// An instruction that repeats itself (`rep`) counts once.
    pub instructions: u64,
    /// Jumps, conditional or not, calls and returns.
    pub branches: u64,
    /// Those of them that did not go on with the next instruction.
    pub taken_branches: u64,
}

/// Steps through `product` in a process of the `bench` at `program`, at most `limit` instructions.
///
/// # Errors
/// Why there are no counts: another system, a system that forbids `ptrace`, a kernel that this CPU lacks, a
/// product that is too large or computes something else.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub fn count(program: &Path, product: &Product, limit: u64, say: &dyn Fn(&str)) -> Result<Steps, NoCounters> {
    trace::count(program, product, limit, say)
}

/// Elsewhere instructions are not decoded.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn count(_: &Path, _: &Product, _: u64, _: &dyn Fn(&str)) -> Result<Steps, NoCounters> {
    Err(NoCounters::new("only x86-64 Linux is stepped through", "run on x86-64 Linux"))
}

/// Instructions by single steps.
pub struct SingleStep;

impl super::Source for SingleStep {
    fn kind(&self) -> CounterSource {
        CounterSource::SingleStep
    }

    /// One product for each kernel, whichever cells use it; counts for each weight.
    fn count(&self, pass: &Pass<'_>, cells: &[Counted<'_>]) -> Result<Vec<CounterRow>, RunError> {
        let program = env::current_exe()?;
        let mut counted: BTreeMap<Product, Result<Steps, NoCounters>> = BTreeMap::new();
        let mut rows = Vec::new();
        for cell in cells {
            let steps = Product::of_cell(cell, WEIGHTS, COLS).and_then(|product| {
                let steps = counted.entry(product).or_insert_with(|| count(&program, &product, LIMIT, pass.say));
                Ok((product, steps.clone()?))
            });
            rows.extend(COUNTERS.iter().map(|&Counter { name, read }| {
                let value = steps.as_ref().map_err(NoCounters::clone).map(|(product, steps)| {
                    (
                        read(steps) as f64 / product.weights(),
                        CounterStatus::Measured,
                        format!("{}; {}", product.size(), product.way()),
                    )
                });
                row(cell, self.kind(), (name, "1/weight"), value)
            }));
        }
        Ok(rows)
    }
}
