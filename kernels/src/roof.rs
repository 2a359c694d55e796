//! The roofs of a kernel: the same bytes without its arithmetic, and arithmetic without bytes.
//!
//! Functions here say how much they did; the caller holds the clock.

use crate::{
    error::Missing,
    isa::{
        Isa, enter_vectors,
        peak::{ACCUMULATORS, Dots, MultiplyAdds, Ors},
    },
};

/// A way to read bytes as fast as can be. Which one is fastest depends on the machine: one long stream
/// feeds some hardware prefetchers best, others follow several at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadWay {
    /// From the first byte to the last.
    Plain,
    /// Four parts side by side, a line of each in turn.
    Streams,
    /// As `Streams`, each line with a prefetch into the second-level cache, in all parts together
    /// [`PREFETCH_DISTANCE`](crate::PREFETCH_DISTANCE) bytes ahead.
    Prefetching,
}

impl ReadWay {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Streams, Self::Prefetching];

    /// What the loads are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain loads",
            Self::Streams => "four-stream loads",
            Self::Prefetching => "prefetching four-stream loads",
        }
    }
}

/// Reads all of `bytes` (up to 2047 at the end excepted) with the widest vectors of this CPU.
pub fn read(bytes: &[u8], way: ReadWay) {
    crate::isa::read_all(Isa::best(), bytes, way);
}

/// Multiplies bytes in registers with the dot product of `isa`, `iterations` times on each of
/// twelve accumulators; the number of multiply-accumulates. Where sums of products are of 16 bits,
/// they are widened after eight products, as seldom as in GEMM.
///
/// # Errors
/// Where this CPU has no such vectors; the scalar set has none anywhere.
pub fn int8_peak(isa: Isa, iterations: u64) -> Result<u64, Missing> {
    let ran = enter_vectors(isa, Dots { iterations });
    done(ran, isa, iterations * (ACCUMULATORS * isa.vector_bytes()) as u64)
}

/// Takes bitwise ORs in registers with the vectors of `isa`, `iterations` times on each of twelve accumulators;
/// the number of vector instructions. As many are issued as the core has units for the plainest of them.
///
/// # Errors
/// As [`int8_peak`].
pub fn vector_issue(isa: Isa, iterations: u64) -> Result<u64, Missing> {
    let ran = enter_vectors(isa, Ors { iterations });
    done(ran, isa, iterations * ACCUMULATORS as u64)
}

/// As [`int8_peak`], with fused multiply-adds of f32; the number of floating-point operations, two
/// for each multiply-add.
///
/// # Errors
/// As [`int8_peak`].
pub fn f32_peak(isa: Isa, iterations: u64) -> Result<u64, Missing> {
    let ran = enter_vectors(isa, MultiplyAdds { iterations });
    done(ran, isa, 2 * iterations * (ACCUMULATORS * isa.vector_bytes() / size_of::<f32>()) as u64)
}

fn done(ran: bool, isa: Isa, operations: u64) -> Result<u64, Missing> {
    if ran { Ok(operations) } else { Err(Missing { isa, needs: isa.needs() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;

    #[test]
    fn peaks_count_their_operations_or_name_what_is_missing() {
        assert!(int8_peak(Isa::Scalar, 1).is_err());
        for &isa in Isa::ALL.iter().filter(|isa| **isa != Isa::Scalar && isa.is_available()) {
            let bytes = isa.vector_bytes() as u64;
            assert_eq!(int8_peak(isa, 5), Ok(5 * 12 * bytes));
            assert_eq!(f32_peak(isa, 5), Ok(5 * 12 * 2 * bytes / 4));
            assert_eq!(vector_issue(isa, 5), Ok(5 * 12));
        }
    }
}
