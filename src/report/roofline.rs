//! Where each kernel stands below what the machine can do (Williams, Waterman and Patterson,
//! "Roofline: An Insightful Visual Performance Model for Multicore Architectures", Communications of
//! the ACM 52(4), 2009).
//!
//! A product does two operations for each weight and column, and reads each stored byte of its
//! weights once: their quotient is its *intensity*. It cannot be faster than the multipliers, nor than
//! its intensity times the bandwidth of the memory that holds the weights; the lower of the two binds.
//!
//! Bandwidth and clock of a shared host move within seconds, so the share of the binding ceiling is taken
//! within each repetition, from a bandwidth and a peak measured around it. A quotient of medians over blocks
//! may pair the fast minutes of one with the slow minutes of the other.
//!
//! Weights that lie in a cache arrive faster than a kernel unpacks them, and what it issues to unpack them is no
//! operation of the roofline. So there is an *issue bound* beside it: the vector instructions that the core
//! issues in a second, at most, over those that the kernel's inner loop has for each weight. The first is
//! measured at the beginning of each block by a loop of the plainest instruction, which every vector unit
//! executes; the second is counted in the disassembled loop, without loads, stores and moves, which
//! take no place in a vector unit. It is an estimate from above: instructions that only some of the units
//! execute, dependences, and everything outside of the loop make it lower.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::Blocks;
use super::ceilings::{CeilingResult, Ceilings, OPERATIONS, level};
use crate::doctor::Quantity;
use crate::plan::{Cell, Residency, Source, Workload};
use crate::record::CellFacts;
use crate::stats::Interval;

/// A kernel on a matrix, beside its ceilings.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub cell_id: String,
    pub threads: usize,
    /// Columns of a product.
    pub columns: usize,
    /// What holds the weights: `DRAM`, or a cache level.
    pub memory: String,
    /// Operations for each stored byte of the weights.
    pub intensity: f64,
    /// 10⁹ operations a second of kernel time: median over blocks, and its interval.
    pub speed: (f64, Interval),
    /// The lower ceiling and the share of it; `None` where no block has a ceiling.
    pub bound: Option<Bound>,
    /// Of weights in a cache; `None` where the issue rate or the instructions of the loop are not known.
    pub issue: Option<Issue>,
}

/// A kernel beside the bound by instruction issue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Issue {
    /// Weights a nanosecond that the core could issue the inner loop for, each counted once for every
    /// column: median over blocks, and its interval.
    pub weights_per_ns: (f64, Interval),
    /// Median over blocks of the kernel's share of it within each block, and its interval.
    pub share: (f64, Interval),
}

/// The ceiling that binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// `DRAM`, a cache level, or `avx2 peak`.
    pub name: String,
    /// Whether the multipliers bind, and not a memory.
    pub is_peak: bool,
    /// Median over blocks of the shares within each block, and its interval.
    pub share: (f64, Interval),
}

/// The kernel of a matrix cell from its kernel times; `None` without one, and for other workloads.
/// `vector_operations` are the vector instructions of its inner loop for each weight, where known.
pub fn standing(
    (cell, facts, workload): (&Cell, &CellFacts, &Workload),
    blocks: &Blocks,
    ceilings: &Ceilings,
    vector_operations: Option<f64>,
    caches: &[(String, u64)],
    confidence: f64,
) -> Option<Standing> {
    let Source::Matrix { .. } = workload.source else { return None };
    let columns = workload.source.columns();
    let operations = OPERATIONS * facts.weights_per_unit as f64 * columns as f64;
    // Operations per ns are 10⁹ a second.
    let speeds: BTreeMap<u32, f64> = blocks.times.iter().map(|(&block, time)| (block, operations / time)).collect();
    let isa = cell.factors.get("isa").map_or("", String::as_str);
    let peak = ceilings.find(workload.threads, Quantity::Int8Dot, isa);
    let memory = match workload.residency {
        Residency::Dram => "DRAM",
        Residency::Cache => home(facts.bytes_per_unit, workload.threads as u64, caches),
    };
    let macs = operations / OPERATIONS;
    let peak_shares: BTreeMap<u32, f64> = if blocks.room.is_empty() {
        peak.map(|peak| of_peak(&speeds, peak)).unwrap_or_default()
    } else {
        blocks.room.iter().map(|(&block, room)| (block, macs / room)).collect()
    };
    let bound = bound(&blocks.roof_share, &peak_shares).and_then(|(binds, shares)| {
        let name = match binds {
            Binds::Memory => memory.to_owned(),
            Binds::Peak => format!("{isa} peak"),
        };
        Some(Bound { name, is_peak: binds == Binds::Peak, share: level(shares.into_iter(), confidence)? })
    });
    let issue_rate = ceilings.find(workload.threads, Quantity::VectorIssue, isa);
    let issue = vector_operations
        .filter(|operations| workload.residency == Residency::Cache && *operations > 0.0)
        .zip(issue_rate)
        .and_then(|(operations, rate)| issue(&speeds, operations, rate, confidence));
    Some(Standing {
        cell_id: cell.id.clone(),
        threads: workload.threads,
        columns,
        memory: memory.to_owned(),
        intensity: operations / facts.bytes_per_unit as f64,
        speed: level(speeds.into_values(), confidence)?,
        bound,
        issue,
    })
}

