//! How fast memory can be read: the roof of every kernel that streams weights.

use super::{Body, Vector, prefetch_second_here, scalar::opaque};
use crate::{gemv::PREFETCH_DISTANCE, roof::ReadWay};

/// Bytes of one step: eight vectors of the widest instruction set.
const STEP: usize = 512;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Parts that are read side by side.
const STREAMS: usize = 4;

/// Reads every byte of `bytes` with the vectors of `V`, in one of the ways.
pub(crate) struct Read<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) way: ReadWay,
}

impl Body for Read<'_> {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        match self.way {
            ReadWay::Plain => read::<V, 1, STEP, false>(v, self.bytes),
            ReadWay::Streams => read::<V, STREAMS, LINE, false>(v, self.bytes),
            ReadWay::Prefetching => read::<V, STREAMS, LINE, true>(v, self.bytes),
        }
    }
}

/// Reads `N` parts of `bytes` side by side, `AT_ONCE` bytes of each in turn.
#[inline(always)]
fn read<V: Vector, const N: usize, const AT_ONCE: usize, const PREFETCH: bool>(v: V, bytes: &[u8]) {
    let mut sums = [v.splat(0); 4];
    let part = bytes.len() / N / STEP * STEP;
    for step in (0..part).step_by(STEP) {
        for turn in (0..STEP).step_by(AT_ONCE) {
            for stream in 0..N {
                for vector in 0..AT_ONCE / V::LANES {
                    let at = bytes.as_ptr().wrapping_add(stream * part + step + turn + vector * V::LANES);
                    if PREFETCH && (vector * V::LANES).is_multiple_of(LINE) {
                        prefetch_second_here(at.wrapping_add(PREFETCH_DISTANCE / N));
                    }
                    // SAFETY: `step + STEP ≤ part` and `N · part ≤ bytes.len()`.
                    let bytes = unsafe { v.load(at.cast()) };
                    let sum = &mut sums[(stream + vector) % 4];
                    *sum = v.add(*sum, bytes);
                }
            }
        }
    }
    let sum = v.add(v.add(sums[0], sums[1]), v.add(sums[2], sums[3]));
    // The result goes where the optimizer cannot see, or it would leave the loop out.
    opaque(v.sum(v.dot(v.zero(), sum, v.splat(1))));
}
