//! The loop nest of GEMM: 64 rows times any number of columns.
//!
//! The naive algorithm, which every kernel reproduces bit for bit in every column:
//!
//! ```text
//!   for each column
//!       for each row
//!           acc = 0.0
//!           for each segment of up to 128 weights, in ascending K
//!               integer = Σ weight · x
//!               acc = acc + integer · (weight scale · activation scale)
//!           out[column][row] = acc
//! ```
//!
//! It unpacks a weight for each column and loads two operands for each product. The code below
//! turns the nest over:
//!
//! ```text
//!   for each chunk of 132 columns, for each tile of 64 rows            (gemm/mod.rs)
//!       for each 32 rows of the tile
//!           sums[columns][rows] = 0.0                                  in the first-level cache
//!           for each segment
//!               panel = unpacked weights of 32 rows                    in the first-level cache
//!               for each 12 columns
//!                   integers[rows][columns] = starts                   in registers
//!                   for each step of four weights
//!                       integers += panel[step] · four activations of each column
//!                   sums += integers · (weight scales · activation scales)
//!           out = sums
//! ```
//!
//! 1. *Operands are loaded once for many products.* A step of AVX-512 is 2 loads of weights and 12
//!    broadcasts for 24 dot products, whose sums hide a latency of five cycles. Two vectors by 8
//!    columns were 2 % slower with 128 columns and 5 % with 8; four by 6 were the same.
//! 2. *f32 sums lie in a buffer of their own between segments*; registers hold only integers. In the output
//!    they would straddle cache lines, which cost 2 or 3 %. A sum's part of the canonical order is four
//!    vector operations for each 32 dot products of a full segment: 89 % of the peak are left.
//! 3. *The bias is in the first integer.* `−PANEL_BIAS · Σ x` comes with the batch.
//! 4. *What comes next is asked for.* The next block's activations, a line a step, come from the
//!    second-level cache (5 % faster with 128 columns of 8192 × 8192); the next segment's codes
//!    from memory, a few lines for each 12 columns, because all at once they would fill the line buffers
//!    that activations wait for.
//! 5. *Without VNNI sums have 16 bits* and are widened after eight steps, the last one at which no sum
//!    can overflow: 8 · 2 · 15 · 127 < 2¹⁵. The sums of both widths share the registers: tiles are two
//!    vectors of rows by four columns on AVX2 and by six on AVX-512. Six on AVX2, with the eight steps
//!    written out and each sum added to in order, were 7 % fewer instructions with 128 columns and
//!    no gain in time that stood out of the noise of a Zen 3.
//!
//! The integers cannot overflow: 128 products of at most 15 · 127 beside a start of at most
//! 8 · 128 · 127 are below 2¹⁹.

use super::{
    Body, Vector,
    panel::{MAX_FIELD, MAX_STEPS, Panel, STEP, STRIPES},
    prefetch, prefetch_second_here,
};
use crate::{
    format::PairFormat,
    gemm::{self, BLOCK, CHUNK, Tile},
    layout::STRIPE_ROWS,
};

/// Rows of a panel.
pub(crate) const ROWS: usize = 32;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Vectors of rows of a register tile.
const VECTORS: usize = 2;

/// Steps of the narrowest segment: as many are unrolled.
const RUN: usize = 8;

/// What a job keeps between tiles, to be cleared no oftener than it must be.
#[derive(Default)]
pub(crate) struct Workspace {
    panel: Panel,
    sums: Sums,
}

/// f32 sums of 32 rows of every column, between segments.
#[repr(align(64))]
struct Sums([[f32; ROWS]; CHUNK]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0.0; ROWS]; CHUNK])
    }
}

/// Products of a tile with the instructions of `V`.
///
/// # Panics
/// If this CPU lacks them: a kernel is bound before it runs.
pub(crate) fn tile<F: PairFormat, V: Vector>(tile: &mut Tile<'_>, workspace: &mut Workspace) {
    let v = V::detect().expect("`Kernel::bind` checked the instruction set");
    v.enter(Products::<F> { tile, workspace, format: core::marker::PhantomData });
}

/// The compiled kernel, as the body of an instruction set's entry.
struct Products<'a, 'b, F> {
    tile: &'a mut Tile<'b>,
    workspace: &'a mut Workspace,
    format: core::marker::PhantomData<F>,
}

