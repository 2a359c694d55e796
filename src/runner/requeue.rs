//! Blocks that others disturbed are run again: by evidence, never by a time that was measured, and not
//! without end.

use std::collections::BTreeMap;

use crate::{
    plan::Plan,
    record::{
        Phase, Sample,
        block::{BlockRow, BlockStatus},
        row::DISTURBANCES,
    },
};

/// A block with a larger share of disturbed repetitions is invalid. In runs on shared hosts a few percent
/// are disturbed, at worst a quarter.
pub const INVALID_SHARE: f64 = 0.5;

/// Most times that one block is put back.
const OF_A_BLOCK: u32 = 2;

/// Most blocks that are put back in a run, as a share of its blocks: a machine that is never quiet is
/// recorded as it is.
const OF_A_RUN: f64 = 0.25;

/// Most times that blocks are put back in a run of so many blocks.
pub fn cap(blocks: u32) -> u32 {
    (OF_A_RUN * f64::from(blocks)).ceil() as u32
}

/// How often each block was put back, over all sessions of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requeued(BTreeMap<u32, u32>);

impl Requeued {
    /// What the tries so far say.
    pub fn of(tries: &[BlockRow]) -> Self {
        let mut requeued = Self::default();
        tries.iter().filter(|row| row.status == BlockStatus::Requeued).for_each(|row| requeued.add(row.block));
        requeued
    }

    /// Whether `block` may be put back once more in a run of so many `blocks`.
    pub fn may_repeat(&self, block: u32, blocks: u32) -> bool {
        self.0.get(&block).is_none_or(|&times| times < OF_A_BLOCK) && self.0.values().sum::<u32>() < cap(blocks)
    }

    /// Counts one time.
    pub fn add(&mut self, block: u32) {
        *self.0.entry(block).or_default() += 1;
    }
}

/// Timed repetitions among `rows`, of all cells, and how many of them are disturbed. Every metric of a
/// repetition has the same flags, so one of them counts.
pub fn repetitions(plan: &Plan, rows: &[Sample]) -> (u32, u32) {
    let first = |row: &Sample| {
        let workload = plan.workloads.iter().find(|workload| workload.name == row.workload);
        workload.and_then(|workload| workload.metrics().first()) == Some(&row.metric.as_str())
    };
    let counted = || rows.iter().filter(|row| row.phase == Phase::Measure && first(row));
    let disturbed = |row: &&Sample| row.flags.split('+').any(|flag| DISTURBANCES.contains(&flag));
    (counted().count() as u32, counted().filter(disturbed).count() as u32)
}

/// Whether a try at a block is invalid.
pub fn is_disturbed(row: &BlockRow) -> bool {
    f64::from(row.disturbed) > INVALID_SHARE * f64::from(row.repetitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(block: u32, status: BlockStatus, disturbed: u32) -> BlockRow {
        BlockRow { session: 0, block, attempt: 0, status, seconds: 1.0, repetitions: 10, disturbed }
    }

    #[test]
    fn more_than_half_of_the_repetitions_make_a_block_invalid() {
        assert!(!is_disturbed(&row(0, BlockStatus::Complete, 5)));
        assert!(is_disturbed(&row(0, BlockStatus::Complete, 6)));
        assert!(!is_disturbed(&BlockRow { repetitions: 0, ..row(0, BlockStatus::Complete, 0) }));
    }

    #[test]
    fn repeats_end_for_each_block_and_for_the_run() {
        assert_eq!([cap(2), cap(10), cap(20)], [1, 3, 5]);
        let mut requeued = Requeued::default();
        assert!(requeued.may_repeat(3, 20));
        requeued.add(3);
        requeued.add(3);
        assert!(!requeued.may_repeat(3, 20) && requeued.may_repeat(4, 20));
        [0, 1, 2].into_iter().for_each(|block| requeued.add(block));
        assert!(!requeued.may_repeat(4, 20), "five of twenty");
        let tries =
            [row(3, BlockStatus::Requeued, 6), row(3, BlockStatus::Complete, 9), row(3, BlockStatus::Failed, 1)];
        let mut once = Requeued::default();
        once.add(3);
        assert_eq!(Requeued::of(&tries), once);
    }
}
