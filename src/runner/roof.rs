//! Read bandwidth, measured beside the samples: on shared machines it moves.

use std::{hint, ops::Range, time::Instant};

use septet_kernels::{
    PagedBytes, Pages,
    roof::{ReadWay, read},
};

use crate::{plan::Residency, pool::ThreadPool, stats::summary};

/// Bytes of one DRAM measurement.
const WINDOW: usize = 256 << 20;

/// Bytes of the smallest pages.
const PAGE: usize = 4096;

/// The buffer begins at a multiple of this many bytes, as weights do at a cache line: a large
/// allocation begins 16 bytes behind a page, and every wide load would straddle two lines.
const ALIGNMENT: usize = PAGE;

/// How long a cache-resident measurement repeats its reads, in nanoseconds.
const CACHE_NANOSECONDS: u64 = 400_000;

/// Measurements of each way to read before one is chosen.
const TRIALS: usize = 5;

/// Measures the read bandwidth of the memory that holds a workload's weights.
///
/// Which way to read is the fastest depends on the machine and on the number of threads, and may depend on
/// the pages that are read. Both are chosen once, by medians, and every measurement after that is one read in this way: the best of several
/// single reads would be a maximum of noise, above what any of them sustains.
pub struct Roof {
    residency: Residency,
    way: ReadWay,
    /// DRAM: several windows, read in turn, so that a window has left the caches when its turn
    /// comes. Cache: as many bytes as the workload's weights.
    buffer: PagedBytes,
    next: usize,
    /// GB/s of the latest measurement.
    latest: f64,
}

impl Roof {
    /// A roof for weights of `bytes` bytes that the threads of `pool` read; in DRAM, beyond a last-level
    /// cache of `cache` bytes; from whichever of `pages` is read the fastest. It is measured once.
    pub fn new(residency: Residency, bytes: usize, cache: usize, pool: &ThreadPool, pages: &[Pages]) -> Self {
        let length = Self::buffer_bytes(residency, bytes, cache);
        let of_pages = |&pages: &Pages| {
            let mut buffer = PagedBytes::zeroed(length, ALIGNMENT, pages);
            // Written, not only allocated: pages that were never written all read the same zero page.
            buffer.fill(0x5a);
            Self { residency, way: ReadWay::Plain, buffer, next: 0, latest: 0.0 }
        };
        let roofs = pages.iter().map(of_pages).collect();
        let mut roof = Self::fastest(roofs, pool).unwrap_or_else(|| of_pages(&Pages::System));
        roof.measure(pool);
        roof
    }

    /// Bytes of the buffer that a roof reads.
    pub fn buffer_bytes(residency: Residency, bytes: usize, cache: usize) -> usize {
        match residency {
            Residency::Cache => bytes.next_multiple_of(PAGE),
            Residency::Dram => (2 * cache).next_multiple_of(WINDOW).max(4 * WINDOW),
        }
    }

    /// Of `roofs` the one with the highest median, read in the way that has it; trials of all roofs and
    /// ways take turns.
    fn fastest(mut roofs: Vec<Self>, pool: &ThreadPool) -> Option<Self> {
        let ways = || ReadWay::ALL.into_iter();
        let mut speeds: Vec<(usize, ReadWay, Vec<f64>)> =
            (0..roofs.len()).flat_map(|roof| ways().map(move |way| (roof, way, Vec::new()))).collect();
        for _ in 0..TRIALS {
            for (roof, way, speeds) in &mut speeds {
                speeds.push(roofs[*roof].read(pool, *way));
            }
        }
        let median = |speeds: &[f64]| summary::median(speeds).unwrap_or(0.0);
        let (roof, way, _) = speeds.iter().max_by(|a, b| median(&a.2).total_cmp(&median(&b.2)))?;
        Some(Self { way: *way, ..roofs.swap_remove(*roof) })
    }

    /// Touches every page that the next measurement reads. A host may take away what was not read for seconds, and
    /// would give it back during the measurement. A line of each page may be in a cache then: a read of memory
    /// becomes faster by a sixty-fourth at most.
    pub fn touch(&self, pool: &ThreadPool) {
        let bytes = &self.buffer[self.window()];
        let part = bytes.len().div_ceil(pool.threads()).next_multiple_of(PAGE);
        pool.run(&|worker| {
            let part = bytes.chunks(part).nth(worker).unwrap_or_default();
            hint::black_box(part.iter().step_by(PAGE).fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        });
    }

    /// Read bandwidth now, in GB/s.
    pub fn measure(&mut self, pool: &ThreadPool) -> f64 {
        self.latest = self.read(pool, self.way);
        self.latest
    }

    /// What the latest measurement found, in GB/s: that of [`Roof::new`], or the last one since.
    pub fn latest(&self) -> f64 {
        self.latest
    }

    /// What the next measurement reads.
    fn window(&self) -> Range<usize> {
        match self.residency {
            Residency::Cache => 0..self.buffer.len(),
            Residency::Dram => self.next..self.next + WINDOW,
        }
    }

    fn read(&mut self, pool: &ThreadPool, way: ReadWay) -> f64 {
        let window = self.window();
        // Windows in turn, or a read would find what the one before it left in the caches.
        self.next = (self.next + WINDOW) % self.buffer.len();
        let bytes = &self.buffer[window];
        if self.residency == Residency::Cache {
            read_in_parts(pool, bytes, way);
        }
        let clock = Instant::now();
        let mut passes = 0u64;
        loop {
            read_in_parts(pool, bytes, way);
            passes += 1;
            let elapsed = clock.elapsed().as_nanos() as u64;
            if self.residency == Residency::Dram || elapsed >= CACHE_NANOSECONDS {
                return (passes * bytes.len() as u64) as f64 / elapsed as f64;
            }
        }
    }
}

/// Every worker reads its own contiguous part.
fn read_in_parts(pool: &ThreadPool, bytes: &[u8], way: ReadWay) {
    let part = bytes.len().div_ceil(pool.threads());
    pool.run(&|worker| {
        let start = (worker * part).min(bytes.len());
        read(&bytes[start..(start + part).min(bytes.len())], way);
    });
}