/// The bound by issue in the blocks with a rate, and the share of it that `speeds` (operations a ns) are.
fn issue(speeds: &BTreeMap<u32, f64>, vector_operations: f64, rate: &CeilingResult, confidence: f64) -> Option<Issue> {
    // Instructions a ns over instructions a weight.
    let bounds = || speeds.keys().filter_map(|block| Some((*block, rate.values.get(block)? / vector_operations)));
    let share = |(block, bound): (u32, f64)| speeds[&block] / OPERATIONS / bound;
    Some(Issue {
        weights_per_ns: level(bounds().map(|(_, bound)| bound), confidence)?,
        share: level(bounds().map(share), confidence)?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binds {
    Memory,
    Peak,
}

/// Shares that `speeds` (operations a ns) are of the peak that their blocks began with.
fn of_peak(speeds: &BTreeMap<u32, f64>, peak: &CeilingResult) -> BTreeMap<u32, f64> {
    let share = |(block, speed): (&u32, &f64)| Some((*block, speed / (OPERATIONS * peak.values.get(block)?)));
    speeds.iter().filter_map(share).collect()
}

/// What binds in most blocks, and in each block the share of what binds there: the larger of the
/// shares of memory and multipliers. Blocks that lack one of the ceilings that others have are left out.
fn bound(memory_shares: &BTreeMap<u32, f64>, peak_shares: &BTreeMap<u32, f64>) -> Option<(Binds, Vec<f64>)> {
    let mut shares = Vec::new();
    let mut by_peak = 0;
    let blocks: BTreeSet<&u32> = memory_shares.keys().chain(peak_shares.keys()).collect();
    for block in blocks {
        let (of_memory, of_peak) = (memory_shares.get(block), peak_shares.get(block));
        if (of_memory.is_none() && !memory_shares.is_empty()) || (of_peak.is_none() && !peak_shares.is_empty()) {
            continue;
        }
        let Some(share) = of_memory.into_iter().chain(of_peak).copied().reduce(f64::max) else { continue };
        by_peak += usize::from(of_peak == Some(&share));
        shares.push(share);
    }
    let binds = if 2 * by_peak > shares.len() { Binds::Peak } else { Binds::Memory };
    (!shares.is_empty()).then_some((binds, shares))
}

/// The smallest cache that holds so many bytes, where the last level is shared by all threads and the
/// others are private; `cache` where the sizes are not known.
fn home(bytes: u64, threads: u64, caches: &[(String, u64)]) -> &str {
    let part = bytes.div_ceil(threads.max(1));
    let private = caches.split_last().map_or(&[][..], |(_, private)| private);
    let found = private.iter().find(|(_, size)| part <= *size).or(caches.last());
    found.map_or("cache", |(name, _)| name.as_str())
}

/// Caches and their bytes, from the fact that the manifest holds: `L1 32 KiB, L2 512 KiB`.
pub fn caches(fact: &str) -> Vec<(String, u64)> {
    let cache = |text: &str| {
        let (name, size) = text.trim().split_once(' ')?;
        Some((name.to_owned(), size.strip_suffix(" KiB")?.parse::<u64>().ok()?.checked_mul(1024)?))
    };
    fact.split(',').filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_block(values: &[f64]) -> BTreeMap<u32, f64> {
        (0..).zip(values.iter().copied()).collect()
    }

    fn peak(values: &[f64]) -> CeilingResult {
        let (quantity, place) = (Quantity::Int8Dot, "avx2".to_owned());
        CeilingResult { threads: 1, quantity, place, values: by_block(values) }
    }

    /// The median of the quotients is 0.5; the quotient of the medians would be 0.2.
    #[test]
    fn shares_are_taken_within_blocks() {
        let of_peak = of_peak(&by_block(&[1.0, 2.0, 9.0]), &peak(&[1.0, 5.0, 5.0]));
        let (binds, shares) = bound(&BTreeMap::new(), &of_peak).expect("a ceiling");
        assert_eq!((binds, &shares[..]), (Binds::Peak, &[0.5, 0.2, 0.9][..]));
        assert_eq!(level(shares.into_iter(), 0.95).map(|(share, _)| share), Some(0.5));
    }

    #[test]
    fn the_lower_ceiling_binds_in_each_block() {
        let memory = by_block(&[0.9, 0.8, 0.1]);
        let (binds, shares) = bound(&memory, &by_block(&[0.5, 0.5, 0.5])).expect("ceilings");
        assert_eq!((binds, shares), (Binds::Memory, vec![0.9, 0.8, 0.5]));
        // A block without a peak that the others have says nothing about the lower of two.
        let (_, shares) = bound(&memory, &by_block(&[0.5, 0.5])).expect("ceilings");
        assert_eq!(shares, [0.9, 0.8]);
        assert_eq!(bound(&BTreeMap::new(), &BTreeMap::new()), None);
    }

    /// 12 instructions a ns over half of one for each weight are 24 weights a ns, or 48 operations.
    #[test]
    fn the_bound_by_issue_is_taken_within_blocks() {
        let rate = peak(&[12.0, 6.0, 12.0]);
        let found = issue(&by_block(&[24.0, 18.0, 12.0, 99.0]), 0.5, &rate, 0.95).expect("three blocks");
        assert_eq!((found.weights_per_ns.0, found.share.0), (24.0, 0.5));
        assert_eq!((found.share.1.low, found.share.1.high), (0.25, 0.75));
        assert_eq!(issue(&by_block(&[24.0]), 0.5, &peak(&[]), 0.95), None);
    }

    #[test]
    fn weights_are_at_home_in_the_smallest_cache_that_holds_them() {
        let caches = caches("L1 32 KiB, L2 512 KiB, L3 32768 KiB");
        let home = |bytes, threads| home(bytes, threads, &caches);
        assert_eq!([home(30 << 10, 1), home(500 << 10, 1), home(500 << 10, 16)], ["L1", "L2", "L1"]);
        assert_eq!([home(600 << 10, 1), home(1 << 30, 2)], ["L3", "L3"]);
        assert_eq!((super::home(1, 1, &[]), super::caches("not exposed")), ("cache", Vec::new()));
    }
}
