//! The loop nest of `rows16`: sixteen rows at once, a row in each 32-bit lane, one or four times over.
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
//! 2. *Codes hide in the top bits of others.* A unit's last code vector is collected on the way: what
//!    there is of it moves down, the top bits of the next stored vector come on top (a shift and a
//!    `vpternlogd`). One mask serves all vectors; a mask for each would not fit the registers.
//! 3. *A vector may be narrower than a stripe.* Registers of 32 bytes take a segment twice, once for
//!    each eight rows: the segment is in L1 by then. Where sums have 16 bits, they are widened only when
//!    the next product could overflow them (`Sum`).
//! 4. *Several stripes at a time* share the broadcasts, and each is a stream of its own: hardware
//!    prefetchers that follow several streams fetch more at once. What this and the software prefetch
//!    are worth stands in `results/roofline/reference/tables/matrices.md`.
//! 5. *Each line of the codes is asked for once, beside the load of another.* All of a segment's
//!    prefetches in one place would fill the line buffers that its own loads wait for. They go to the
//!    second-level cache: into the first they were slower on a Xeon at every distance from 512 bytes to
//!    8 KiB. The distance is shared by the streams, because 8 KiB ahead was best for one stripe and 1 to
//!    2 KiB for each of four. Scales are asked for once a segment.
//! 6. *Scales lie apart.* Codes then keep their cache lines, and no load straddles two.
//!
//! The integers cannot overflow: a lane sees 4 products of each of at most 16 code vectors of a
//! segment, each at most 255·127, beside a start of at most 8·128·127 << 4: below 2²³ in all. K adds no
//! more, because every segment leaves the integers for f32.

use super::{Body, Vector, prefetch_second_here, scalar::opaque_at};
use crate::{
    activations::HALF,
    block::{Block, StripeScales},
    format::PairFormat,
    granularity::MAX_SEGMENT,
    layout::{Layout, STRIPE_ROWS, Unit, VECTOR, VECTOR_PAIRS},
    shape::ANY,
    unpack::mask,
};

/// Products of the block's stripes with the instructions of `V`, `STRIPES` at a time: of rows of `SEGMENTS`
/// segments, or of any rows where that is [`ANY`].
///
/// # Panics
/// If this CPU lacks them, or the block has another shape: a kernel is bound before it runs.
pub(crate) fn stripes<F: PairFormat, V: Vector, const STRIPES: usize, const PREFETCH: bool, const SEGMENTS: usize>(
    block: &mut Block<'_>,
) {
    let v = V::detect().expect("`Kernel::bind` checked the instruction set");
    v.enter(Stripes::<F, STRIPES, PREFETCH, SEGMENTS> { block, format: core::marker::PhantomData });
}

/// The compiled point of the product, as the body of an instruction set's entry.
struct Stripes<'a, 'b, F, const STRIPES: usize, const PREFETCH: bool, const SEGMENTS: usize> {
    block: &'a mut Block<'b>,
    format: core::marker::PhantomData<F>,
}

impl<F: PairFormat, const STRIPES: usize, const PREFETCH: bool, const SEGMENTS: usize> Body
    for Stripes<'_, '_, F, STRIPES, PREFETCH, SEGMENTS>
{
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        if SEGMENTS == ANY {
            all_stripes::<F, V, STRIPES, PREFETCH>(v, self.block);
        } else {
            let mut block = self.block.of_shape(F::FORMAT, Layout::Rows16, SEGMENTS);
            all_stripes::<F, V, STRIPES, PREFETCH>(v, &mut block);
        }
    }
}

#[inline(always)]
fn all_stripes<F: PairFormat, V: Vector, const STRIPES: usize, const PREFETCH: bool>(v: V, block: &mut Block<'_>) {
    // Code vectors of a segment of 128, 64 or 32 weights, as a constant: its loops vanish.
    match block.pairs() / VECTOR_PAIRS {
        16 => stripes_of::<F, V, 16, STRIPES, PREFETCH>(v, block),
        8 => stripes_of::<F, V, 8, STRIPES, PREFETCH>(v, block),
        _ => stripes_of::<F, V, 4, STRIPES, PREFETCH>(v, block),
    }
}

