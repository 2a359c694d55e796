//! One block: a fresh process in which every cell runs once, in an order of its own.
//!
//! The process writes one JSON [`Event`] a line to its standard output. The parent turns them into
//! rows; it also learns from them which cell was running if the process dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use septet_kernels::{Level, SplitMix64};
use serde::{Deserialize, Serialize};

use super::{
    RunError, machine,
    roof::Roof,
    stage::{Repetition, Stage},
};
use crate::{
    arm::{Arm, ArmFormat},
    plan::{Cell, Plan, Residency, Workload},
    record::{Phase, Sample, row::bracket_moved},
    stats::summary,
};

/// What a block's process tells its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The weights of a workload are being made.
    Preparing(String),
    /// A cell is about to run.
    Started(String),
    /// Its samples.
    Samples(Vec<Sample>),
    /// Its output is wrong or could not be computed; its samples are void.
    Failed { cell: String, reason: String },
    /// The block is complete.
    Done,
}

/// Measured time after which a cell needs no further repetition: the slowest arms are the steadiest.
/// A first repetition that takes as long needs no warm-up before it: what was cold is a small part.
const ENOUGH_SECONDS: f64 = 0.1;

/// Which block of which plan.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    pub plan: &'a Plan,
    pub session: u32,
    pub block: u32,
    /// Cells that failed before and are left out.
    pub skip: &'a BTreeSet<String>,
}

impl Block<'_> {
    /// Runs every cell, and reports to `out`.
    ///
    /// # Errors
    /// A workload that cannot be built, or a closed `out`.
    pub fn run(&self, out: &mut impl Write) -> Result<(), RunError> {
        let mut order = 0;
        for workload in &self.plan.workloads {
            let cells = self.shuffled(workload);
            if cells.is_empty() {
                continue;
            }
            emit(out, &Event::Preparing(workload.name.clone()))?;
            let arms = cells.iter().map(|cell| Arm::from_factors(&cell.factors)).collect::<Result<Vec<_>, _>>()?;
            let stage = Stage::new(workload, &arms, None)?;
            let bytes = arms.iter().map(|arm| stage.weights_and_bytes(arm).1).max().unwrap_or(0);
            let mut roof = Roof::new(workload.residency, bytes, machine::last_level_cache());
            let mut outputs = BTreeMap::new();
            let mut before = roof.measure(stage.pool());
            for (cell, arm) in cells.iter().zip(&arms) {
                emit(out, &Event::Started(cell.id.clone()))?;
                let event = match self.cell(workload, cell, arm, order, &stage, &mut roof, &mut before) {
                    Ok((samples, output)) => verify(&mut outputs, cell, arm, output, samples),
                    Err(RunError::Io(error)) => return Err(RunError::Io(error)),
                    Err(error) => Event::Failed { cell: cell.id.clone(), reason: error.to_string() },
                };
                emit(out, &event)?;
                order += 1;
            }
        }
        emit(out, &Event::Done)
    }

    /// The cells of a workload that still run, in the order of this block.
    fn shuffled(&self, workload: &Workload) -> Vec<&Cell> {
        let runs = |cell: &&Cell| cell.workload == workload.name && !self.skip.contains(&cell.id);
        let mut cells: Vec<&Cell> = self.plan.cells.iter().filter(runs).collect();
        let mut random = SplitMix64::new(self.plan.protocol.seed ^ u64::from(self.block) << 32);
        // Fisher and Yates; the bias of the remainder is below 2⁻⁵⁰ for any plan that fits a day.
        for last in (1..cells.len()).rev() {
            cells.swap(last, (random.next() % (last as u64 + 1)) as usize);
        }
        cells
    }

    /// A warm-up and the repetitions of one cell: as many as the workload allows, or until they have
    /// taken [`ENOUGH_SECONDS`].
    #[expect(clippy::too_many_arguments, reason = "the state of one block, passed to its only step")]
    fn cell(
        &self,
        workload: &Workload,
        cell: &Cell,
        arm: &Arm,
        order: u32,
        stage: &Stage,
        roof: &mut Roof,
        before: &mut f64,
    ) -> Result<(Vec<Sample>, Vec<u32>), RunError> {
        let mut decoder = stage.decoder(arm, 1 + workload.repetitions as usize)?;
        let mut samples = Vec::new();
        let mut output = Vec::new();
        let mut measured = 0.0;
        for repetition in 0..=workload.repetitions {
            if measured >= ENOUGH_SECONDS {
                break;
            }
            let result = stage.repeat(&mut decoder)?;
            let seconds = result.token_ns.iter().sum::<u64>() as f64 / 1e9;
            let warms_up = repetition == 0 && seconds < ENOUGH_SECONDS;
            let phase = if warms_up { Phase::Warmup } else { Phase::Measure };
            let evidence = result.evidence;
            let after = roof.measure(stage.pool());
            measured += if phase == Phase::Measure { seconds } else { 0.0 };
            let mut flags = evidence.flags(seconds, workload.threads);
            if bracket_moved(*before, after) {
                flags.push("roof_moved");
            }
            let level = |axis: &str| cell.factors.get(axis).cloned().unwrap_or_default();
            for (metric, value) in metrics(workload, &result) {
                samples.push(Sample {
                    session: self.session,
                    block: self.block,
                    order,
                    cell_id: cell.id.clone(),
                    workload: workload.name.clone(),
                    arm: cell.arm.clone(),
                    format: level("format"),
                    granularity: level("granularity"),
                    layout: level("layout"),
                    unpack: level("unpack"),
                    unroll: level("unroll"),
                    isa: level("isa"),
                    prefetch: level("prefetch"),
                    epilogue: level("epilogue"),
                    activations: level("activations"),
                    threads: workload.threads as u32,
                    phase,
                    repetition,
                    metric: metric.to_owned(),
                    unit: format!("ns/{}", workload.unit),
                    value,
                    roof_before: *before,
                    roof_after: after,
                    flags: flags.join("+"),
                    voluntary_switches: evidence.voluntary_switches,
                    involuntary_switches: evidence.involuntary_switches,
                    migrations: evidence.migrations,
                    minor_faults: evidence.minor_faults,
                    major_faults: evidence.major_faults,
                    steal_ticks: evidence.steal_ticks,
                });
            }
            *before = after;
            output = result.output;
        }
        Ok((samples, output))
    }
}

