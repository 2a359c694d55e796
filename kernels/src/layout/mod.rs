//! How the pair codes of a matrix lie in memory: in *stripes*, one after the other.
//!
//! A stripe of [`Dense`] or [`BytePerPair`] is one row, and the layout is a stride: pair *i* of a row
//! occupies the `pair_bits` bits from bit `i · pair_bits` on, in a little-endian bit stream. Groups
//! hold a multiple of eight pairs, so every group begins at a byte. A stripe of `rows16` is sixteen
//! rows, interleaved so that each lane of a vector is a row (`rows16.rs`). Scales lie in an array of
//! their own.

use std::fmt;

use crate::{
    format::{Format, PairFormat},
    granularity::Granularity,
    level::Level,
    quantized::QuantizedMatrix,
};

mod byte_per_pair;
mod dense;
mod rows16;

pub use byte_per_pair::BytePerPair;
pub use dense::Dense;
pub(crate) use rows16::{STRIPE_ROWS, Unit, VECTOR, VECTOR_PAIRS};

/// A layout whose stripes are rows, as a type: what kernels are compiled for.
pub trait PairLayout: 'static {
    /// The layout as a value.
    const LAYOUT: Layout;
    /// Bits from one pair code to the next.
    fn pair_bits<F: PairFormat>() -> u32 {
        Self::LAYOUT.pair_bits(F::FORMAT)
    }
}

/// A layout as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// No bit is wasted: 56 bytes for 128 `w3p5` weights.
    Dense,
    /// One byte for each pair, as published for 3.5 bits: 4.0 stored bits per weight.
    BytePerPair,
    /// Sixteen rows interleaved, a row in each lane of a vector; no bit is wasted.
    Rows16,
}

impl Layout {
    /// Stored bits of a pair code: those from one to the next, where stripes are rows.
    pub const fn pair_bits(self, format: Format) -> u32 {
        match self {
            Self::Dense | Self::Rows16 => format.fields().pair_bits(),
            Self::BytePerPair => 8,
        }
    }

    /// Rows of a stripe: they are stored together, the last stripe padded.
    pub const fn stripe_rows(self) -> usize {
        match self {
            Self::Dense | Self::BytePerPair => 1,
            Self::Rows16 => STRIPE_ROWS,
        }
    }

    /// Why this layout is not offered for `format`, if it is not.
    pub const fn infeasible(self, format: Format) -> Option<&'static str> {
        match (self, format) {
            (Self::BytePerPair, Format::W4) => Some("a dense pair of w4 is one byte already"),
            (Self::BytePerPair, Format::W3) => Some("byte_per_pair is the published layout of 3.5 bits only"),
            _ => None,
        }
    }

    /// Why this layout is not offered for `format` under `granularity`, if it is not.
    pub const fn infeasible_under(self, format: Format, granularity: Granularity) -> Option<&'static str> {
        let unit_weights = 2 * VECTOR_PAIRS * Unit::of(format.fields().pair_bits()).codes;
        if matches!(self, Self::Rows16) && !granularity.segment().is_multiple_of(unit_weights) {
            return Some("rows16 shares bits among 64 weights of a row: the group must hold a multiple of 64");
        }
        self.infeasible(format)
    }

    /// Index of the packed scale of a segment of a row: those of a stripe's rows lie together.
    pub(crate) const fn scale_index(
        self,
        granularity: Granularity,
        row: usize,
        segment: usize,
        segments: usize,
    ) -> usize {
        let height = self.stripe_rows();
        match granularity {
            Granularity::Tile64 => granularity.scale_index(row, segment, segments),
            _ => granularity.scale_index(row / height, segment, segments) * height + row % height,
        }
    }

    /// The scales of `matrix` in the order of [`scale_index`](Self::scale_index), zeros for padded
    /// rows.
    pub(crate) fn order_scales(self, matrix: &QuantizedMatrix) -> Vec<u16> {
        let (granularity, segments) = (matrix.granularity(), matrix.segments());
        let padded_rows = matrix.rows().next_multiple_of(self.stripe_rows());
        let mut scales = vec![0; granularity.scale_count(padded_rows, segments)];
        for row in 0..matrix.rows() {
            for segment in 0..segments {
                let from = granularity.scale_index(row, segment, segments);
                scales[self.scale_index(granularity, row, segment, segments)] = matrix.scales()[from];
            }
        }
        scales
    }

    /// Writes the pair codes of the rows of one stripe into its `bytes` (zeroed).
    pub(crate) fn pack_stripe(self, format: Format, rows: &[&[u8]], bytes: &mut [u8]) {
        match self {
            Self::Dense | Self::BytePerPair => {
                rows.iter().for_each(|codes| pack_row(self.pair_bits(format) as usize, codes, bytes));
            }
            Self::Rows16 => rows16::pack(format.fields(), rows, bytes),
        }
    }
}

/// Writes pair codes `stride` bits apart.
fn pack_row(stride: usize, codes: &[u8], bytes: &mut [u8]) {
    for (i, &code) in codes.iter().enumerate() {
        let bit = i * stride;
        let shifted = u16::from(code) << (bit % 8);
        bytes[bit / 8] |= shifted as u8;
        if shifted > 0xff {
            bytes[bit / 8 + 1] |= (shifted >> 8) as u8;
        }
    }
}

impl Level for Layout {
    const AXIS: &'static str = "layout";
    const ALL: &'static [Self] = &[Self::Dense, Self::BytePerPair, Self::Rows16];

    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::BytePerPair => "byte_per_pair",
            Self::Rows16 => "rows16",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Dense => "a bit stream of pair codes: 8, 7 or 6 bits a pair",
            Self::BytePerPair => "one byte a pair, as published (w3p5 only): 4.0 bits a weight before scales",
            Self::Rows16 => "sixteen rows interleaved, a row in each lane of a vector; as dense as dense",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
