//! One matrix times one vector: tiles of rows, and what happens around the compiled row loops.
//!
//! Prefetch, blocking and epilogue are data here, not compiled points. Work is cut into tiles of 64 rows, the
//! unit of ownership of threads and of the sums that cross rows, so that no result depends on the
//! number of threads.

use std::{fmt, ops::Range};

use crate::{
    activations::Activations,
    block::Block,
    granularity::TILE_ROWS,
    level::Level,
    ops::lanes::tile_square_sum,
    packed::{PackedMatrix, TAIL},
    registry::BoundKernel,
};

/// Bytes between the codes in use and those asked for by software prefetch.
pub const PREFETCH_DISTANCE: usize = 8192;

/// Bytes of codes in each of the two buffers of [`Prefetch::DoubleBuffer`]: both fit a first-level
/// cache of 48 KiB beside the operand.
pub const TILE_BUFFER: usize = 16 * 1024;

/// How codes are asked for before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefetch {
    /// Left to the hardware.
    None,
    /// Instructions in each segment, [`PREFETCH_DISTANCE`] bytes ahead.
    Software,
    /// The same, 2 KiB ahead.
    Software2K,
    /// The same, 32 KiB ahead.
    Software32K,
    /// The next tile of rows is copied into a buffer while the one before it is used.
    DoubleBuffer,
}

impl Level for Prefetch {
    const AXIS: &'static str = "prefetch";
    const ALL: &'static [Self] = &[Self::None, Self::Software, Self::Software2K, Self::Software32K, Self::DoubleBuffer];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Software => "software",
            Self::Software2K => "software_2k",
            Self::Software32K => "software_32k",
            Self::DoubleBuffer => "double_buffer",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::None => "left to the hardware",
            Self::Software => "prefetch instructions in each segment, 8 KiB ahead",
            Self::Software2K => "prefetch instructions in each segment, 2 KiB ahead",
            Self::Software32K => "prefetch instructions in each segment, 32 KiB ahead",
            Self::DoubleBuffer => "tiles of rows copied into two buffers in turn",
        }
    }
}

impl Prefetch {
    /// Bytes between the codes in use and those that instructions ask for, if any do.
    pub const fn distance(self) -> Option<usize> {
        match self {
            Self::None | Self::DoubleBuffer => None,
            Self::Software => Some(PREFETCH_DISTANCE),
            Self::Software2K => Some(2 << 10),
            Self::Software32K => Some(32 << 10),
        }
    }
}

impl fmt::Display for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which part of a matrix is multiplied before the next one: blocking for on-chip memory.
///
/// A block of `k` columns of some rows is multiplied with a part of the operand that stays in the
/// first-level cache for all of these rows; their sums are kept from block to block, so that the
/// canonical order of each row remains. The codes of a block of `k512_r64` take 14 KiB at 3.5 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blocking {
    /// Rows as a whole, each with the whole operand.
    #[default]
    Full,
    /// 512 columns of 16 rows.
    K512R16,
    /// 512 columns of 64 rows.
    K512R64,
    /// 2048 columns of 16 rows.
    K2048R16,
    /// 2048 columns of 64 rows.
    K2048R64,
    /// 8192 columns of 64 rows.
    K8192R64,
}

impl Blocking {
    /// Columns and rows of a block, if rows are cut. Columns are a multiple of every segment, rows of
    /// every stripe.
    const fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::Full => None,
            Self::K512R16 => Some((512, 16)),
            Self::K512R64 => Some((512, 64)),
            Self::K2048R16 => Some((2048, 16)),
            Self::K2048R64 => Some((2048, 64)),
            Self::K8192R64 => Some((8192, 64)),
        }
    }
}

impl Level for Blocking {
    const AXIS: &'static str = "blocking";
    const ALL: &'static [Self] =
        &[Self::Full, Self::K512R16, Self::K512R64, Self::K2048R16, Self::K2048R64, Self::K8192R64];

    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::K512R16 => "k512_r16",
            Self::K512R64 => "k512_r64",
            Self::K2048R16 => "k2048_r16",
            Self::K2048R64 => "k2048_r64",
            Self::K8192R64 => "k8192_r64",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Full => "rows as a whole",
            Self::K512R16 => "512 columns of 16 rows, then the next 512",
            Self::K512R64 => "512 columns of 64 rows, then the next 512",
            Self::K2048R16 => "2048 columns of 16 rows, then the next 2048",
            Self::K2048R64 => "2048 columns of 64 rows, then the next 2048",
            Self::K8192R64 => "8192 columns of 64 rows, then the next 8192",
        }
    }
}

impl fmt::Display for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Buffers of one worker; grow once and stay.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    buffers: [Vec<u8>; 2],
}

impl Scratch {
    /// Buffers that serve matrices of up to `max_stripe_bytes` bytes a stripe without allocating.
    pub fn with_capacity(max_stripe_bytes: usize) -> Self {
        let bytes = max_stripe_bytes.max(TILE_BUFFER) + TAIL;
        Self { buffers: [Vec::with_capacity(bytes), Vec::with_capacity(bytes)] }
    }
}

