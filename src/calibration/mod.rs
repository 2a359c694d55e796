//! What a gate finds where the truth is known: identical arms, and arms that are slower by a known part.
//!
//! A calibration runs many short blocks. Each is what a pair is to a gate: two fresh processes that take turns
//! at every repetition. Side A runs the reference in place of every arm, side B the arm itself. [`Settings`]
//! fixes all of it before the first block: the arms, the order of each block, and the phases
//! ([`Settings::phase`]). In the phase of interference another process ([`load`]) loads one CPU in bursts.
//! [`block`] is one side of a block, [`session`] the parent of both. Rows go to `calibration.csv`
//! ([`crate::record::calibration`]); [`crate::report::calibration`] cuts them into windows and counts verdicts.
//! Nothing here computes a statistic.

pub mod block;
pub mod load;
pub mod session;
mod spin;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use septet_kernels::{Format, Isa, Layout, Prefetch, SplitMix64, Unpack};
use serde::{Deserialize, Serialize};

use crate::{
    arm::{Arm, ArmFormat, AssignError},
    plan::{Residency, Source, Workload},
    record::Side,
};

/// Version of `calibration.json` and `calibration.csv`.
pub const CALIBRATION_SCHEMA: u32 = 2;

/// The arm that side A runs in place of each of the others.
pub const REFERENCE: &str = "a";

/// The same arm once more.
pub const AGAIN: &str = "a_again";

/// Injected slow-downs: what one hopes to find begins at the margin of 1 %.
const SLOWDOWNS: [f64; 5] = [0.01, 0.02, 0.03, 0.05, 0.10];

/// Contrasts of one family in Holm's correction: about as many as a table of an experiment has.
const FAMILY: usize = 10;

/// The matrix: within any second-level cache, since in a larger one processes differ by where their pages lie.
const ROWS: usize = 128;
const COLS: usize = 2048;

/// Turns of an arm on each side of a block, and products of a turn: a fraction of a millisecond.
const TURNS: u32 = 12;
const PRODUCTS: u32 = 32;

/// Windows of consecutive blocks of one phase. Windows of half and of twice the size nest in it.
const CHUNK_WINDOWS: u32 = 2;

/// Of so many chunks one, chosen by the seed, is of the phase of interference.
const CHUNKS_OF_A_GROUP: u32 = 4;

/// Blocks are a multiple of this many windows, so that both phases are whole.
pub const WINDOWS_OF_A_GROUP: u32 = CHUNK_WINDOWS * CHUNKS_OF_A_GROUP;

/// What happens beside the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing that this program does.
    Quiet,
    /// Another process loads one CPU in bursts.
    Interference,
}

impl Phase {
    pub const ALL: [Self; 2] = [Self::Quiet, Self::Interference];

    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Interference => "interference",
        }
    }
}

/// One arm of every block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationArm {
    /// A column value: `a`, `a_again`, `slower_2`, `prefetch_32k`.
    pub name: String,
    /// What the reference would be called in a run, with the change of this arm.
    pub arm: String,
    pub factors: BTreeMap<String, String>,
    /// Time that a spin adds to each product, as a part of the product's own; none for an arm whose
    /// effect is not known.
    pub slowdown: Option<f64>,
}

/// How long a block takes, from the blocks before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pilot {
    /// Seconds of one block.
    pub block_seconds: f64,
    /// Seconds of it before the first arm runs: what a fresh process costs.
    pub setup_seconds: f64,
}

/// Everything that is fixed before the first block: `calibration.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub schema: u32,
    /// `<UTC date and time>-<hash>`.
    pub run_id: String,
    pub blocks: u32,
    /// Blocks of a window, the unit that verdicts are counted over.
    pub window: u32,
    pub seed: u64,
    pub margin: f64,
    pub confidence: f64,
    /// Contrasts in the family of each window; all but one are taken to show nothing.
    pub family: usize,
    pub rows: usize,
    pub cols: usize,
    /// Numbers of threads; every arm runs on each.
    pub threads: Vec<usize>,
    /// Repetitions of each arm on each side that count.
    pub turns: u32,
    /// Products of a turn.
    pub products: u32,
    pub arms: Vec<CalibrationArm>,
    pub pilot: Option<Pilot>,
    /// As in the manifest of a run.
    pub environment: BTreeMap<String, String>,
}

