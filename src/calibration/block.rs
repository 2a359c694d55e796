//! One side of a block: a fresh process in which every arm, or the reference in its place, has its turns on each
//! number of threads.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    Settings,
    spin::{Slowed, Spin},
};
use crate::{
    arm::Arm,
    record::Side,
    runner::{
        RunError,
        evidence::Evidence,
        parent::Parent,
        stage::{Repetition, Stage},
    },
    stats::summary,
};

/// Turns before the spin is chosen: the first is cold, and a burst beside one moves no median.
const TRIALS: u32 = 4;

/// What the process of a side tells its parent, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The weights are there: seconds since the process began.
    Ready(f64),
    /// One arm on one number of threads.
    Turns(SideTurns),
    /// The side is complete.
    Done,
}

/// What one side of a block has of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideTurns {
    pub threads: usize,
    /// Position in the order of the block.
    pub order: usize,
    /// Time that the spin added to each product.
    pub spin_ns: f64,
    /// Mean time of a product in each turn.
    pub ns: Vec<f64>,
    /// What happened from the first turn to the last.
    pub evidence: Evidence,
    pub flags: Vec<String>,
}

/// Which side of which block of a calibration.
pub struct Block<'a> {
    pub settings: &'a Settings,
    pub block: u32,
    pub side: Side,
    /// When the process began.
    pub began: Instant,
}

impl Block<'_> {
    /// Runs every arm and reports to `parent`. Everything that takes time is done in a turn.
    ///
    /// # Errors
    /// Arms that leave different bits, or a parent that is gone.
    pub fn run(&self, parent: &mut Parent<'_>) -> Result<(), RunError> {
        let arms = self.settings.kernels()?;
        let mut last = None;
        for (number, &threads) in self.settings.threads.iter().enumerate() {
            parent.wait_turn()?;
            let workload = self.settings.workload(threads);
            let next = Stage::after(last.take(), &workload, &arms)?;
            let stage = last.insert(next);
            if number == 0 {
                parent.tell(&Event::Ready(self.began.elapsed().as_secs_f64()))?;
            }
            self.on_threads(threads, &arms, stage, parent)?;
        }
        Ok(parent.tell(&Event::Done)?)
    }

    fn on_threads(&self, threads: usize, arms: &[Arm], stage: &Stage, parent: &mut Parent<'_>) -> Result<(), RunError> {
        let settings = self.settings;
        let [reference, compared @ ..] = arms else { return Ok(()) };
        // What a product takes here and now, which slow-downs are parts of.
        let mut plain = Slowed::new(stage.arm(reference, TRIALS as usize)?, 0);
        let trials = take_turns(TRIALS, stage, &mut plain, parent)?;
        let means: Vec<f64> = trials.iter().skip(1).map(mean_product).collect();
        let (spin, product_ns) = (Spin::calibrated(), summary::median(&means).unwrap_or(0.0));
        for (order, index) in settings.order(self.block, threads).into_iter().enumerate() {
            let slowdown = settings.compared()[index].slowdown.unwrap_or(0.0);
            let (arm, spin_ns) = match self.side {
                Side::A => (reference, 0.0),
                Side::B => (&compared[index], slowdown * product_ns),
            };
            let mut run = Slowed::new(stage.arm(arm, 1 + settings.turns as usize)?, spin.turns(spin_ns));
            let warm_up = stage.repeat_alone(&mut run)?;
            let before = Evidence::now();
            let turns = take_turns(settings.turns, stage, &mut run, parent)?;
            let evidence = Evidence::now().since(before);
            if turns.iter().chain([&warm_up]).any(|turn| turn.output != trials[0].output) {
                let (block, arm) = (self.block, &settings.compared()[index].name);
                let reason = format!("arm {arm} on {threads} threads leaves other bits than the reference");
                return Err(RunError::Block { block, reason });
            }
            let seconds = turns.iter().map(Repetition::seconds).sum();
            let flags = foreign(evidence, settings.turns).flags(seconds, threads);
            let flags = flags.into_iter().map(str::to_owned).collect();
            let ns = turns.iter().map(mean_product).collect();
            parent.tell(&Event::Turns(SideTurns { threads, order, spin_ns, ns, evidence, flags }))?;
        }
        Ok(())
    }
}

/// So many repetitions of `run`, each in a turn of its own.
fn take_turns(
    turns: u32,
    stage: &Stage,
    run: &mut Slowed<'_>,
    parent: &mut Parent<'_>,
) -> Result<Vec<Repetition>, RunError> {
    let mut taken = Vec::with_capacity(turns as usize);
    for _ in 0..turns {
        stage.rest();
        parent.wait_turn()?;
        taken.push(stage.repeat_alone(run)?);
    }
    Ok(taken)
}

/// The evidence without what taking turns does by itself: whoever gets the turn takes the CPU at once.
fn foreign(evidence: Evidence, turns: u32) -> Evidence {
    Evidence { involuntary_switches: evidence.involuntary_switches.saturating_sub(turns.into()), ..evidence }
}

fn mean_product(repetition: &Repetition) -> f64 {
    repetition.token_ns.iter().sum::<u64>() as f64 / repetition.token_ns.len().max(1) as f64
}
