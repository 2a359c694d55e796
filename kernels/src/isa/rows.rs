//! THE loop nest: products of rows of packed pair codes with a quantized vector.
//!
//! The naive algorithm, which every kernel reproduces bit for bit:
//!
//! ```text
//!   for each row
//!       acc = 0.0
//!       for each segment of up to 128 weights, in ascending K
//!           integer = 0
//!           for each pair code of the segment
//!               (a, b) = sign-extended fields of the code
//!               integer += a · x[even] + B_STEP · b · x[odd]
//!           acc = acc + integer · (weight scale · activation scale)
//!       out[row] = acc
//! ```
//!
//! Why the code below is longer:
//!
//! 1. *A vector holds whole codes, not whole pairs.* `load_pairs` spreads 32 or 64 codes to one a
//!    byte; fields *a* and *b* then meet activations of even and odd k, which `Activations` has
//!    already separated. No interleaving happens here.
//! 2. *Byte products want one unsigned operand.* Every strategy yields biased, unsigned fields, and
//!    since one bias serves both members, `BIAS · Σ x` corrects the segment's integer. Field *a* may
//!    come shifted left in place; the shift leaves in `combine`, exactly, because each lane's sum is
//!    a multiple of it.
//! 3. *A segment is one or two vector steps.* Its reduction to one integer would cost as much as its
//!    product, and each step waits for the one before it. `UNROLL` segments are in flight at a time,
//!    each with its own accumulators, and four are reduced together.
//! 4. *A vector may be wider than a segment.* The foreign codes that it loads meet activations that
//!    are zero; behind the last code, `TAIL` bytes are readable.
//! 5. *The f32 chain stays serial and ordered.* It costs one addition a segment; reordering it would
//!    cost bit equality.
//!
//! The integers cannot overflow: a lane of an accumulator sees at most 8 products of a segment,
//! each at most 255·127, and the exact segment sum is at most 128·8·127 < 2¹⁷; K adds no more,
//! because every segment leaves the integers for f32.

use super::{Body, Vector, prefetch};
use crate::{
    activations::HALF, block::Block, format::PairFormat, granularity::MAX_SEGMENT, layout::PairLayout, shape::ANY,
    unpack::VectorUnpack,
};

/// Products of the block's rows with the instructions of `V`: of rows of `SEGMENTS` segments, or of any
/// rows where that is [`ANY`].
///
/// # Panics
/// If this CPU lacks them, or the block has another shape: a kernel is bound before it runs.
pub(crate) fn rows<F, L, U, V, const UNROLL: usize, const PREFETCH: bool, const SEGMENTS: usize>(block: &mut Block<'_>)
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
    V: Vector,
{
    let v = V::detect().expect("`Kernel::bind` checked the instruction set");
    v.enter(Rows::<F, L, U, UNROLL, PREFETCH, SEGMENTS> { block, point: core::marker::PhantomData });
}

/// The compiled point of the product, as the body of an instruction set's entry.
struct Rows<'a, 'b, F, L, U, const UNROLL: usize, const PREFETCH: bool, const SEGMENTS: usize> {
    block: &'a mut Block<'b>,
    point: core::marker::PhantomData<(F, L, U)>,
}

impl<F, L, U, const UNROLL: usize, const PREFETCH: bool, const SEGMENTS: usize> Body
    for Rows<'_, '_, F, L, U, UNROLL, PREFETCH, SEGMENTS>
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
{
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        if SEGMENTS == ANY {
            all_rows::<F, L, U, V, UNROLL, PREFETCH>(v, self.block);
        } else {
            let mut block = self.block.of_shape(F::FORMAT, L::LAYOUT, SEGMENTS);
            all_rows::<F, L, U, V, UNROLL, PREFETCH>(v, &mut block);
        }
    }
}