#[inline(always)]
fn stripes_of<F: PairFormat, V: Vector, const VECTORS: usize, const STRIPES: usize, const PREFETCH: bool>(
    v: V,
    block: &mut Block<'_>,
) {
    let stripes = block.rows().div_ceil(STRIPE_ROWS);
    let mut stripe = 0;
    while stripe + STRIPES <= stripes {
        stripe_products::<F, V, VECTORS, STRIPES, PREFETCH>(v, block, stripe);
        stripe += STRIPES;
    }
    while STRIPES > 1 && stripe < stripes {
        stripe_products::<F, V, VECTORS, 1, PREFETCH>(v, block, stripe);
        stripe += 1;
    }
}

/// Products of `STRIPES` stripes from number `first` on.
#[inline(always)]
fn stripe_products<F: PairFormat, V: Vector, const VECTORS: usize, const STRIPES: usize, const PREFETCH: bool>(
    v: V,
    block: &mut Block<'_>,
    first: usize,
) {
    let ahead = block.prefetch_distance() / STRIPES;
    // As many segments ahead as the codes, where each has scales of its own.
    let scales_ahead = ahead / block.segment_bytes() * size_of::<[u16; STRIPE_ROWS]>();
    let mut spread = [[0; STRIPE_ROWS]; STRIPES];
    let mut scales = [StripeScales::NONE; STRIPES];
    let mut codes = [core::ptr::null(); STRIPES];
    for (s, spread) in spread.iter_mut().enumerate() {
        scales[s] = block.stripe_scales(first + s, spread);
        codes[s] = block.stripe_codes(first + s).as_ptr();
    }
    let values = block.values().as_ptr();
    // The rows of a vector, and where it is narrower than a stripe, the other eight.
    let (mut low, mut high) = ([v.zero_floats(); STRIPES], [v.zero_floats(); STRIPES]);
    for s in 0..STRIPES {
        let start = block.start_stripe(first + s);
        // SAFETY: `LANES / 4` of the sixteen sums begin at each address.
        unsafe {
            low[s] = v.load_floats(start.as_ptr());
            if V::LANES < VECTOR {
                high[s] = v.load_floats(start.as_ptr().add(V::LANES / 4));
            }
        }
    }
    for (segment, (sum, activation_scale)) in block.operand_segments().enumerate() {
        let values = values.wrapping_add(segment * MAX_SEGMENT);
        let start = -F::BIAS * sum;
        let mut here = codes;
        for here in &mut here {
            *here = here.wrapping_add(segment * block.segment_bytes());
        }
        // SAFETY: `segment < segments`, so that a segment of `VECTORS` code vectors begins at each address
        // of `here`, its operand at `values`, and sixteen scales of each stripe at `of(segment)`:
        // `Block::new` and `StripeScales::new` have checked it. Part 1 exists where a vector is half a
        // stripe.
        unsafe {
            // So many as the registers hold the sums of, hidden from the next ones: LLVM would keep the
            // broadcasts for them.
            if V::LANES < VECTOR {
                for s in 0..STRIPES {
                    let (scales, here) = ([scales[s].of(segment)], [here[s]]);
                    let values = opaque_at(values);
                    let [integers] = segment_lanes::<F, V, VECTORS, 1, PREFETCH, 0>(v, here, values, ahead, start);
                    low[s] = v.accumulate(low[s], integers, v.load_halves(scales[0]), activation_scale);
                    let values = opaque_at(values);
                    let [integers] = segment_lanes::<F, V, VECTORS, 1, PREFETCH, 1>(v, here, values, ahead, start);
                    let halves = v.load_halves(scales[0].add(V::LANES / 4));
                    high[s] = v.accumulate(high[s], integers, halves, activation_scale);
                    ask_for_scales::<PREFETCH, 1>(scales, scales_ahead);
                }
            } else if STRIPES == 1 {
                let scales = [scales[0].of(segment)];
                let [integers] = segment_lanes::<F, V, VECTORS, 1, PREFETCH, 0>(v, [here[0]], values, ahead, start);
                low[0] = v.accumulate(low[0], integers, v.load_halves(scales[0]), activation_scale);
                ask_for_scales::<PREFETCH, 1>(scales, scales_ahead);
            } else {
                for s in (0..STRIPES).step_by(2) {
                    let scales = [scales[s].of(segment), scales[s + 1].of(segment)];
                    let (here, values) = ([here[s], here[s + 1]], opaque_at(values));
                    let integers = segment_lanes::<F, V, VECTORS, 2, PREFETCH, 0>(v, here, values, ahead, start);
                    low[s] = v.accumulate(low[s], integers[0], v.load_halves(scales[0]), activation_scale);
                    low[s + 1] = v.accumulate(low[s + 1], integers[1], v.load_halves(scales[1]), activation_scale);
                    ask_for_scales::<PREFETCH, 2>(scales, scales_ahead);
                }
            }
        }
    }
    let mut products = [[0.0f32; STRIPE_ROWS]; STRIPES];
    for (s, products) in products.iter_mut().enumerate() {
        // SAFETY: `LANES / 4` of the sixteen products begin at each address.
        unsafe {
            v.store_floats(products.as_mut_ptr(), low[s]);
            if V::LANES < VECTOR {
                v.store_floats(products.as_mut_ptr().add(V::LANES / 4), high[s]);
            }
        }
    }
    for (s, products) in products.iter().enumerate() {
        block.store_stripe(first + s, products);
    }
}

