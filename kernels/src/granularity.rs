//! How many weights share a scale. Data, not code: one kernel serves every granularity.

use std::fmt;

use crate::level::Level;

/// Output rows that share a scale under [`Granularity::Tile64`].
pub const TILE_ROWS: usize = 64;

/// Widest group of an integer sum, and of activations that share a scale.
pub const MAX_SEGMENT: usize = 128;

/// Which weights share a scale.
///
/// The integer sums always run over *segments* of at most 128 weights, in ascending K; a coarser
/// granularity reuses one scale for many segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Granularity {
    /// Groups of 32 along K.
    Group32,
    /// Groups of 64 along K.
    Group64,
    /// Groups of 128 along K.
    Group128,
    /// One scale for each output row.
    Channel,
    /// One scale for 64 output rows.
    Tile64,
}

impl Granularity {
    /// Weights of one integer sum: the group, or 128 where the scale covers more.
    pub const fn segment(self) -> usize {
        match self {
            Self::Group32 => 32,
            Self::Group64 => 64,
            Self::Group128 | Self::Channel | Self::Tile64 => MAX_SEGMENT,
        }
    }

    /// Scales stored for a matrix of `rows` rows of `segments` segments.
    pub const fn scale_count(self, rows: usize, segments: usize) -> usize {
        match self {
            Self::Group32 | Self::Group64 | Self::Group128 => rows * segments,
            Self::Channel => rows,
            Self::Tile64 => rows.div_ceil(TILE_ROWS),
        }
    }

    /// Index of the scale of a segment of a row.
    pub const fn scale_index(self, row: usize, segment: usize, segments: usize) -> usize {
        match self {
            Self::Group32 | Self::Group64 | Self::Group128 => row * segments + segment,
            Self::Channel => row,
            Self::Tile64 => row / TILE_ROWS,
        }
    }
}

impl Level for Granularity {
    const AXIS: &'static str = "granularity";
    const ALL: &'static [Self] = &[Self::Group32, Self::Group64, Self::Group128, Self::Channel, Self::Tile64];

    fn name(self) -> &'static str {
        match self {
            Self::Group32 => "g32",
            Self::Group64 => "g64",
            Self::Group128 => "g128",
            Self::Channel => "channel",
            Self::Tile64 => "tile64",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Group32 => "a scale for 32 weights along K",
            Self::Group64 => "a scale for 64 weights along K",
            Self::Group128 => "a scale for 128 weights along K",
            Self::Channel => "a scale for each output row",
            Self::Tile64 => "a scale for 64 output rows, as published",
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
