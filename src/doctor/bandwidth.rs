//! Read bandwidth of memory and of each cache level, on each number of threads.

use std::thread;

use septet_kernels::roof::{ReadWay, read};

use super::{
    Ceiling, Effort, Quantity,
    effort::{passes, seconds},
};
use crate::{
    plan::thread_counts,
    pool::ThreadPool,
    runner::machine::{self, Cache},
    stats::summary::median,
};

/// Parts begin at pages: a vector load that straddles two cache lines counts twice.
const ALIGN: usize = 4096;

/// Bandwidth of every cache level that the machine tells, and of memory.
pub fn measure(effort: &Effort) -> Vec<Ceiling> {
    measure_on(&thread_counts(machine::cores()), effort)
}

/// The same on these numbers of threads.
pub fn measure_on(counts: &[usize], effort: &Effort) -> Vec<Ceiling> {
    let caches = machine::caches();
    let size = buffer_bytes(machine::last_level_cache(), machine::available_memory(), effort);
    let mut buffer = vec![0; size + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN).min(ALIGN);
    let buffer = &mut buffer[start..start + size];
    touch(buffer, effort.window, machine::cores());

    let slice = effort.slice(2 * caches.len() * counts.len());
    let mut ceilings = Vec::new();
    for cache in &caches {
        for &threads in counts {
            ceilings.push(with_pool(&cache.name, threads, |pool| of_cache(cache, buffer, pool, effort, slice)));
        }
    }
    if caches.is_empty() {
        let (reason, remedy) = ("the system does not tell the sizes of the caches", "run on Linux with /sys mounted");
        ceilings.push(Ceiling::unavailable(Quantity::ReadBandwidth, "caches", 1, reason, remedy));
    }
    for &threads in counts {
        ceilings.push(with_pool("DRAM", threads, |pool| of_memory(buffer, pool, effort)));
    }
    ceilings
}

/// `measure` on a pool of `threads`, or the reason why there is none.
fn with_pool(place: &str, threads: usize, measure: impl FnOnce(&ThreadPool) -> Ceiling) -> Ceiling {
    match ThreadPool::bound(threads) {
        Ok(pool) => measure(&pool),
        Err(error) => {
            let (reason, remedy) = (format!("no threads: {error}"), "allow more threads (ulimit -u)");
            Ceiling::unavailable(Quantity::ReadBandwidth, place, threads, reason, remedy)
        }
    }
}

/// Bytes to read from: what the effort asks for beside a last-level cache of `cache` bytes, within
/// half of the free memory.
fn buffer_bytes(cache: usize, available: Option<usize>, effort: &Effort) -> usize {
    let wanted = (effort.caches * cache).max(effort.least_buffer).next_multiple_of(effort.window);
    let allowed = available.unwrap_or(usize::MAX) / 2;
    if wanted <= allowed { wanted } else { allowed / (4 * ALIGN) * (4 * ALIGN) }
}

/// Writes every page, each part of a window by a thread of its own: pages that were never written
/// all read the same zero page, and on machines with several memories a page lies near its writer.
fn touch(buffer: &mut [u8], window: usize, threads: usize) {
    for window in buffer.chunks_mut(window) {
        let part = window.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            for part in window.chunks_mut(part) {
                scope.spawn(|| part.fill(0x5a));
            }
        });
    }
}

/// Every worker reads its own bytes again and again.
fn of_cache(cache: &Cache, buffer: &[u8], pool: &ThreadPool, effort: &Effort, slice: std::time::Duration) -> Ceiling {
    let threads = pool.threads();
    let half = cache.bytes / 2 / threads.min(cache.sharers);
    let bytes = half.min(effort.largest_part) / ALIGN * ALIGN;
    if bytes == 0 || bytes * threads > buffer.len() {
        let (reason, remedy) = ("half of this level does not fit half of the free memory", "free memory");
        return Ceiling::unavailable(Quantity::ReadBandwidth, &cache.name, threads, reason, remedy);
    }
    let rates = ReadWay::ALL.map(|way| {
        let work = |passes| {
            pool.run(&|worker| {
                for _ in 0..passes {
                    read(&buffer[worker * bytes..][..bytes], way);
                }
            });
        };
        let passes = passes(slice, work);
        let total = passes as f64 * (bytes * threads) as f64;
        let rates: Vec<f64> = (0..effort.repetitions).map(|_| total / seconds(|| work(passes)) / 1e9).collect();
        (way, rates)
    });
    let (way, rates) = fastest(rates);
    let name = way.name();
    let how = format!("{name}, {} of {} for each thread", size(bytes), size(cache.bytes));
    Ceiling::measured(Quantity::ReadBandwidth, &cache.name, threads, &rates, how)
}