/// Where the products of a range of rows go. Slices begin at the range's first row.
#[derive(Debug)]
pub enum Output<'a> {
    /// `out[row] = product`.
    Store(&'a mut [f32]),
    /// `stream[row] += product`, and for each 64-row tile the sum of squares of the updated stream:
    /// the residual connection and the next norm's first pass, while the tile is in registers or L1.
    AddResidual {
        /// `(rows)`.
        stream: &'a mut [f32],
        /// `(tiles)`.
        square_sums: &'a mut [f32],
    },
}

/// A product of some 64-row tiles of `weights` with `activations`.
#[derive(Debug)]
pub struct GemvJob<'a> {
    /// The matrix, in the kernel's format and layout.
    pub weights: &'a PackedMatrix,
    /// The vector, quantized in the matrix's segments.
    pub activations: &'a Activations,
    /// Tiles of 64 rows to compute; the last tile of the matrix may be short.
    pub tiles: Range<usize>,
    /// Where products go.
    pub output: Output<'a>,
    /// How codes are asked for ahead.
    pub prefetch: Prefetch,
    /// Buffers of this worker.
    pub scratch: &'a mut Scratch,
}

impl BoundKernel {
    /// Computes the job's rows, in the canonical order of operations.
    ///
    /// # Panics
    /// If the matrix has another format or layout than the kernel, or a length does not fit: a
    /// mistake of the caller.
    pub fn gemv(&self, job: GemvJob<'_>) {
        let GemvJob { weights, activations, tiles, output, prefetch, scratch } = job;
        let variant = self.variant();
        assert_eq!((weights.format(), weights.layout()), (variant.format, variant.layout), "{variant}");
        let rows = tiles.start * TILE_ROWS..(tiles.end * TILE_ROWS).min(weights.rows());
        let mut product = |rows: Range<usize>, out: &mut [f32]| match prefetch {
            Prefetch::DoubleBuffer => self.double_buffered(weights, activations, rows, out, scratch),
            Prefetch::None | Prefetch::Software | Prefetch::Software2K | Prefetch::Software32K => {
                let codes = weights.codes_from(rows.start);
                self.blocks(prefetch.distance(), weights, codes, rows.start, activations, out);
            }
        };
        match output {
            Output::Store(out) => {
                assert_eq!(out.len(), rows.len(), "the output does not have the rows of the job");
                product(rows, out);
            }
            Output::AddResidual { stream, square_sums } => {
                assert_eq!(stream.len(), rows.len(), "the stream does not have the rows of the job");
                assert_eq!(square_sums.len(), tiles.len(), "one sum of squares for each tile");
                let mut out = [0f32; TILE_ROWS];
                for (tile, (stream, square_sum)) in stream.chunks_mut(TILE_ROWS).zip(square_sums).enumerate() {
                    let out = &mut out[..stream.len()];
                    let first = rows.start + tile * TILE_ROWS;
                    product(first..first + out.len(), out);
                    for (h, y) in stream.iter_mut().zip(out.iter()) {
                        *h += y;
                    }
                    *square_sum = tile_square_sum(stream);
                }
            }
        }
    }

    /// Products of the rows from `first_row` on, whose stripes `codes` hold, block by block.
    fn blocks(
        &self,
        prefetch_distance: Option<usize>,
        weights: &PackedMatrix,
        codes: &[u8],
        first_row: usize,
        activations: &Activations,
        out: &mut [f32],
    ) {
        let (rows_fn, all) = (self.rows(prefetch_distance.is_some()), weights.segments());
        let ahead = prefetch_distance.unwrap_or(0);
        let Some((cols, rows)) = self.blocking().block() else {
            return rows_fn(&mut Block::new(weights, codes, first_row, 0..all, activations, ahead, out));
        };
        let block_bytes = rows / weights.layout().stripe_rows() * weights.stripe_bytes();
        for (block, out) in out.chunks_mut(rows).enumerate() {
            let (codes, first_row) = (&codes[block * block_bytes..], first_row + block * rows);
            for segment in (0..all).step_by(cols / weights.segment()) {
                let segments = segment..(segment + cols / weights.segment()).min(all);
                rows_fn(&mut Block::new(weights, codes, first_row, segments, activations, ahead, out));
            }
        }
    }

    /// Copies a tile of whole stripes ahead of the one in use.
    fn double_buffered(
        &self,
        weights: &PackedMatrix,
        activations: &Activations,
        rows: Range<usize>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (stripe_bytes, stripe_rows) = (weights.stripe_bytes(), weights.layout().stripe_rows());
        let tile_rows = (TILE_BUFFER / stripe_bytes).max(1) * stripe_rows;
        let copy = |buffer: &mut Vec<u8>, first: usize| {
            let count = tile_rows.min(rows.end.saturating_sub(first));
            buffer.clear();
            buffer.extend_from_slice(&weights.codes_from(first)[..count.div_ceil(stripe_rows) * stripe_bytes + TAIL]);
        };
        let [mut current, mut next] = scratch.buffers.each_mut();
        copy(current, rows.start);
        for (tile, out) in out.chunks_mut(tile_rows).enumerate() {
            let first = rows.start + tile * tile_rows;
            if first + tile_rows < rows.end {
                copy(next, first + tile_rows);
            }
            self.blocks(None, weights, current, first, activations, out);
            std::mem::swap(&mut current, &mut next);
        }
    }
}