/// Asks for scales `ahead` bytes from those in use.
#[inline(always)]
fn ask_for_scales<const PREFETCH: bool, const STRIPES: usize>(scales: [*const u16; STRIPES], ahead: usize) {
    if PREFETCH {
        for scales in scales {
            prefetch_second_here(scales.cast::<u8>().wrapping_add(ahead));
        }
    }
}

/// For each stripe, in each lane, `start` + Σ (a + BIAS)·x + Σ (B_STEP·b + BIAS)·x of one row of a
/// segment: of the stripe's rows `PART · LANES / 4 ..`. The lines `ahead` bytes from the codes are asked
/// for, each by one part.
///
/// # Safety
/// A segment of `VECTORS` code vectors is readable at each address of `codes`, and its 128 bytes of the
/// operand at `values`; `PART` is below `VECTOR / LANES`.
#[inline(always)]
unsafe fn segment_lanes<
    F: PairFormat,
    V: Vector,
    const VECTORS: usize,
    const STRIPES: usize,
    const PREFETCH: bool,
    const PART: usize,
>(
    v: V,
    codes: [*const u8; STRIPES],
    values: *const i8,
    ahead: usize,
    start: i32,
) -> [V::Ints; STRIPES] {
    let (field, shift) = a_field::<F, V>();
    let mut a_sums = [Sum::<V, VECTORS>::new(v, start << shift, field); STRIPES];
    let mut b_sums = [Sum::<V, VECTORS>::new(v, 0, mask(F::B_BITS)); STRIPES];
    // Groups written out, not a loop over them: LLVM leaves a loop of sixteen code vectors rolled.
    let groups = VECTORS / group::<F>();
    // SAFETY: the caller's obligation.
    unsafe {
        add_group::<F, V, VECTORS, STRIPES, PREFETCH, PART, 0>(v, codes, values, ahead, &mut a_sums, &mut b_sums);
        if groups > 1 {
            add_group::<F, V, VECTORS, STRIPES, PREFETCH, PART, 1>(v, codes, values, ahead, &mut a_sums, &mut b_sums);
        }
        if groups > 2 {
            add_group::<F, V, VECTORS, STRIPES, PREFETCH, PART, 2>(v, codes, values, ahead, &mut a_sums, &mut b_sums);
            add_group::<F, V, VECTORS, STRIPES, PREFETCH, PART, 3>(v, codes, values, ahead, &mut a_sums, &mut b_sums);
        }
    }
    let mut lanes = [v.zero(); STRIPES];
    for (s, lanes) in lanes.iter_mut().enumerate() {
        *lanes = v.combine(a_sums[s].total(v), shift, b_sums[s].total(v), F::B_STEP);
    }
    lanes
}

