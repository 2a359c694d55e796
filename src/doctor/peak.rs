//! Arithmetic without memory: int8 dot products, f32 fused multiply-adds, and the plainest instructions.

use septet_kernels::{
    Isa, Level, Missing,
    roof::{f32_peak, int8_peak, vector_issue},
};

use super::{
    Ceiling, Effort, Quantity,
    effort::{passes, seconds},
};
use std::time::Duration;

use crate::{plan::thread_counts, pool::ThreadPool, runner::machine};

/// Iterations of one call: some 10 µs, long beside the call.
const ITERATIONS: u64 = 2048;

/// A loop of `roof.rs`: so many iterations with the vectors of a set, and how many operations they are.
type Run = fn(Isa, u64) -> Result<u64, Missing>;

/// One of these loops on every worker of a pool, always the same number of times.
pub struct Loop {
    run: Run,
    isa: Isa,
    passes: u64,
    /// Of one pass on one worker.
    operations: u64,
}

impl Loop {
    /// int8 dot products with the vectors of `isa`, for about `slice`; `None` if this CPU has none.
    pub fn of_int8(isa: Isa, pool: &ThreadPool, slice: Duration) -> Option<Self> {
        has_vectors(isa).then(|| Self::lasting(int8_peak, isa, pool, slice))
    }

    fn lasting(run: Run, isa: Isa, pool: &ThreadPool, slice: Duration) -> Self {
        let operations = run(isa, ITERATIONS).unwrap_or(0);
        let mut timed = Self { run, isa, passes: 1, operations };
        timed.passes = passes(slice, |passes| timed.repeat(pool, passes));
        timed
    }

    fn repeat(&self, pool: &ThreadPool, passes: u64) {
        pool.run(&|_| {
            for _ in 0..passes {
                // The set is available, so the count is known already.
                let _ = (self.run)(self.isa, ITERATIONS);
            }
        });
    }

    /// 10⁹ operations a second now, of all workers of `pool` together; the slowest ends the time.
    pub fn rate(&self, pool: &ThreadPool) -> f64 {
        let operations = self.passes * self.operations * pool.threads() as u64;
        operations as f64 / seconds(|| self.repeat(pool, self.passes)) / 1e9
    }
}

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
        let timed = Loop::lasting(run, isa, &pool, slice);
        let values: Vec<f64> = (0..effort.repetitions).map(|_| timed.rate(&pool)).collect();
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