impl<F: PairFormat> Body for Products<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        let Self { tile, workspace: Workspace { panel, sums: Sums(sums) }, .. } = self;
        let columns = tile.columns();
        for first in (0..tile.stripes()).step_by(STRIPES) {
            sums[..columns.len()].fill([0.0; ROWS]);
            for segment in 0..tile.segments() {
                panel.fill::<F, V>(v, tile, first, segment);
                v.enter(Multiply { tile, panel, sums, first, segment });
            }
            for (column, sums) in columns.clone().zip(sums.iter()) {
                tile.out(column)[first * STRIPE_ROWS..][..ROWS].copy_from_slice(sums);
            }
        }
    }
}

/// Multiplies a panel, as a body of its own: all formats share one compiled function, so that none
/// can meet worse registers than another.
struct Multiply<'a, 'b> {
    tile: &'a Tile<'b>,
    panel: &'a Panel,
    sums: &'a mut [[f32; ROWS]; CHUNK],
    first: usize,
    segment: usize,
}

impl Body for Multiply<'_, '_> {
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        all_columns(v, self.tile, self.panel, self.sums, self.first, self.segment);
    }
}

/// Adds a segment's part of the products of a panel with every column.
#[inline(always)]
fn all_columns<V: Vector>(
    v: V,
    tile: &Tile<'_>,
    panel: &Panel,
    sums: &mut [[f32; ROWS]; CHUNK],
    first: usize,
    segment: usize,
) {
    let columns = tile.columns();
    let (skipped, next) = if segment + 1 < tile.segments() { (0, segment + 1) } else { (STRIPES, 0) };
    let lines = tile.segment_bytes() / LINE;
    let share = lines.div_ceil(columns.len().div_ceil(V::COLUMNS));
    let mut line = 0;
    let mut column = columns.start;
    while column < columns.end {
        for line in line..lines.min(line + share) {
            for stripe in first..first + STRIPES {
                prefetch_second_here(tile.codes_at(stripe + skipped, next).wrapping_add(line * LINE));
            }
        }
        line += share;
        let width = (columns.end - column).min(BLOCK - column % BLOCK).min(V::COLUMNS);
        let sums = &mut sums[column - columns.start..];
        // Widths that the registers do not hold are not compiled.
        match width {
            1 => some_columns::<V, 1>(v, tile, panel, sums, segment, column),
            2 if const { V::COLUMNS >= 2 } => some_columns::<V, 2>(v, tile, panel, sums, segment, column),
            3 if const { V::COLUMNS >= 3 } => some_columns::<V, 3>(v, tile, panel, sums, segment, column),
            4 if const { V::COLUMNS >= 4 } => some_columns::<V, 4>(v, tile, panel, sums, segment, column),
            5 if const { V::COLUMNS >= 5 } => some_columns::<V, 5>(v, tile, panel, sums, segment, column),
            6 if const { V::COLUMNS >= 6 } => some_columns::<V, 6>(v, tile, panel, sums, segment, column),
            7 if const { V::COLUMNS >= 7 } => some_columns::<V, 7>(v, tile, panel, sums, segment, column),
            8 if const { V::COLUMNS >= 8 } => some_columns::<V, 8>(v, tile, panel, sums, segment, column),
            9 if const { V::COLUMNS >= 9 } => some_columns::<V, 9>(v, tile, panel, sums, segment, column),
            10 if const { V::COLUMNS >= 10 } => some_columns::<V, 10>(v, tile, panel, sums, segment, column),
            11 if const { V::COLUMNS >= 11 } => some_columns::<V, 11>(v, tile, panel, sums, segment, column),
            12 if const { V::COLUMNS >= 12 } => some_columns::<V, 12>(v, tile, panel, sums, segment, column),
            _ => unreachable!("a register tile has 1 to 12 columns"),
        }
        column += width;
    }
}

