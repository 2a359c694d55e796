//! Code without vector operations of its own, compiled once for each instruction set.
//!
//! An operation whose order of rounding is fixed (see [`ops`](crate::ops)) leaves the choice of
//! registers to the compiler. Inside [`Vector::enter`] the same source becomes code of that width.
//! The bits stay: Rust joins no product and sum to a fused multiply-add and reorders no sum, whatever
//! the instructions.

use super::{Body, Isa, Vector, enter_vectors};

/// Code for any instruction set. `run`, and every function that it calls, must be
/// `#[inline(always)]`: what is not inlined stays compiled for the build target.
pub(crate) trait Portable {
    /// Runs with whatever instructions its caller enabled.
    fn run(&mut self);
}

/// Portable code as the body of an instruction set's entry.
struct AtWidth<'a, P>(&'a mut P);

impl<P: Portable> Body for AtWidth<'_, P> {
    #[inline(always)]
    fn run<V: Vector>(self, _: V) {
        self.0.run();
    }
}

/// Runs `code` with the widest instructions of this CPU.
pub(crate) fn run(code: &mut impl Portable) {
    run_on(Isa::best(), code);
}

/// Runs `code` with the instructions of `isa`, or with those of the build target where this CPU
/// has no such vectors.
pub(crate) fn run_on(isa: Isa, code: &mut impl Portable) {
    if !enter_vectors(isa, AtWidth(code)) {
        code.run();
    }
}
