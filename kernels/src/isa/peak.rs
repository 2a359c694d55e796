//! How fast a core multiplies when nothing comes from memory: the other roof.

use super::{Body, Vector, scalar::opaque};

/// Independent accumulators: two products a cycle of a latency of five take ten to keep busy, and
/// with its operands a loop of twelve still fits sixteen registers.
pub(crate) const ACCUMULATORS: usize = 12;

/// `iterations` times one int8 dot product on each accumulator.
pub(crate) struct Dots {
    pub(crate) iterations: u64,
}

impl Body for Dots {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        let mut sums = [v.zero(); ACCUMULATORS];
        let (mut w, x) = (v.splat(1), v.splat(1));
        for _ in 0..self.iterations {
            for sum in &mut sums {
                // An operand that the optimizer knows would let it multiply once for all.
                w = v.opaque(w);
                *sum = v.dot(*sum, w, x);
            }
        }
        for sum in sums {
            opaque(v.sum(sum));
        }
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
