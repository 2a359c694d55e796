//! The loop nest of `rows16`: sixteen rows at once, a row in each 32-bit lane.
//!
//! The naive algorithm, which every kernel reproduces bit for bit:
//!
//! ```text
//!   for each stripe of 16 rows
//!       acc[16] = 0.0
//!       for each segment of up to 128 weights, in ascending K
//!           integer[16] = 0
//!           for each code vector: four pair codes of each row
//!               (a, b) = fields of the codes
//!               integer += a · x[even] + B_STEP · b · x[odd]
//!           acc = acc + integer · (weight scales · activation scale)
//!       out[16] = acc
//! ```
//!
//! It is the same algorithm as in `rows.rs`; what cost most there is absent here. No lane is ever
//! added to another; scales, f32 chain and stores are one vector operation for sixteen rows; four
//! activations of each parity meet every row as one broadcast. Why the code below is longer:
//!
//! 1. *Fields lie biased in place.* Packing has flipped the sign bits, so that one AND yields the
//!    unsigned operand of a byte product. Field *a* stays shifted left by `B_BITS` where the product
//!    takes it (`MAX_FIELD`); the shift leaves in `combine`, exactly, because each lane's sum is a
//!    multiple of it. The sum begins at `−BIAS · Σ x`, shifted likewise.
//! 2. *Codes hide in the top bits of others.* A unit's last code vector is collected by a shift, an
//!    AND and an OR (one `vpternlogd`) from each stored vector on the way.
//! 3. *A vector may be narrower than a stripe.* AVX2 takes a segment twice, once for each eight rows:
//!    the segment is in L1 by then.
//!    Its 16-bit sums are widened only when the next product could overflow them (`Sum`).
//! 4. *Each line of the codes is asked for once, beside the load of another.* All of a segment's
//!    prefetches in one place would fill the line buffers that its own loads wait for. They go to
//!    the second-level cache: 4 or 8 KiB ahead into the first were slower on a Xeon that other
//!    programs shared (septets at one thread: about 0.83 of the plain read bandwidth against 0.84 to
//!    0.99, 0.93 in the middle; 0.67 without). Scales are asked for once a segment.
//! 5. *Scales lie apart.* Codes then keep their cache lines, and no load straddles two.
//!
//! The integers cannot overflow: a lane sees 4 products of each of at most 16 code vectors of a
//! segment, each at most 255·127, beside a start of at most 8·128·127 << 4: below 2²³ in all. K adds no
//! more, because every segment leaves the integers for f32.

use super::{Body, Vector, prefetch_second_here};
use crate::{
    activations::HALF,
    block::Block,
    format::PairFormat,
    granularity::MAX_SEGMENT,
    layout::{STRIPE_ROWS, Unit, VECTOR, VECTOR_PAIRS},
    unpack::mask,
};

/// Products of the block's stripes with the instructions of `V`.
///
/// # Panics
/// If this CPU lacks them: a kernel is bound before it runs.
pub(crate) fn stripes<F: PairFormat, V: Vector, const PREFETCH: bool>(block: &mut Block<'_>) {
    let v = V::detect().expect("`Kernel::bind` checked the instruction set");
    v.enter(Stripes::<F, PREFETCH> { block, format: core::marker::PhantomData });
}

/// The compiled point of the product, as the body of an instruction set's entry.
struct Stripes<'a, 'b, F, const PREFETCH: bool> {
    block: &'a mut Block<'b>,
    format: core::marker::PhantomData<F>,
}

impl<F: PairFormat, V: Vector, const PREFETCH: bool> Body<V> for Stripes<'_, '_, F, PREFETCH> {
    #[inline(always)]
    fn run(self, v: V) {
        // Code vectors of a segment of 128, 64 or 32 weights, as a constant: its loops vanish.
        match self.block.pairs() / VECTOR_PAIRS {
            16 => stripe_products::<F, V, 16, PREFETCH>(v, self.block),
            8 => stripe_products::<F, V, 8, PREFETCH>(v, self.block),
            _ => stripe_products::<F, V, 4, PREFETCH>(v, self.block),
        }
    }
}

/// Vectors of the narrowest instruction set in a code vector.
const MAX_PARTS: usize = 2;

#[inline(always)]
fn stripe_products<F: PairFormat, V: Vector, const VECTORS: usize, const PREFETCH: bool>(v: V, block: &mut Block<'_>) {
    let parts = VECTOR / V::LANES;
    // As many segments ahead as the codes, where each has scales of its own.
    let scales_ahead = block.prefetch_distance() / block.segment_bytes() * size_of::<[u16; STRIPE_ROWS]>();
    for stripe in 0..block.rows().div_ceil(STRIPE_ROWS) {
        let mut spread = [0; STRIPE_ROWS];
        let scales = block.stripe_scales(stripe, &mut spread);
        let mut acc = [v.zero_floats(); MAX_PARTS];
        for segment in 0..block.segments() {
            let (sum, activation_scale) = block.activation(segment);
            let weight_scales = scales.of(segment);
            if PREFETCH {
                prefetch_second_here(weight_scales.as_ptr().cast::<u8>().wrapping_add(scales_ahead));
            }
            for (part, acc) in acc.iter_mut().enumerate().take(parts) {
                let integers =
                    segment_lanes::<F, V, VECTORS, PREFETCH>(v, block, stripe, segment, part, -F::BIAS * sum);
                // SAFETY: `part < parts`, so that `LANES / 4` of the sixteen scales begin here.
                let weight_scales = unsafe { v.load_halves(weight_scales.as_ptr().add(part * V::LANES / 4)) };
                *acc = v.accumulate(*acc, integers, weight_scales, activation_scale);
            }
        }
        let mut products = [0.0; STRIPE_ROWS];
        for (part, acc) in acc.iter().enumerate().take(parts) {
            // SAFETY: `part < parts`, so that `LANES / 4` of the sixteen products begin here.
            unsafe { v.store_floats(products.as_mut_ptr().add(part * V::LANES / 4), *acc) };
        }
        block.store_stripe(stripe, &products);
    }
}