/// The largest value of field *a* as it is multiplied, and by how much it is shifted left then.
#[inline(always)]
fn a_field<F: PairFormat, V: Vector>() -> (u32, u32) {
    let in_place = mask(F::A_BITS) << F::B_BITS;
    if in_place <= V::MAX_FIELD { (in_place, F::B_BITS) } else { (mask(F::A_BITS), 0) }
}

/// Code vectors of a group: those that share bits, or four.
#[inline(always)]
fn group<F: PairFormat>() -> usize {
    Unit::of(F::A_BITS + F::B_BITS).codes.max(4)
}

/// Adds the products of group number `GROUP` of the code vectors to the sums of both fields.
///
/// # Safety
/// As [`segment_lanes`].
#[inline(always)]
unsafe fn add_group<
    F: PairFormat,
    V: Vector,
    const VECTORS: usize,
    const STRIPES: usize,
    const PREFETCH: bool,
    const PART: usize,
    const GROUP: usize,
>(
    v: V,
    codes: [*const u8; STRIPES],
    values: *const i8,
    ahead: usize,
    a_sums: &mut [Sum<V, VECTORS>; STRIPES],
    b_sums: &mut [Sum<V, VECTORS>; STRIPES],
) {
    let pair_bits = F::A_BITS + F::B_BITS;
    let unit = Unit::of(pair_bits);
    let (parts, lines) = (VECTOR / V::LANES, VECTORS * pair_bits as usize / 8);
    let (a_mask, a_shift) = a_field::<F, V>();
    let spare = 8 - pair_bits;
    let shares = unit.codes > unit.stored;
    let mut hidden = [v.splat(0); STRIPES];
    for vector in 0..group::<F>() {
        let index = GROUP * group::<F>() + vector;
        let mut code = hidden;
        for s in 0..STRIPES {
            if shares && vector == unit.stored {
                code[s] = v.shift_right(hidden[s], spare);
                continue;
            }
            let stored = if shares { GROUP * unit.stored + vector } else { index };
            // SAFETY: a segment has `VECTORS · pair_bits / 8` stored vectors, those of all its groups,
            // and `PART` is below the parts of one.
            code[s] = unsafe { v.load(codes[s].add(stored * VECTOR + PART * V::LANES).cast()) };
            if PREFETCH && stored.is_multiple_of(parts) {
                let line = stored / parts + PART * (lines / parts);
                prefetch_second_here(codes[s].wrapping_add(ahead + line * VECTOR));
            }
            if shares {
                // The first vector's bits move furthest down; none leaves its byte.
                let top = v.and(code[s], v.splat(!mask(pair_bits) as u8));
                hidden[s] = v.or(v.shift_right(hidden[s], spare), top);
            }
        }
        let pair = index * VECTOR_PAIRS;
        // SAFETY: `pair + 4 ≤ 4 · VECTORS ≤ 64`, and the operand has 64 values of each parity.
        let (even, odd) = unsafe { (v.load_four(values.add(pair)), v.load_four(values.add(HALF + pair))) };
        for s in 0..STRIPES {
            let a = if a_shift == 0 { v.shift_right(code[s], F::B_BITS) } else { code[s] };
            a_sums[s].add(v, index, v.and(a, v.splat(a_mask as u8)), even);
            b_sums[s].add(v, index, v.and(code[s], v.splat(mask(F::B_BITS) as u8)), odd);
        }
    }
}

/// A sum of products of one field over the code vectors of a segment, widened as seldom as the
/// field allows.
#[derive(Clone, Copy)]
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