/// What is chosen on the command line, or by the machine.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub blocks: u32,
    pub window: u32,
    /// Cores that the larger number of threads stands for.
    pub cores: usize,
}

impl Settings {
    /// The settings of a new calibration on this machine.
    pub fn new(size: Size, run_id: String, environment: BTreeMap<String, String>) -> Self {
        let Size { blocks, window, cores } = size;
        let mut threads = vec![1, cores];
        threads.dedup();
        Self {
            schema: CALIBRATION_SCHEMA,
            run_id,
            blocks,
            window,
            seed: 20_261_121,
            margin: 0.01,
            confidence: 0.95,
            family: FAMILY,
            rows: ROWS,
            cols: COLS,
            threads,
            turns: TURNS,
            products: PRODUCTS,
            arms: arms(),
            pilot: None,
            environment,
        }
    }

    /// The phase of a block. Chunks of two windows are of one phase; of four chunks one, chosen by the
    /// seed, is of interference.
    pub fn phase(&self, block: u32) -> Phase {
        let chunk = block / self.chunk();
        let (group, within) = (chunk / CHUNKS_OF_A_GROUP, chunk % CHUNKS_OF_A_GROUP);
        let chosen = self.random(group, u64::MAX).next() % u64::from(CHUNKS_OF_A_GROUP);
        if chosen == u64::from(within) { Phase::Interference } else { Phase::Quiet }
    }

    /// Blocks of a chunk.
    pub fn chunk(&self) -> u32 {
        CHUNK_WINDOWS * self.window
    }

    /// The arms that are compared with the reference.
    pub fn compared(&self) -> &[CalibrationArm] {
        &self.arms[1..]
    }

    /// The rows of a whole block.
    pub fn rows_of_a_block(&self) -> usize {
        self.compared().len() * self.threads.len()
    }

    /// The side that begins a block.
    pub fn first(&self, block: u32) -> Side {
        if block.is_multiple_of(2) { Side::A } else { Side::B }
    }

    /// The order of the arms in a block on one number of threads, the same on both sides, as indices of
    /// [`Settings::compared`].
    pub fn order(&self, block: u32, threads: usize) -> Vec<usize> {
        let mut random = self.random(block, threads as u64);
        let mut order: Vec<usize> = (0..self.compared().len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next() % (last as u64 + 1)) as usize);
        }
        order
    }

    /// The matrix product of all arms, on so many threads.
    pub fn workload(&self, threads: usize) -> Workload {
        Workload {
            name: format!("product-{threads}t"),
            title: format!("{} × {}, weights in a cache", self.rows, self.cols),
            residency: Residency::Cache,
            unit: "product".to_owned(),
            threads,
            repetitions: self.turns,
            tokens: self.products,
            prompt_tokens: None,
            source: Source::Matrix { rows: self.rows, cols: self.cols, columns: 1, copies: 1, seed: self.seed },
        }
    }

    /// The arms as the runner knows them.
    ///
    /// # Errors
    /// A level that this program does not have.
    pub fn kernels(&self) -> Result<Vec<Arm>, AssignError> {
        self.arms.iter().map(|arm| Arm::from_factors(&arm.factors)).collect()
    }

    /// What must be true of a file before later code may rely on it.
    ///
    /// # Errors
    /// What is out of range, and what is valid.
    pub fn check(&self) -> Result<(), String> {
        let names: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        let share = |value: f64| value > 0.0 && value < 1.0;
        if self.window < 2 {
            Err(format!("`window` is {}, expected at least 2: one block has no spread", self.window))
        } else if self.blocks == 0 || !self.blocks.is_multiple_of(WINDOWS_OF_A_GROUP * self.window) {
            let group = WINDOWS_OF_A_GROUP * self.window;
            Err(format!("`blocks` is {}, expected a multiple of {group}, which is 8 windows", self.blocks))
        } else if !share(self.margin) || !share(self.confidence) {
            Err(format!("`margin` and `confidence` are {} and {}, expected 0 to 1", self.margin, self.confidence))
        } else if self.family == 0 || self.turns == 0 || self.products == 0 || self.threads.is_empty() {
            Err("`family`, `turns`, `products` or `threads` is nothing, expected at least 1".to_owned())
        } else if names.first() != Some(&REFERENCE) || !names.contains(&AGAIN) {
            Err(format!("`arms` are {}, expected `{REFERENCE}` first, and `{AGAIN}`", names.join(", ")))
        } else {
            Ok(())
        }
    }

    fn random(&self, number: u32, of: u64) -> SplitMix64 {
        SplitMix64::new(self.seed ^ (u64::from(number) << 32) ^ of.wrapping_mul(0x9e37_79b9))
    }
}