/// In each lane, `start` + Σ (a + BIAS)·x + Σ (B_STEP·b + BIAS)·x of one row of a segment.
#[inline(always)]
fn segment_lanes<F: PairFormat, V: Vector, const VECTORS: usize, const PREFETCH: bool>(
    v: V,
    block: &Block<'_>,
    stripe: usize,
    segment: usize,
    part: usize,
    start: i32,
) -> V::Ints {
    let pair_bits = F::A_BITS + F::B_BITS;
    let unit = Unit::of(pair_bits);
    let a_mask = mask(F::A_BITS) << F::B_BITS;
    let in_place = a_mask <= V::MAX_FIELD;
    let a_shift = if in_place { F::B_BITS } else { 0 };
    let codes = block.stripe_codes(stripe).as_ptr().wrapping_add(segment * block.segment_bytes() + part * V::LANES);
    let ahead = codes.wrapping_add(block.prefetch_distance());
    let values = block.values().as_ptr().wrapping_add(segment * MAX_SEGMENT);
    let mut a_sum = Sum::<V, VECTORS>::new(v, start << a_shift, if in_place { a_mask } else { mask(F::A_BITS) });
    let mut b_sum = Sum::<V, VECTORS>::new(v, 0, mask(F::B_BITS));
    for n in 0..VECTORS / unit.codes {
        let mut hidden = v.splat(0);
        for vector in 0..unit.codes {
            let code = if vector < unit.stored {
                let stored = n * unit.stored + vector;
                // SAFETY: `segment < segments` of a stripe of the block. A segment of `VECTORS` code
                // vectors has `VECTORS · pair_bits / 8` stored ones, all `VECTORS / unit.codes` units'
                // `unit.stored`, and `part` is below the parts of a vector.
                let code = unsafe { v.load(codes.add(stored * VECTOR).cast()) };
                if PREFETCH && part == 0 {
                    prefetch_second_here(ahead.wrapping_add(stored * VECTOR));
                }
                if unit.codes > unit.stored {
                    let spare = 8 - pair_bits;
                    let place = vector as u32 * spare;
                    let top = v.and(v.shift_right(code, pair_bits - place), v.splat((mask(spare) << place) as u8));
                    hidden = v.or(hidden, top);
                }
                code
            } else {
                hidden
            };
            let index = n * unit.codes + vector;
            let pair = index * VECTOR_PAIRS;
            // SAFETY: `pair + 4 ≤ 4 · VECTORS ≤ 64`, and the operand has 64 values of each parity for
            // each segment (checked by `Block::new`).
            let (even, odd) = unsafe { (v.load_four(values.add(pair)), v.load_four(values.add(HALF + pair))) };
            let a = if in_place {
                v.and(code, v.splat(a_mask as u8))
            } else {
                v.and(v.shift_right(code, F::B_BITS), v.splat(mask(F::A_BITS) as u8))
            };
            a_sum.add(v, index, a, even);
            b_sum.add(v, index, v.and(code, v.splat(mask(F::B_BITS) as u8)), odd);
        }
    }
    v.combine(a_sum.total(v), a_shift, b_sum.total(v), F::B_STEP)
}

/// A sum of products of one field over the code vectors of a segment, widened as seldom as the
/// field allows.
struct Sum<V: Vector, const VECTORS: usize> {
    wide: V::Ints,
    narrow: V::Narrow,
    /// Products that `narrow` can take.
    room: usize,
}

impl<V: Vector, const VECTORS: usize> Sum<V, VECTORS> {
    /// A sum that begins at `start`, of fields of at most `max_field`.
    #[inline(always)]
    fn new(v: V, start: i32, max_field: u32) -> Self {
        Self { wide: v.fill(start), narrow: v.zero_narrow(), room: (V::MAX_NARROW / max_field) as usize }
    }

    /// Adds the products of code vector `index`. The test is on constants once loops are unrolled;
    /// its first half keeps it from standing in their way where nothing is ever widened early.
    #[inline(always)]
    fn add(&mut self, v: V, index: usize, w: V::Bytes, x: V::Bytes) {
        if self.room < VECTORS && index > 0 && index.is_multiple_of(self.room) {
            self.wide = v.widen(self.wide, self.narrow);
            self.narrow = v.zero_narrow();
        }
        self.narrow = v.dot_narrow(self.narrow, w, x);
    }

    /// The whole sum.
    #[inline(always)]
    fn total(self, v: V) -> V::Ints {
        v.widen(self.wide, self.narrow)
    }
}
