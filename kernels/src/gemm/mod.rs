//! One matrix times many vectors: prefill.
//!
//! A GEMV reads every weight for one column and waits for memory; with many columns the same
//! weights are unpacked once, and products of bytes are what takes the time. Against GEMV column by
//! column it is measured with 2, 8 and 16 columns by `experiments/gemm.toml`. Kernels exist for the
//! layout `rows16` and are a registry of their own ([`kernels`]): `gemm/<format>/rows16/<isa>`. In each
//! column every one of them gives the bits of [`reference::gemv`](crate::reference::gemv).
//!
//! Products lie tile by tile, `(tiles, columns, 64)`: 64 rows of a column are together, so that a
//! worker's share is one slice wherever it is cut. A *share* is a range of pairs (tile, column),
//! tile-major; [`column()`] collects the rows of a column.
//!
//! ```
//! use septet_kernels::*;
//! let weights: Vec<f32> = (0..100 * 256).map(|i| (i as f32).sin()).collect();
//! let matrix = QuantizedMatrix::quantize(&weights, 100, 256, Format::W3p5, Granularity::Group128)?;
//! let packed = PackedMatrix::pack(&matrix, Layout::Rows16)?;
//! let xs = [vec![0.5; 256], vec![1.5; 256], vec![2.5; 256]];
//! let (mut batch, mut operand) = (ActivationBatch::default(), Activations::default());
//! batch.reset(xs.len(), 256, packed.segment());
//! for (column, x) in xs.iter().enumerate() {
//!     operand.quantize(x, packed.segment())?;
//!     batch.set(column, &operand);
//! }
//!
//! let variant = "gemm/w3p5/rows16/scalar".parse()?;
//! let kernel = gemm::find(variant).expect("scalar kernels are always compiled").bind()?;
//! let units = gemm::units(&packed, &batch);
//! let mut out = vec![0.0; units * TILE_ROWS];
//! kernel.gemm(GemmJob { weights: &packed, batch: &batch, units: 0..units, out: &mut out });
//! for (column, x) in xs.iter().enumerate() {
//!     let y: Vec<f32> = gemm::column(&out, xs.len(), column).flatten().copied().take(100).collect();
//!     assert_eq!(y, reference::gemv(&matrix, x));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Range;

use crate::{granularity::TILE_ROWS, isa::tile::Workspace, packed::PackedMatrix};

mod batch;
pub mod check;
mod registry;
mod tile;

pub use batch::ActivationBatch;
pub(crate) use batch::{BLOCK, PANEL_BIAS, STEP};
pub use registry::{BoundKernel, Kernel, ParseVariantError, Variant, find, kernels};
pub(crate) use tile::{CHUNK, Tile};

/// A share of the product of `weights` with `batch`.
#[derive(Debug)]
pub struct GemmJob<'a> {
    /// The matrix, in the kernel's format and `rows16`.
    pub weights: &'a PackedMatrix,
    /// The columns, quantized in the matrix's segments.
    pub batch: &'a ActivationBatch,
    /// Pairs (tile, column) to compute: `tile · columns + column`. Each tile of 64 rows is unpacked
    /// once for the columns that a job takes of it.
    pub units: Range<usize>,
    /// `(units, 64)`. Rows of the last tile behind the matrix become zeros.
    pub out: &'a mut [f32],
}

/// Pairs (tile, column) of a whole product.
pub fn units(weights: &PackedMatrix, batch: &ActivationBatch) -> usize {
    weights.rows().div_ceil(TILE_ROWS) * batch.columns()
}

/// The rows of a column, 64 at a time, from the products `(tiles, columns, 64)`.
///
/// # Panics
/// If there are no columns.
pub fn column(products: &[f32], columns: usize, column: usize) -> impl Iterator<Item = &[f32]> {
    products.chunks_exact(TILE_ROWS).skip(column).step_by(columns)
}

impl BoundKernel {
    /// Computes the job's share, each column in the canonical order of operations.
    ///
    /// # Panics
    /// If the matrix has another format or layout than the kernel, or a length does not fit: a
    /// mistake of the caller.
    pub fn gemm(&self, job: GemmJob<'_>) {
        let GemmJob { weights, batch, units, out } = job;
        assert!(units.end <= self::units(weights, batch), "the product has no units {units:?}");
        assert_eq!(out.len(), units.len() * TILE_ROWS, "the output does not have the units of the job");
        if units.is_empty() {
            return;
        }
        let all = batch.columns();
        let tiles = units.start / all..units.end.div_ceil(all);
        let mut workspace = Workspace::default();
        // A chunk's activations stay in the second-level cache while all tiles pass.
        for chunk in (0..all).step_by(CHUNK) {
            for tile in tiles.clone() {
                let own = |column: usize| (tile * all + column).clamp(units.start, units.end);
                let share = own(chunk)..own(all.min(chunk + CHUNK));
                if share.is_empty() {
                    continue;
                }
                let columns = share.start - tile * all..share.end - tile * all;
                let out = &mut out[(share.start - units.start) * TILE_ROWS..][..share.len() * TILE_ROWS];
                self.tile()(&mut Tile::new(self.variant().format, weights, batch, tile, columns, out), &mut workspace);
            }
        }
    }
}