/// The same for `COLUMNS` columns of a block.
#[inline(always)]
fn some_columns<V: Vector, const COLUMNS: usize>(
    v: V,
    tile: &Tile<'_>,
    panel: &Panel,
    sums: &mut [[f32; ROWS]],
    segment: usize,
    column: usize,
) {
    const { assert!(COLUMNS <= BLOCK && (ROWS * 4).is_multiple_of(VECTORS * V::LANES)) };
    let steps = tile.steps();
    let batch = tile.batch();
    let values = &batch.values(segment, column)[..steps * gemm::STEP];
    let starts: &[i32; COLUMNS] = batch.starts(segment, column).first_chunk().expect("a start for each column");
    let scales: &[f32; COLUMNS] = batch.scales(segment, column).first_chunk().expect("a scale for each column");
    let sums: &mut [[f32; ROWS]; COLUMNS] = sums.first_chunk_mut().expect("a sum for each column");
    assert!(steps * STEP <= panel.fields().len() && column % BLOCK + COLUMNS <= BLOCK);
    for group in 0..ROWS * 4 / (VECTORS * V::LANES) {
        let bytes = group * VECTORS * V::LANES;
        // SAFETY: `bytes + VECTORS · LANES` is at most the `STEP` bytes of a step; the panel has
        // `steps` steps, the values of the block too, and `COLUMNS` columns from this one on are in
        // the block: the assertions and slices above.
        let integers = unsafe {
            let fields = panel.fields().as_ptr().add(bytes);
            let values = values.as_ptr().add(column % BLOCK * 4);
            integers::<V, COLUMNS>(v, fields, values, steps, starts)
        };
        for (vector, integers) in integers.into_iter().enumerate() {
            let row = (bytes + vector * V::LANES) / 4;
            // SAFETY: `LANES / 4` rows from `row` on are in the panel's `ROWS`.
            let weight_scales = unsafe { v.load_floats(panel.scales().as_ptr().add(row)) };
            for (column, integers) in integers.into_iter().enumerate() {
                // SAFETY: `LANES / 4` rows from `row` on are in the column's `ROWS`.
                unsafe {
                    let at = sums[column].as_mut_ptr().add(row);
                    v.store_floats(at, v.accumulate(v.load_floats(at), integers, weight_scales, scales[column]));
                }
            }
        }
    }
}

/// `starts[column]` + Σ field · activation, in each lane those of one row.
///
/// # Safety
/// From `fields` on, `VECTORS · LANES` bytes are readable at each of `steps` multiples of `STEP`; from
/// `values` on, `4 · COLUMNS` bytes at each of `steps` multiples of `gemm::STEP`.
#[inline(always)]
unsafe fn integers<V: Vector, const COLUMNS: usize>(
    v: V,
    fields: *const u8,
    values: *const i8,
    steps: usize,
    starts: &[i32; COLUMNS],
) -> [[V::Ints; COLUMNS]; VECTORS] {
    // Sums of 32 bits hold a segment; those of 16 bits must be widened on the way.
    let narrow_holds_all = const { V::MAX_NARROW / MAX_FIELD >= MAX_STEPS as u32 };
    const { assert!(V::MAX_NARROW / MAX_FIELD >= RUN as u32) };
    let mut wide = [[v.zero(); COLUMNS]; VECTORS];
    let mut narrow = [[v.zero_narrow(); COLUMNS]; VECTORS];
    for (wide, narrow) in wide.iter_mut().zip(&mut narrow) {
        for ((wide, narrow), start) in wide.iter_mut().zip(narrow).zip(starts) {
            (*wide, *narrow) = v.begin(*start);
        }
    }
    for run in 0..steps / RUN {
        for step in run * RUN..(run + 1) * RUN {
            let mut weights = [v.splat(0); VECTORS];
            for (vector, weights) in weights.iter_mut().enumerate() {
                // SAFETY: `step < steps`: the caller's obligation.
                *weights = unsafe { v.load(fields.add(step * STEP + vector * V::LANES).cast()) };
            }
            // The next block's, one line or less a step.
            prefetch(values.wrapping_add((step + steps) * gemm::STEP).cast());
            for column in 0..COLUMNS {
                // SAFETY: `step < steps` and `column < COLUMNS`: the caller's obligation.
                let four = unsafe { v.load_four(values.add(step * gemm::STEP + column * 4)) };
                for (sums, weights) in narrow.iter_mut().zip(weights) {
                    sums[column] = v.dot_narrow(sums[column], weights, four);
                }
            }
        }
        if !narrow_holds_all {
            widen(v, &mut wide, &mut narrow);
        }
    }
    if narrow_holds_all {
        widen(v, &mut wide, &mut narrow);
    }
    wide
}

/// Moves 16-bit sums to the 32-bit ones.
#[inline(always)]
fn widen<V: Vector, const COLUMNS: usize>(
    v: V,
    wide: &mut [[V::Ints; COLUMNS]; VECTORS],
    narrow: &mut [[V::Narrow; COLUMNS]; VECTORS],
) {
    for (wide, narrow) in wide.iter_mut().zip(narrow) {
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            *wide = v.widen(*wide, *narrow);
            *narrow = v.zero_narrow();
        }
    }
}
