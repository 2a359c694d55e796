//! One block: a fresh process in which every arm runs once on each number of threads.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    Settings,
    load::Load,
    spin::{Slowed, Spin},
};
use crate::{
    affinity,
    arm::Arm,
    record::calibration::CalibrationRow,
    runner::{
        RunError,
        parent::Parent,
        stage::{Repetition, Stage},
    },
    stats::summary,
};

/// What the process of a block tells its parent, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The weights are there: seconds since the process began.
    Ready(f64),
    /// One arm on one number of threads.
    Row(CalibrationRow),
    /// The block is complete.
    Done,
}

/// Which block of which calibration.
pub struct Block<'a> {
    pub settings: &'a Settings,
    pub session: u32,
    pub block: u32,
    /// When the process began.
    pub began: Instant,
}

impl Block<'_> {
    /// Runs every arm and reports to `parent`.
    ///
    /// # Errors
    /// Arms that leave different bits, a load that cannot be started, or a parent that is gone.
    pub fn run(&self, parent: &mut Parent<'_>) -> Result<(), RunError> {
        let arms = self.settings.kernels()?;
        // Before this thread is bound: the last CPU is the one to load.
        let cpu = affinity::allowed().ok().and_then(|cpus| cpus.last().copied());
        let mut last = None;
        for (number, &threads) in self.settings.threads.iter().enumerate() {
            let workload = self.settings.workload(threads);
            let next = Stage::after(last.take(), &workload, &arms)?;
            let stage = last.insert(next);
            if number == 0 {
                parent.tell(&Event::Ready(self.began.elapsed().as_secs_f64()))?;
            }
            self.on_threads(threads, &arms, stage, cpu, parent)?;
        }
        Ok(parent.tell(&Event::Done)?)
    }

    fn on_threads(
        &self,
        threads: usize,
        arms: &[Arm],
        stage: &Stage,
        cpu: Option<usize>,
        parent: &mut Parent<'_>,
    ) -> Result<(), RunError> {
        let settings = self.settings;
        // What a product takes here and now, which slow-downs are parts of; the first repetition is cold.
        let mut plain = Slowed::new(stage.arm(&arms[0], 2)?, 0);
        stage.repeat(&mut plain)?;
        let reference = stage.repeat(&mut plain)?;
        let spin = Spin::calibrated();
        let product_ns = median_product(&reference);
        let loaded = settings.loaded(self.block, threads);
        let mut load = None;
        for (position, index) in settings.order(self.block, threads).into_iter().enumerate() {
            if !loaded.contains(&position) {
                load = None;
            } else if load.is_none() {
                load = Some(Load::start(cpu)?);
            }
            let spin_ns = settings.arms[index].slowdown.unwrap_or(0.0) * product_ns;
            let mut run = Slowed::new(stage.arm(&arms[index], 1 + settings.repetitions as usize)?, spin.turns(spin_ns));
            let warmup = stage.repeat(&mut run)?;
            let repetitions =
                (0..settings.repetitions).map(|_| stage.repeat(&mut run)).collect::<Result<Vec<_>, _>>()?;
            if repetitions.iter().chain([&warmup]).any(|repetition| repetition.output != reference.output) {
                let (block, arm) = (self.block, &settings.arms[index].name);
                let reason = format!("arm {arm} on {threads} threads leaves other bits than the reference");
                return Err(RunError::Block { block, reason });
            }
            let place = Place { threads, position, index, loaded: load.is_some() };
            parent.tell(&Event::Row(self.row(&place, spin_ns, &warmup, &repetitions)))?;
        }
        Ok(())
    }

    fn row(&self, place: &Place, spin_ns: f64, warmup: &Repetition, repetitions: &[Repetition]) -> CalibrationRow {
        let times: Vec<f64> = repetitions.iter().map(mean_product).collect();
        let flagged = repetitions.iter().filter(|r| !r.evidence.flags(r.seconds(), place.threads).is_empty());
        let sum = |count: fn(&Repetition) -> u64| repetitions.iter().map(count).sum();
        CalibrationRow {
            session: self.session,
            block: self.block,
            threads: place.threads as u32,
            order: place.position as u32,
            arm: self.settings.arms[place.index].name.clone(),
            loaded: place.loaded,
            spin_ns: tenths(spin_ns),
            warmup_ns: tenths(mean_product(warmup)),
            ns: CalibrationRow::joined(&times),
            flagged: flagged.count() as u32,
            voluntary_switches: sum(|r| r.evidence.voluntary_switches),
            involuntary_switches: sum(|r| r.evidence.involuntary_switches),
            migrations: sum(|r| r.evidence.migrations),
            minor_faults: sum(|r| r.evidence.minor_faults),
            major_faults: sum(|r| r.evidence.major_faults),
            steal_ticks: sum(|r| r.evidence.steal_ticks),
        }
    }
}

/// Where an arm runs.
struct Place {
    threads: usize,
    position: usize,
    /// Of the arm in the settings.
    index: usize,
    loaded: bool,
}

fn mean_product(repetition: &Repetition) -> f64 {
    repetition.token_ns.iter().sum::<u64>() as f64 / repetition.token_ns.len().max(1) as f64
}

/// To a tenth of a nanosecond, as the times of repetitions are written.
fn tenths(ns: f64) -> f64 {
    (10.0 * ns).round() / 10.0
}

fn median_product(repetition: &Repetition) -> f64 {
    let products: Vec<f64> = repetition.token_ns.iter().map(|&ns| ns as f64).collect();
    summary::median(&products).unwrap_or(0.0)
}
