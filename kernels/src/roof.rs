//! The read roof: the same bytes as a kernel, none of its arithmetic.

use crate::{gemv::PREFETCH_DISTANCE, isa::Isa};

/// Reads all of `bytes` (up to 511 at the end excepted) with the widest vectors of this CPU, with
/// or without software prefetch. The caller holds the clock.
pub fn read(bytes: &[u8], prefetching: bool) {
    let distance = prefetching.then_some(PREFETCH_DISTANCE);
    crate::isa::read_all(Isa::best(), bytes, distance);
}