#[inline(always)]
fn all_rows<F, L, U, V, const UNROLL: usize, const PREFETCH: bool>(v: V, block: &mut Block<'_>)
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
    V: Vector,
{
    // A segment that exceeds the vector takes two steps, so that the loop over steps vanishes.
    if V::LANES < HALF && block.pairs() > V::LANES {
        row_products::<F, L, U, V, UNROLL, 2, PREFETCH>(v, block);
    } else {
        row_products::<F, L, U, V, UNROLL, 1, PREFETCH>(v, block);
    }
}

#[inline(always)]
fn row_products<F, L, U, V, const UNROLL: usize, const STEPS: usize, const PREFETCH: bool>(v: V, block: &mut Block<'_>)
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
    V: Vector,
{
    let segments = block.segments();
    for row in 0..block.rows() {
        let scales = block.row_scales(row);
        let mut acc = block.start(row);
        let mut segment = 0;
        while segment + UNROLL <= segments {
            // A closure (`array::from_fn`) would not inherit the instruction set, and each intrinsic
            // in it would become a call.
            let mut lanes = [v.zero(); UNROLL];
            for (u, lanes) in lanes.iter_mut().enumerate() {
                *lanes = segment_lanes::<F, L, U, V, STEPS, PREFETCH>(v, block, row, segment + u);
            }
            acc = block.accumulate(acc, scales, segment, reduce(v, lanes), F::BIAS);
            segment += UNROLL;
        }
        while UNROLL > 1 && segment < segments {
            let lanes = segment_lanes::<F, L, U, V, STEPS, PREFETCH>(v, block, row, segment);
            acc = block.accumulate(acc, scales, segment, [v.sum(lanes)], F::BIAS);
            segment += 1;
        }
        block.store(row, acc);
    }
}

/// Lanes that add up to Σ (a + BIAS)·x + Σ (B_STEP·b + BIAS)·x of one segment.
#[inline(always)]
fn segment_lanes<F, L, U, V, const STEPS: usize, const PREFETCH: bool>(
    v: V,
    block: &Block<'_>,
    row: usize,
    segment: usize,
) -> V::Ints
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
    V: Vector,
{
    let stride = L::pair_bits::<F>();
    let codes = block.stripe_codes(row).as_ptr().wrapping_add(segment * block.segment_bytes());
    let values = block.values().as_ptr().wrapping_add(segment * MAX_SEGMENT);
    if PREFETCH {
        prefetch(codes.wrapping_add(block.prefetch_distance()));
    }
    let (mut a_sum, mut b_sum) = (v.zero(), v.zero());
    for step in 0..STEPS {
        let pair = step * V::LANES;
        // SAFETY: `segment < segments`. A step's codes begin inside the segment, so that the load of
        // `LANES` ≤ 64 bytes ends at most `TAIL` bytes behind the row, where `stripe_codes` is still
        // readable. The operand has 128 bytes for each segment (cut by `Block::new`), 64 for
        // each parity, and `STEPS · LANES` ≤ 64.
        let (codes, even, odd) = unsafe {
            (
                v.load_pairs(codes.add(pair * stride as usize / 8), stride),
                v.load(values.add(pair)),
                v.load(values.add(HALF + pair)),
            )
        };
        let (a, b) = U::fields::<F, V>(v, codes);
        a_sum = v.dot(a_sum, a, even);
        b_sum = v.dot(b_sum, b, odd);
    }
    v.combine(a_sum, U::a_shift::<F, V>(), b_sum, F::B_STEP)
}

/// The sum of each vector's lanes, four vectors at a time.
#[inline(always)]
fn reduce<V: Vector, const N: usize>(v: V, lanes: [V::Ints; N]) -> [i32; N] {
    let mut sums = [0; N];
    let (fours, rest) = lanes.as_chunks::<4>();
    let (four_sums, rest_sums) = sums.as_chunks_mut::<4>();
    for (sums, four) in four_sums.iter_mut().zip(fours) {
        *sums = v.sum4(*four);
    }
    for (sum, one) in rest_sums.iter_mut().zip(rest) {
        *sum = v.sum(*one);
    }
    sums
}