/// The metrics of one repetition of a workload. Latencies belong to models that decode text.
pub fn metric_names(workload: &Workload) -> &'static [&'static str] {
    match workload.residency {
        Residency::Cache => &["token_time", "kernel_time", "token_latency_p50", "token_latency_p95"],
        Residency::Dram => &["token_time", "kernel_time"],
    }
}

/// Their values, in nanoseconds for one unit of the workload.
fn metrics(workload: &Workload, repetition: &Repetition) -> impl Iterator<Item = (&'static str, f64)> {
    let tokens: Vec<f64> = repetition.token_ns.iter().map(|&ns| ns as f64).collect();
    let layers = match workload.source {
        crate::plan::Source::Shape { layers, .. } => layers as f64,
        crate::plan::Source::Trained { .. } => 1.0,
    };
    let units = tokens.len() as f64 * layers;
    let quantile = |q| summary::quantile(&tokens, q).unwrap_or(0.0);
    let values =
        [tokens.iter().sum::<f64>() / units, repetition.kernel_ns as f64 / units, quantile(0.50), quantile(0.95)];
    metric_names(workload).iter().copied().zip(values)
}

/// Arms of one format compute the same bits: the first output of each is what all others must equal.
fn verify(
    outputs: &mut BTreeMap<(ArmFormat, String), Vec<u32>>,
    cell: &Cell,
    arm: &Arm,
    output: Vec<u32>,
    samples: Vec<Sample>,
) -> Event {
    let expected = outputs.entry((arm.format, arm.granularity.to_string())).or_insert_with(|| output.clone());
    if *expected == output {
        return Event::Samples(samples);
    }
    let at = expected.iter().zip(&output).position(|(a, b)| a != b).unwrap_or(0);
    let reason = format!(
        "wrong output: value {at} of the residual stream is {} and not {} as in another arm of {}",
        f32::from_bits(output[at]),
        f32::from_bits(expected[at]),
        arm.format.name(),
    );
    Event::Failed { cell: cell.id.clone(), reason }
}

fn emit(out: &mut impl Write, event: &Event) -> Result<(), RunError> {
    let line = serde_json::to_string(event).map_err(io::Error::from)?;
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
