//! Arithmetic without memory: int8 dot products, f32 fused multiply-adds, and the plainest instructions.

use septet_kernels::{
    Isa, Level, Missing,
    roof::{f32_peak, int8_peak, vector_issue},
};

use super::{
    Ceiling, Effort, Quantity,
    effort::{passes, seconds},
};
use crate::{plan::thread_counts, pool::ThreadPool, runner::machine};

/// Iterations of one call: some 10 µs, long beside the call.
const ITERATIONS: u64 = 2048;

/// A loop of `roof.rs`: so many iterations with the vectors of a set, and how many operations they are.
type Run = fn(Isa, u64) -> Result<u64, Missing>;

/// Peaks of every vector instruction set of this CPU on every number of threads.
pub fn measure(effort: &Effort) -> Vec<Ceiling> {
    let sets: Vec<Isa> = Isa::ALL.iter().copied().filter(|isa| has_vectors(*isa)).collect();
    let counts = thread_counts(machine::cores());
    let mut ceilings = int8_on(&sets, &counts, effort);
    ceilings.extend(peaks(Quantity::F32Fma, f32_peak, &sets, &counts, effort));
    ceilings.extend(issue_on(&sets, &counts, effort));
    ceilings
}

/// Whether `isa` has vectors, and this CPU has them.
pub fn has_vectors(isa: Isa) -> bool {
    isa.vector_bytes() > 0 && isa.is_available()
}

/// Peaks of int8 dot products of these instruction sets, which this CPU has.
pub fn int8_on(sets: &[Isa], counts: &[usize], effort: &Effort) -> Vec<Ceiling> {
    peaks(Quantity::Int8Dot, int8_peak, sets, counts, effort)
}

/// Vector instructions that these instruction sets, which this CPU has, issue a second.
pub fn issue_on(sets: &[Isa], counts: &[usize], effort: &Effort) -> Vec<Ceiling> {
    peaks(Quantity::VectorIssue, vector_issue, sets, counts, effort)
}

fn peaks(quantity: Quantity, run: Run, sets: &[Isa], counts: &[usize], effort: &Effort) -> Vec<Ceiling> {
    if sets.is_empty() {
        let remedy = "run on an x86-64 CPU with AVX2 and FMA or with AVX-512, or on an AArch64 CPU with dotprod";
        return vec![Ceiling::unavailable(quantity, "vectors", 1, "this CPU has no vector kernels", remedy)];
    }
    let slice = effort.slice(3 * sets.len() * counts.len());
    let all = sets.iter().flat_map(|isa| counts.iter().map(move |threads| (*isa, *threads)));
    let ceiling = |(isa, threads)| {
        let pool = match ThreadPool::bound(threads) {
            Ok(pool) => pool,
            Err(error) => {
                let (reason, remedy) = (format!("no threads: {error}"), "allow more threads (ulimit -u)");
                return Ceiling::unavailable(quantity, isa, threads, reason, remedy);
            }
        };
        let operations = run(isa, ITERATIONS).unwrap_or(0);
        let work = |passes| {
            pool.run(&|_| {
                for _ in 0..passes {
                    // The set is available, so the count is known already.
                    let _ = run(isa, ITERATIONS);
                }
            });
        };
        let passes = passes(slice, work);
        let total = (passes * operations * threads as u64) as f64;
        let values: Vec<f64> = (0..effort.repetitions).map(|_| total / seconds(|| work(passes)) / 1e9).collect();
        Ceiling::measured(quantity, isa, threads, &values, instructions(quantity, isa))
    };
    all.map(ceiling).collect()
}

/// What the loop consists of.
fn instructions(quantity: Quantity, isa: Isa) -> String {
    let instructions = match quantity {
        Quantity::F32Fma => "fused multiply-adds",
        Quantity::VectorIssue => "bitwise ORs",
        _ => isa.dot_product(),
    };
    format!("{instructions} on {} bits, 12 accumulators, no memory", 8 * isa.vector_bytes())
}