/// Every worker reads its part of one window after the other.
fn of_memory(buffer: &[u8], pool: &ThreadPool, effort: &Effort) -> Ceiling {
    let threads = pool.threads();
    // Where memory is short, four windows still take turns.
    let window = effort.window.min(buffer.len() / 4);
    if window < ALIGN * threads {
        let (reason, remedy) = ("there is next to no free memory", "free at least 2 GiB");
        return Ceiling::unavailable(Quantity::ReadBandwidth, "DRAM", threads, reason, remedy);
    }
    let part = window.div_ceil(threads).next_multiple_of(64);
    let mut windows = buffer.chunks_exact(window).cycle();
    let mut rates = ReadWay::ALL.map(|way| (way, Vec::new()));
    // The ways take turns as well: a host whose bandwidth moves moves it for all.
    for _ in 0..effort.repetitions {
        for (way, rates) in &mut rates {
            let Some(window) = windows.next() else { continue };
            let seconds = seconds(|| {
                pool.run(&|worker| {
                    let start = (worker * part).min(window.len());
                    read(&window[start..(start + part).min(window.len())], *way);
                });
            });
            rates.push(window.len() as f64 / seconds / 1e9);
        }
    }
    let (way, rates) = fastest(rates);
    let name = way.name();
    let cache = machine::last_level_cache();
    let mut how = format!("{name}, windows of {} in turn from {}", size(window), size(buffer.len()));
    if buffer.len() < (effort.caches * cache).max(effort.least_buffer) {
        let caches = effort.caches;
        how += &format!("; less than {caches} times the last-level cache of {}: caches may help", size(cache));
    }
    Ceiling::measured(Quantity::ReadBandwidth, "DRAM", threads, &rates, how)
}

/// The way whose median rate is highest, with its rates.
fn fastest(rates: [(ReadWay, Vec<f64>); ReadWay::ALL.len()]) -> (ReadWay, Vec<f64>) {
    let median = |rates: &[f64]| median(rates).unwrap_or(0.0);
    let fastest = rates.into_iter().max_by(|(_, a), (_, b)| median(a).total_cmp(&median(b)));
    fastest.unwrap_or((ReadWay::Plain, Vec::new()))
}

/// Bytes in the largest unit that keeps them readable.
fn size(bytes: usize) -> String {
    if bytes < 10 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_exceeds_the_cache_within_the_memory() {
        let bytes = |cache, available| buffer_bytes(cache, available, &Effort::FULL);
        assert_eq!(bytes(32 << 20, Some(64 << 30)), 1 << 30);
        assert_eq!(bytes(480 << 20, Some(64 << 30)), 2 << 30);
        assert_eq!(bytes(480 << 20, Some(2 << 30)), 1 << 30);
        assert_eq!(bytes(480 << 20, Some(0)), 0);
        assert_eq!(bytes(32 << 20, None), 1 << 30);
        assert_eq!(buffer_bytes(32 << 20, None, &Effort::BLOCK), 256 << 20);
        assert_eq!(buffer_bytes(480 << 20, None, &Effort::BLOCK), 960 << 20);
    }

    #[test]
    fn the_fastest_way_is_reported() {
        let [plain, streams, prefetching] = ReadWay::ALL;
        let rates = [(plain, vec![1.0, 9.0]), (streams, vec![6.0, 6.0]), (prefetching, vec![])];
        assert_eq!(fastest(rates), (streams, vec![6.0, 6.0]));
    }
}
