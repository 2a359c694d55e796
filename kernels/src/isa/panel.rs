//! Weights unpacked once for all columns.
//!
//! The naive way, GEMV for each column, takes every field out of its code as often as there are
//! columns. A *panel* holds 32 rows of one segment, a weight a byte:
//!
//! ```text
//!   (step, row, 4)      step 2i: members a of code vector i       row r: four weights in k
//!                       step 2i + 1: members b                    each plus PANEL_BIAS
//! ```
//!
//! 1. *Member b is multiplied by its step, and all formats have one bias.* Both members then share an
//!    accumulator, and no code behind the panel knows a format: it is compiled once for all.
//! 2. *One segment is enough.* 4 KiB stay in the first-level cache while every column passes.

use super::{Vector, tile::ROWS};
use crate::{
    format::PairFormat,
    gemm::{PANEL_BIAS, Tile},
    granularity::MAX_SEGMENT,
    layout::{STRIPE_ROWS, Unit, VECTOR},
    unpack::mask,
};

/// Stripes of a panel.
pub(crate) const STRIPES: usize = ROWS / STRIPE_ROWS;

/// Bytes of a step: four weights of each row.
pub(crate) const STEP: usize = STRIPES * VECTOR;

/// Steps of the widest segment.
pub(crate) const MAX_STEPS: usize = MAX_SEGMENT / 4;

/// Largest byte of a panel.
pub(crate) const MAX_FIELD: u32 = 2 * PANEL_BIAS as u32 - 1;

/// 32 rows of one segment.
#[repr(align(64))]
pub(crate) struct Panel {
    /// `(steps, rows, 4)`.
    fields: [u8; MAX_STEPS * STEP],
    /// `(rows)`.
    scales: [f32; ROWS],
}

impl Default for Panel {
    fn default() -> Self {
        Self { fields: [0; MAX_STEPS * STEP], scales: [0.0; ROWS] }
    }
}

impl Panel {
    /// `(steps, rows, 4)` weights, each plus [`PANEL_BIAS`].
    #[inline(always)]
    pub(crate) fn fields(&self) -> &[u8; MAX_STEPS * STEP] {
        &self.fields
    }

    /// Scales of the rows; zeros for those behind the matrix.
    #[inline(always)]
    pub(crate) fn scales(&self) -> &[f32; ROWS] {
        &self.scales
    }

    /// Takes a segment of the stripes from `first` on.
    #[inline(always)]
    pub(crate) fn fill<F: PairFormat, V: Vector>(&mut self, v: V, tile: &Tile<'_>, first: usize, segment: usize) {
        for stripe in 0..STRIPES {
            let scales = &mut self.scales[stripe * STRIPE_ROWS..][..STRIPE_ROWS];
            if first + stripe >= tile.stripes() {
                // Whatever the fields are, their products are zeros.
                scales.fill(0.0);
                continue;
            }
            let halves = tile.weight_scales(first + stripe, segment);
            for row in (0..STRIPE_ROWS).step_by(V::LANES / 4) {
                // SAFETY: `LANES / 4` divides the sixteen scales on either side.
                unsafe { v.store_floats(scales.as_mut_ptr().add(row), v.load_halves(halves.as_ptr().add(row))) };
            }
            let codes = tile.codes(first + stripe, segment);
            for part in 0..VECTOR / V::LANES {
                let fields = &mut self.fields[stripe * VECTOR + part * V::LANES..];
                unpack::<F, V>(v, &codes[part * V::LANES..], fields, tile.steps());
            }
        }
    }
}

/// Writes the fields of `LANES` bytes of each code vector, `steps` times.
#[inline(always)]
fn unpack<F: PairFormat, V: Vector>(v: V, codes: &[u8], fields: &mut [u8], steps: usize) {
    let pair_bits = F::A_BITS + F::B_BITS;
    let unit = Unit::of(pair_bits);
    let units = steps / 2 / unit.codes;
    assert!(codes.len() >= (units * unit.stored - 1) * VECTOR + V::LANES);
    assert!(fields.len() >= (units * unit.codes * 2 - 1) * STEP + V::LANES);
    let bias = v.splat((PANEL_BIAS - F::BIAS) as u8);
    for n in 0..units {
        let mut hidden = v.splat(0);
        for vector in 0..unit.codes {
            let code = if vector < unit.stored {
                // SAFETY: `n < units` and `vector < unit.stored`: the first assertion.
                let code = unsafe { v.load(codes.as_ptr().add((n * unit.stored + vector) * VECTOR).cast()) };
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
            let mut a = v.and(v.shift_right(code, F::B_BITS), v.splat(mask(F::A_BITS) as u8));
            let mut b = v.and(code, v.splat(mask(F::B_BITS) as u8));
            if F::B_STEP == 2 {
                b = v.add(b, b);
            }
            if F::BIAS < PANEL_BIAS {
                (a, b) = (v.add(a, bias), v.add(b, bias));
            }
            // SAFETY: `n < units` and `vector < unit.codes`: the second assertion.
            unsafe {
                let at = fields.as_mut_ptr().add((n * unit.codes + vector) * 2 * STEP);
                v.store(at, a);
                v.store(at.add(STEP), b);
            }
        }
    }
}
