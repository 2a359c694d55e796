//! One block: a fresh process in which every cell runs once, in an order of its own.
//!
//! The process writes one JSON [`Event`] a line to its standard output. The parent turns them into
//! rows; it also learns from them which cell was running if the process dies.

use std::collections::BTreeSet;

use septet_kernels::SplitMix64;
use serde::{Deserialize, Serialize};

use super::{
    RunError,
    bracket::{Bracket, End, Gauge},
    ceilings, machine,
    parent::Parent,
    roof::Roof,
    stage::{Repetition, Stage, output_sha256},
    warm_up::{self, WarmUp},
};
use crate::{
    arm::Arm,
    plan::{Cell, Workload},
    record::{CeilingRow, CellFacts, Manifest, Phase, Sample, WeightsRow, rules::Row as _},
    stats::summary,
};

/// What a block's process tells its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What the machine can do at best, measured before the first workload.
    Ceilings(Vec<CeilingRow>),
    /// The weights of a workload are being made.
    Preparing(String),
    /// They are made: how they lie in memory.
    Weights(Vec<WeightsRow>),
    /// A cell is about to run.
    Started(String),
    /// Its samples.
    Samples(Vec<Sample>),
    /// Its output is wrong or could not be computed; its samples are void.
    Failed { cell: String, reason: String },
    /// The block is complete.
    Done,
}

/// Which block of which run.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    pub manifest: &'a Manifest,
    pub session: u32,
    pub block: u32,
    /// Cells that failed before and are left out.
    pub skip: &'a BTreeSet<String>,
}

/// A cell of the block.
struct Entry<'a> {
    cell: &'a Cell,
    facts: &'a CellFacts,
    arm: Arm,
}

