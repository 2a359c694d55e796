//! The published layout of 3.5-bit weights: a septet in each byte, its top bit unused.

use super::{Layout, PairLayout};

/// The layout `byte_per_pair` as a type.
pub struct BytePerPair;

impl PairLayout for BytePerPair {
    const LAYOUT: Layout = Layout::BytePerPair;
}
