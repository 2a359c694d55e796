//! How fast a core multiplies when nothing comes from memory: the other roof.
//!
//! A product of bytes is counted with what an exact sum of such products cannot do without. With
//! `vpdpbusd` or `sdot` that is nothing. Without them `vpmaddubsw` leaves sums of two products in 16 bits, which
//! have to be widened (`vpmaddwd` + `vpaddd`) before they overflow. The loop here widens as seldom as
//! GEMM does, whose fields have four bits. Kernels whose fields are larger, in place or unpacked for
//! `dot`, widen more often; one with fields of three bits could widen half as often. It is what this
//! loop reaches, a yardstick for these kernels and not a bound.

use super::{Body, Vector, panel::MAX_FIELD, scalar::opaque};

/// Independent accumulators: two products a cycle of a latency of five take ten to keep busy, and
/// with its operands a loop of twelve still fits sixteen registers.
pub(crate) const ACCUMULATORS: usize = 12;

/// Products that a 16-bit sum takes before it is widened.
const RUN: u64 = 8;

/// `iterations` times one int8 dot product on each accumulator.
pub(crate) struct Dots {
    pub(crate) iterations: u64,
}

impl Body for Dots {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        opaque(sum_of_dots(v, self.iterations));
    }
}

/// The sum of `iterations` dot products of ones on each accumulator.
#[inline(always)]
fn sum_of_dots<V: Vector>(v: V, iterations: u64) -> i32 {
    if const { V::MAX_NARROW == u32::MAX } { sum_of_wide(v, iterations) } else { sum_of_narrow(v, iterations) }
}

/// Where products are summed in 32 bits.
#[inline(always)]
fn sum_of_wide<V: Vector>(v: V, iterations: u64) -> i32 {
    let mut sums = [v.zero(); ACCUMULATORS];
    let (mut w, x) = (v.splat(1), v.splat(1));
    for _ in 0..iterations {
        for sum in &mut sums {
            // An operand that the optimizer knows would let it multiply once for all.
            w = v.opaque(w);
            *sum = v.dot(*sum, w, x);
        }
    }
    sums.into_iter().fold(0, |total, sum| total.wrapping_add(v.sum(sum)))
}

/// Where they are summed in 16 bits and widened, into one sum: twelve more do not fit the registers.
#[inline(always)]
fn sum_of_narrow<V: Vector>(v: V, iterations: u64) -> i32 {
    const { assert!(V::MAX_NARROW / MAX_FIELD >= RUN as u32) };
    let mut wide = v.zero();
    let mut w = v.splat(1);
    for _ in 0..iterations / RUN {
        let mut sums = [v.zero_narrow(); ACCUMULATORS];
        // Written out: as a loop it was 7 to 19 % slower on a Zen 3.
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        round(v, &mut sums, &mut w);
        wide = widened(v, wide, sums);
    }
    let mut sums = [v.zero_narrow(); ACCUMULATORS];
    for _ in 0..iterations % RUN {
        round(v, &mut sums, &mut w);
    }
    v.sum(widened(v, wide, sums))
}

/// One product more in each 16-bit sum, of ones in `w`.
#[inline(always)]
fn round<V: Vector>(v: V, sums: &mut [V::Narrow; ACCUMULATORS], w: &mut V::Bytes) {
    for sum in sums {
        // As above.
        *w = v.opaque(*w);
        *sum = v.dot_narrow(*sum, *w, v.splat(1));
    }
}

/// `wide` and all 16-bit sums.
#[inline(always)]
fn widened<V: Vector>(v: V, wide: V::Ints, sums: [V::Narrow; ACCUMULATORS]) -> V::Ints {
    let mut wide = wide;
    for sum in sums {
        wide = v.widen(wide, sum);
    }
    wide
}

/// `iterations` times one bitwise OR on each accumulator: as plain an instruction as there is, which every
/// vector unit of a core has, so that nothing but the number of units limits it.
pub(crate) struct Ors {
    pub(crate) iterations: u64,
}

impl Body for Ors {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        opaque(sum_of_ors(v, self.iterations));
    }
}

/// The sum of the bytes of each accumulator: a one in each, after `iterations` but none.
#[inline(always)]
fn sum_of_ors<V: Vector>(v: V, iterations: u64) -> i32 {
    let one = v.splat(1);
    let mut sums = [v.splat(0); ACCUMULATORS];
    // Four rounds written out: one after each branch was a quarter slower on a Zen 3.
    for _ in 0..iterations / 4 {
        or_each(v, &mut sums, one);
        or_each(v, &mut sums, one);
        or_each(v, &mut sums, one);
        or_each(v, &mut sums, one);
    }
    for _ in 0..iterations % 4 {
        or_each(v, &mut sums, one);
    }
    sums.into_iter().fold(0, |total, sum| total.wrapping_add(v.sum(v.dot(v.zero(), one, sum))))
}

/// One more OR on each accumulator.
#[inline(always)]
fn or_each<V: Vector>(v: V, sums: &mut [V::Bytes; ACCUMULATORS], one: V::Bytes) {
    for sum in sums {
        // Or the optimizer would do it once.
        *sum = v.opaque(v.or(*sum, one));
    }
}

/// `iterations` times one fused multiply-add on each accumulator.
pub(crate) struct MultiplyAdds {
    pub(crate) iterations: u64,
}

impl Body for MultiplyAdds {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        let mut sums = [v.splat_f32(0.0); ACCUMULATORS];
        for (lane, sum) in sums.iter_mut().enumerate() {
            // A start that the optimizer knows may be a fixed point, whose loop it leaves out.
            *sum = v.splat_f32(opaque(lane as i32) as f32);
        }
        // Every sum moves towards 1, so that none grows to infinity or shrinks to a slow number.
        let (factor, term) = (v.splat_f32(0.5), v.splat_f32(0.5));
        for _ in 0..self.iterations {
            for sum in &mut sums {
                *sum = v.multiply_add(*sum, factor, term);
            }
        }
        for sum in sums {
            opaque(v.sum(v.bits(sum)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::{Isa, enter_vectors},
        level::Level,
    };

    struct Sums<'a> {
        iterations: u64,
        dots: &'a mut i32,
        ors: &'a mut i32,
    }

    impl Body for Sums<'_> {
        #[inline(always)]
        fn run<V: Vector>(self, v: V) {
            *self.dots = sum_of_dots(v, self.iterations);
            *self.ors = sum_of_ors(v, self.iterations);
        }
    }

    /// Around the run after which 16-bit sums are widened.
    #[test]
    fn every_operation_that_is_counted_is_in_the_sum() {
        for &isa in Isa::ALL {
            for iterations in [0, 1, 7, 8, 9, 16, 2048] {
                let (mut dots, mut ors) = (-1, -1);
                if enter_vectors(isa, Sums { iterations, dots: &mut dots, ors: &mut ors }) {
                    let bytes = (ACCUMULATORS * isa.vector_bytes()) as u64;
                    assert_eq!(dots as u64, iterations * bytes, "{isa}, {iterations} iterations");
                    assert_eq!(ors as u64, iterations.min(1) * bytes, "{isa}, {iterations} iterations");
                }
            }
        }
    }
}
