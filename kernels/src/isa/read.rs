//! How fast memory can be read: the roof of every kernel that streams weights.

use super::{Body, Vector, prefetch, scalar::opaque};

/// Bytes of one step: eight vectors of the widest instruction set.
const STEP: usize = 512;

/// Reads every byte of `bytes` with the vectors of `V`, optionally asking for lines `distance`
/// bytes ahead.
pub(crate) struct Read<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) distance: Option<usize>,
}

impl<V: Vector> Body<V> for Read<'_> {
    #[inline(always)]
    fn run(self, v: V) {
        let mut sums = [v.splat(0); 4];
        for step in self.bytes.chunks_exact(STEP) {
            if let Some(distance) = self.distance {
                for line in 0..STEP / 64 {
                    prefetch(step.as_ptr().wrapping_add(distance + 64 * line));
                }
            }
            for vector in 0..STEP / V::LANES {
                // SAFETY: `vector · LANES + LANES ≤ STEP`, the length of every chunk.
                let bytes = unsafe { v.load(step.as_ptr().add(vector * V::LANES).cast()) };
                sums[vector % 4] = v.add(sums[vector % 4], bytes);
            }
        }
        let sum = v.add(v.add(sums[0], sums[1]), v.add(sums[2], sums[3]));
        // The result goes where the optimizer cannot see, or it would leave the loop out.
        opaque(v.sum(v.dot(v.zero(), sum, v.splat(1))));
    }
}