/// The reference, itself again, itself with a spin, and itself with prefetches too far ahead.
fn arms() -> Vec<CalibrationArm> {
    let reference = Arm {
        format: ArmFormat::Uniform(Format::W3p5),
        layout: Layout::Rows16,
        unpack: Unpack::BitParallel,
        isa: Isa::best(),
        prefetch: Prefetch::Software,
        ..Arm::BASELINE
    };
    let arm = |name: String, arm: Arm, slowdown| CalibrationArm {
        name,
        arm: arm.to_string(),
        factors: arm.factors(),
        slowdown,
    };
    let slower = SLOWDOWNS.map(|part| arm(format!("slower_{}", (100.0 * part).round()), reference, Some(part)));
    let far = Arm { prefetch: Prefetch::Software32K, ..reference };
    let same = [REFERENCE, AGAIN].map(|name| arm(name.to_owned(), reference, Some(0.0)));
    same.into_iter().chain(slower).chain([arm("prefetch_32k".to_owned(), far, None)]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn settings(blocks: u32, window: u32) -> Settings {
        Settings::new(Size { blocks, window, cores: 2 }, "test".to_owned(), BTreeMap::new())
    }

    #[test]
    fn a_quarter_of_the_blocks_is_of_interference_in_whole_chunks() {
        let settings = settings(4000, 20);
        assert_eq!(settings.check(), Ok(()));
        let phases: Vec<Phase> = (0..4000).map(|block| settings.phase(block)).collect();
        assert!(phases.chunks(40).all(|chunk| chunk.iter().all(|phase| *phase == chunk[0])));
        let interference = |phases: &[Phase]| phases.iter().filter(|phase| **phase == Phase::Interference).count();
        assert!(phases.chunks(160).all(|group| interference(group) == 40));
        let places: BTreeSet<usize> =
            phases.chunks(160).filter_map(|group| group.iter().position(|p| *p == Phase::Interference)).collect();
        assert_eq!(places, BTreeSet::from([0, 40, 80, 120]), "the seed chooses");
    }

    #[test]
    fn orders_are_permutations_that_differ() {
        let settings = settings(16, 2);
        let orders: Vec<Vec<usize>> = (0..16).flat_map(|b| [1, 2].map(|t| settings.order(b, t))).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..settings.compared().len()));
        }
        assert!(orders.iter().collect::<BTreeSet<_>>().len() > 30);
        assert_eq!(settings.order(3, 1), settings.order(3, 1));
        assert_eq!([0, 1, 2].map(|block| settings.first(block)), [Side::A, Side::B, Side::A]);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        assert!(settings(4000, 1).check().unwrap_err().contains("`window` is 1"));
        assert!(settings(4000, 30).check().unwrap_err().contains("a multiple of 240"));
        assert!(settings(0, 20).check().is_err());
        let reference = Settings { arms: arms().split_off(1), ..settings(16, 2) };
        assert!(reference.check().unwrap_err().contains("expected `a` first"));
    }

    #[test]
    fn every_arm_can_run_here() {
        let settings = settings(16, 2);
        for arm in settings.kernels().unwrap() {
            assert_eq!(arm.infeasible(), None);
        }
        assert_eq!(settings.threads, [1, 2]);
        let names: Vec<&str> = settings.arms.iter().map(|arm| arm.name.as_str()).collect();
        let expected = ["a", "a_again", "slower_1", "slower_2", "slower_3", "slower_5", "slower_10", "prefetch_32k"];
        assert_eq!(names, expected);
    }
}