impl Block<'_> {
    /// Measures the ceilings, runs every cell, and reports to `parent`. In turns with another process, everything that
    /// takes time is done in a turn, each repetition that counts in one of its own; then nothing else is measured,
    /// since two programs are compared with each other and not with what the machine can do.
    ///
    /// # Errors
    /// A workload that cannot be built, or a parent that is gone.
    pub fn run(&self, parent: &mut Parent<'_>) -> Result<(), RunError> {
        if !parent.takes_turns() {
            parent.tell(&Event::Ceilings(ceilings::measure(&self.manifest.plan, self.session, self.block)))?;
        }
        let mut order = 0;
        let mut last = None;
        for workload in &self.manifest.plan.workloads {
            let entries = self.shuffled(workload)?;
            if entries.is_empty() {
                continue;
            }
            parent.wait_turn()?;
            parent.tell(&Event::Preparing(workload.name.clone()))?;
            let arms: Vec<Arm> = entries.iter().map(|entry| entry.arm).collect();
            let next = Stage::after(last.take(), workload, &arms)?;
            let stage = last.insert(next);
            let (session, block) = (self.session, self.block);
            let rows = stage.weights_rows(workload).into_iter();
            parent.tell(&Event::Weights(rows.map(|row| WeightsRow { session, block, ..row }).collect()))?;
            let mut roof = (!parent.takes_turns()).then(|| {
                let bytes = arms.iter().map(|arm| stage.weights_and_bytes(arm).1).max().unwrap_or(0);
                Roof::new(workload.residency, bytes, machine::last_level_cache(), stage.pool(), stage.roof_pages())
            });
            for entry in &entries {
                let cell = &entry.cell.id;
                parent.wait_turn()?;
                parent.tell(&Event::Started(cell.clone()))?;
                let event = match self.cell(workload, entry, order, stage, roof.as_mut(), parent) {
                    Ok((samples, output)) => verify(entry.facts, &output, samples),
                    Err(RunError::Io(error)) => return Err(RunError::Io(error)),
                    Err(error) => Event::Failed { cell: cell.clone(), reason: error.to_string() },
                };
                parent.tell(&event)?;
                order += 1;
            }
        }
        Ok(parent.tell(&Event::Done)?)
    }

    /// The cells of a workload that still run, in the order of this block.
    fn shuffled(&self, workload: &Workload) -> Result<Vec<Entry<'_>>, RunError> {
        let Manifest { plan, facts, .. } = self.manifest;
        let mut entries = Vec::new();
        for (cell, facts) in plan.cells.iter().zip(facts) {
            if cell.workload == workload.name && !self.skip.contains(&cell.id) {
                entries.push(Entry { cell, facts, arm: Arm::from_factors(&cell.factors)? });
            }
        }
        let mut random = SplitMix64::new(plan.protocol.seed ^ u64::from(self.block) << 32);
        // Fisher and Yates; the bias of the remainder is below 2⁻⁵⁰ for any plan that fits a day.
        for last in (1..entries.len()).rev() {
            entries.swap(last, (random.next() % (last as u64 + 1)) as usize);
        }
        Ok(entries)
    }

    /// The warm-up, if preflight says that it needs one, and the repetitions of one cell, as many as preflight
    /// says.
    fn cell(
        &self,
        workload: &Workload,
        &Entry { cell, facts, arm }: &Entry<'_>,
        order: u32,
        stage: &Stage,
        roof: Option<&mut Roof>,
        parent: &mut Parent<'_>,
    ) -> Result<(Vec<Sample>, Vec<u32>), RunError> {
        let most = facts.repetitions + if facts.warm_up { warm_up::MOST } else { 0 };
        let mut running = stage.arm(&arm, most as usize)?;
        let mut gauge = roof.map(|roof| Gauge::new(roof, workload, &arm, stage.pool()));
        let mut before = gauge.as_ref().map_or(End::UNKNOWN, Gauge::begin);
        let mut taken: Vec<Taken> = Vec::new();
        let mut warm_up = facts.warm_up.then(WarmUp::default);
        let mut counted = 0;
        loop {
            warm_up = warm_up.filter(|warm_up| !warm_up.is_over());
            if warm_up.is_none() && counted == facts.repetitions {
                break;
            }
            if warm_up.is_none() && parent.takes_turns() {
                stage.rest();
                parent.wait_turn()?;
            }
            let result = stage.repeat(&mut *running)?;
            let phase = match &mut warm_up {
                Some(warm_up) => {
                    warm_up.add(result.seconds());
                    Phase::Warmup
                }
                None => {
                    counted += 1;
                    Phase::Measure
                }
            };
            let after = gauge.as_mut().map_or(End::UNKNOWN, Gauge::measure);
            taken.push(Taken { phase, result, bracket: Bracket { before, after } });
            before = after;
        }
        stage.rest();
        let samples = taken.iter().zip(0..).flat_map(|(taken, repetition)| {
            let place =
                Sample { block: self.block, session: self.session, order, repetition, ..Sample::of(cell, workload) };
            taken.samples(workload, place)
        });
        let samples = samples.collect();
        let output = taken.pop().map(|last| last.result.output).unwrap_or_default();
        Ok((samples, output))
    }
}

/// One repetition.
struct Taken {
    phase: Phase,
    result: Repetition,
    bracket: Bracket,
}

impl Taken {
    /// A sample of each metric, like `place` in all else.
    fn samples(&self, workload: &Workload, place: Sample) -> Vec<Sample> {
        let Self { phase, result, bracket } = self;
        let evidence = result.evidence;
        let pressure = |stalled_us: u64| stalled_us as f64 / 1e6 / result.seconds();
        let mut flags = evidence.flags(result.seconds(), workload.threads);
        flags.extend(bracket.flags());
        let of_metric = |(metric, value): (&str, f64)| {
            bracket.into_sample(Sample {
                phase: *phase,
                metric: metric.to_owned(),
                value,
                flags: flags.join("+"),
                voluntary_switches: evidence.voluntary_switches,
                involuntary_switches: evidence.involuntary_switches,
                migrations: evidence.migrations,
                minor_faults: evidence.minor_faults,
                major_faults: evidence.major_faults,
                steal_ticks: evidence.steal_ticks,
                cpu_pressure: evidence.cpu_stalled_us.map(pressure),
                memory_pressure: evidence.memory_stalled_us.map(pressure),
                ..place.clone()
            })
        };
        metrics(workload, result).map(of_metric).collect()
    }
}

