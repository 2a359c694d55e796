//! What the machine does at best around a repetition: the read bandwidth that bounds a text, the int8 products that
//! bound a prompt.

use std::time::Duration;

use septet_kernels::{Isa, Pages};

use crate::doctor::peak::Loop;
use crate::plan::Residency;
use crate::pool::ThreadPool;
use crate::runner::{machine, roof::Roof};

/// How long the multipliers are measured.
const PEAK: Duration = Duration::from_millis(20);

/// Ceilings of one model on the threads of one pool.
pub struct Ceilings {
    /// Of the memory or the cache that holds them; nothing where they may lie in either.
    roof: Option<Roof>,
    /// Nothing without vectors.
    peak: Option<Loop>,
}

/// Ceilings at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Now {
    /// Read bandwidth, GB/s.
    pub roof: Option<f64>,
    /// int8 products, GMAC/s.
    pub peak: Option<f64>,
}

impl Ceilings {
    /// For weights, keys and values of `bytes` bytes together that `isa` multiplies on the threads of `pool`.
    pub fn new(bytes: usize, isa: Isa, pool: &ThreadPool) -> Self {
        let cache = machine::last_level_cache();
        let residency = match bytes {
            _ if bytes >= 4 * cache => Some(Residency::Dram),
            _ if bytes <= cache / 2 => Some(Residency::Cache),
            _ => None,
        };
        Self {
            roof: residency.map(|residency| Roof::new(residency, bytes, cache, pool, &[Pages::System])),
            peak: Loop::of_int8(isa, pool, PEAK),
        }
    }

    /// Measures them.
    pub fn measure(&mut self, pool: &ThreadPool) -> Now {
        // A repetition may take minutes.
        let measured = |roof: &mut Roof| {
            roof.touch(pool);
            roof.measure(pool)
        };
        Now { roof: self.roof.as_mut().map(measured), peak: self.peak.as_ref().map(|peak| peak.rate(pool)) }
    }
}

impl Now {
    /// The means of both ends of a bracket.
    pub fn between(self, other: Self) -> Self {
        let mean = |(a, b): (f64, f64)| (a + b) / 2.0;
        Self { roof: self.roof.zip(other.roof).map(mean), peak: self.peak.zip(other.peak).map(mean) }
    }
}