/// The metrics of one repetition, in nanoseconds for one unit of the workload.
fn metrics(workload: &Workload, repetition: &Repetition) -> impl Iterator<Item = (&'static str, f64)> {
    let tokens: Vec<f64> = repetition.token_ns.iter().map(|&ns| ns as f64).collect();
    let (prompt, kernel_ns, layers) = (repetition.prompt, repetition.kernel_ns, workload.units_of_a_token());
    let units = (tokens.len() * layers) as f64;
    let value = move |metric: &str| match metric {
        "token_time" => Some(tokens.iter().sum::<f64>() / units),
        "kernel_time" => Some(kernel_ns as f64 / units),
        "token_latency_p50" => summary::quantile(&tokens, 0.50),
        "token_latency_p95" => summary::quantile(&tokens, 0.95),
        "prefill_time" => prompt.map(|prompt| prompt.ns as f64 / (prompt.tokens * layers) as f64),
        _ => None,
    };
    workload.metrics().iter().filter_map(move |&metric| Some((metric, value(metric)?)))
}

/// What a cell computed must be what the reference arm of its format computed before the first block.
fn verify(facts: &CellFacts, output: &[u32], samples: Vec<Sample>) -> Event {
    let found = output_sha256(output);
    let expected = &facts.output_sha256;
    // A time that is no time must not end the run when it is written.
    let bad = samples.iter().find_map(|sample| Some((sample, sample.check().err()?)));
    let reason = match bad {
        _ if found != *expected => format!(
            "wrong output: the residual stream has SHA-256 {found} and not {expected} as the reference of its format"
        ),
        Some((sample, (column, valid))) => {
            format!("{} of repetition {} has no usable `{column}`: expected {valid}", sample.metric, sample.repetition)
        }
        None => return Event::Samples(samples),
    };
    Event::Failed { cell: facts.cell_id.clone(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::small, record::Quality};

    const BODY: &str = r#"
workload = [{ name = "one", title = "?", matrix = { rows = 64, cols = 128 }, threads = 1, repetitions = 1, tokens = 1 }]
arm = { base = { unpack = "lut" } }
design = [{ name = "same", title = "?", kind = "null", from = "base" }]
"#;

    #[test]
    fn wrong_bits_and_times_that_are_none_fail_the_cell() {
        let plan = small::plan(&small::spec(BODY)).unwrap();
        let (cell, output) = (&plan.cells[0], [1, 2, 3]);
        let facts = CellFacts {
            cell_id: cell.id.clone(),
            weights_per_unit: 1,
            bytes_per_unit: 1,
            prompt_tokens: None,
            output_sha256: output_sha256(&output),
            warm_up: false,
            repetitions: 1,
            quality: Quality::default(),
        };
        let sample = |value| Sample { metric: "token_time".to_owned(), value, ..Sample::of(cell, &plan.workloads[0]) };
        let reason = |output: &[u32], value| match verify(&facts, output, vec![sample(1.0), sample(value)]) {
            Event::Failed { cell: failed, reason } if failed == cell.id => reason,
            Event::Samples(samples) => format!("{} samples", samples.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&output, 2.0), "2 samples");
        assert!(reason(&[1, 2, 4], 2.0).contains("wrong output"));
        for none in [f64::NAN, f64::INFINITY, 0.0] {
            let text = reason(&output, none);
            assert_eq!(
                text,
                "token_time of repetition 0 has no usable `value`: expected a positive number from 1e-12 to 1e18"
            );
        }
    }
}
