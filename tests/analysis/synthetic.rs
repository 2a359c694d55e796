//! A complete run with known effects, written through the same writers as a real one.
//!
//! Two workloads, a ladder with published factors, leave-one-out, a null check, a combination that
//! falls short of its product by a known factor, one cell that is faster than memory, and counters.

use std::collections::BTreeMap;
use std::path::Path;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use septet::plan::{
    Cell, Combination, Contrast, Design, DesignKind, Infeasible, PLAN_SCHEMA, Plan, Protocol, Residency, Source,
    Workload,
};
use septet::record::manifest::MANIFEST_SCHEMA;
use septet::record::row::SAMPLES_SCHEMA;
use septet::record::{
    CellFacts, CounterRow, CounterStatus, FailureRow, Manifest, Phase, Quality, RowWriter, Sample, write_manifest,
};

pub const BLOCKS: u32 = 10;
const REPETITIONS: u32 = 3;
const WEIGHTS: u64 = 100_000_000;
/// Share of the DRAM roof that the fastest ladder arm reaches.
const BEST_SHARE: f64 = 0.8;

/// A step: what it changes, its true speed-up, its published one.
pub struct Step {
    pub factor: &'static str,
    pub level: &'static str,
    pub speedup: f64,
    pub published: Option<f64>,
}

const fn step(factor: &'static str, level: &'static str, speedup: f64, published: Option<f64>) -> Step {
    Step { factor, level, speedup, published }
}

pub const LADDER: [Step; 7] = [
    step("unpack", "lut", 1.50, Some(1.40)),
    step("isa", "avx512", 4.00, None),
    step("layout", "dense", 1.12, Some(1.14)),
    step("unroll", "4", 1.08, Some(1.50)),
    step("prefetch", "software", 1.00, Some(1.15)),
    step("epilogue", "fused", 0.96, Some(1.05)),
    step("activations", "cached", 1.20, None),
];

/// The combination of unpack and unroll gives this share of the product of both.
pub const SHORTFALL: f64 = 0.80;

const START: [(&str, &str); 9] = [
    ("format", "w3p5"),
    ("granularity", "g128"),
    ("layout", "byte_per_pair"),
    ("unpack", "branch"),
    ("unroll", "1"),
    ("isa", "scalar"),
    ("prefetch", "none"),
    ("epilogue", "separate"),
    ("activations", "requantize"),
];

type Factors = BTreeMap<String, String>;

/// A cell of the plan with its true speed against the start.
struct Truth {
    cell: Cell,
    speed: f64,
    bits: f64,
}

/// In what a run differs from the one of [`write_run`].
pub struct Twist<'a> {
    pub seed: u64,
    /// Spread of the log of a time within a block.
    pub noise: f64,
    /// Cells whose times are multiplied.
    pub times: &'a [(&'a str, f64)],
    /// Cells that crashed in the last block.
    pub failed: &'a [&'a str],
    /// Cells without rows.
    pub missing: &'a [&'a str],
}

impl Twist<'_> {
    pub const NONE: Self = Self { seed: 20_261_012, noise: 0.01, times: &[], failed: &[], missing: &[] };
}

/// Writes a run into `dir` and returns its manifest.
pub fn write_run(dir: &Path, quick: bool) -> Manifest {
    write_twisted(dir, quick, &Twist::NONE)
}

/// Writes a run that differs from that of [`write_run`].
pub fn write_twisted(dir: &Path, quick: bool, twist: &Twist<'_>) -> Manifest {
    let (manifest, truths) = manifest(quick);
    write_manifest(dir, &manifest).expect("a manifest");
    let mut samples = RowWriter::<Sample>::append(dir).expect("a new file");
    let mut random = Pcg64::seed_from_u64(twist.seed);
    for block in 0..BLOCKS {
        let mut rows = block_rows(block, &manifest, &truths, twist, &mut random);
        rows.retain(|row| !twist.missing.contains(&row.cell_id.as_str()));
        samples.write_block(&rows).expect("a block");
    }
    if !twist.failed.is_empty() {
        let failure = |cell: &&str| FailureRow {
            cell_id: (*cell).to_owned(),
            block: BLOCKS - 1,
            reason: "its process ended early: signal: 11".into(),
        };
        let rows: Vec<FailureRow> = twist.failed.iter().map(failure).collect();
        RowWriter::<FailureRow>::append(dir).expect("a new file").write_block(&rows).expect("failures");
    }
    let mut counters = RowWriter::<CounterRow>::append(dir).expect("a new file");
    let rows: Vec<CounterRow> = truths.iter().flat_map(counter_rows).collect();
    counters.write_block(&rows).expect("counters");
    manifest
}

fn manifest(quick: bool) -> (Manifest, Vec<Truth>) {
    let workloads = vec![
        workload("tiny", "trained 3.3 M LLaMA, cache-resident", Residency::Cache),
        workload("slice70b", "1/8 slice of a 70B layer, DRAM-resident", Residency::Dram),
    ];
    let mut truths = Vec::new();
    let mut designs = [
        design("ladder", "The published optimizations in their published order", DesignKind::Cumulative),
        design("without", "Everything on, but one", DesignKind::LeaveOneOut),
        design("alone", "One optimization on the start", DesignKind::AddOneIn),
        design("null", "The start against itself", DesignKind::Null),
    ];
    for workload in &workloads {
        expand(&workload.name, &mut truths, &mut designs);
    }
    let facts = truths.iter().map(facts).collect();
    let plan = Plan {
        schema: PLAN_SCHEMA,
        experiment: "synthetic".into(),
        question: "Are injected effects recovered?".into(),
        hypothesis: "Within their intervals.".into(),
        refuted_by: "An interval that misses its effect.".into(),
        protocol: Protocol { blocks: BLOCKS, seed: 1, margin: 0.01, confidence: 0.95, quick, chosen: None },
        workloads,
        cells: truths.iter().map(|truth| truth.cell.clone()).collect(),
        infeasible: vec![Infeasible {
            design: "without".into(),
            step: "unpack=branch".into(),
            workload: "tiny".into(),
            reason: "`branch` is scalar only".into(),
        }],
        designs: designs.to_vec(),
        counters: None,
    };
    let environment = [("cpu", "Synthetic CPU @ 1 GHz"), ("memory", "8 GiB"), ("governor", "not exposed")];
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        samples_schema: SAMPLES_SCHEMA,
        run_id: "20260101T000000Z-synthetic".into(),
        plan,
        spec: "name = \"synthetic\"\n".into(),
        facts,
        environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    (manifest, truths)
}

/// Cells and contrasts of one workload.
fn expand(workload: &str, truths: &mut Vec<Truth>, designs: &mut [Design; 4]) {
    let [ladder, without, alone, null] = designs;
    let mut factors: Factors = START.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let mut speed = 1.0;
    let start = add(truths, workload, &factors, speed, None);
    let repeat = add(truths, workload, &factors, speed, Some(&start));
    null.contrasts.push(contrast("A′", workload, &repeat, &start, None));

    let mut previous = start.clone();
    for step in &LADDER {
        factors.insert(step.factor.into(), step.level.into());
        speed *= step.speedup;
        let arm = add(truths, workload, &factors, speed, None);
        let label = format!("{}={}", step.factor, step.level);
        ladder.contrasts.push(contrast(&label, workload, &arm, &previous, step.published));
        previous = arm;
    }
    for step in &LADDER[3..] {
        let off = START.iter().find(|(factor, _)| *factor == step.factor).map_or("", |(_, level)| level);
        let mut reduced = factors.clone();
        reduced.insert(step.factor.into(), off.into());
        let arm = add(truths, workload, &reduced, speed / step.speedup, None);
        without.contrasts.push(contrast(&format!("{}={off}", step.factor), workload, &arm, &previous, None));
    }
    let mut wide = factors;
    wide.insert("format".into(), "w4".into());
    let too_fast = if workload == "slice70b" { 1.15 / BEST_SHARE * 3.625 / 4.125 } else { 0.9 };
    let w4 = add(truths, workload, &wide, speed * too_fast, None);
    alone.contrasts.push(contrast("format=w4", workload, &w4, &previous, None));

    let mut singles = Vec::new();
    let mut both: Factors = START.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    for (index, step) in [(0, &LADDER[0]), (3, &LADDER[3])] {
        let label = format!("{}={}", step.factor, step.level);
        both.insert(step.factor.into(), step.level.into());
        let mut single: Factors = START.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        single.insert(step.factor.into(), step.level.into());
        let arm = match index {
            0 => {
                ladder.contrasts.iter().rev().find(|c| c.step == label && c.workload == workload).map(|c| c.arm.clone())
            }
            _ => None,
        };
        let arm = arm.unwrap_or_else(|| add(truths, workload, &single, step.speedup, None));
        singles.push(contrast(&label, workload, &arm, &start, None));
    }
    alone.contrasts.extend(singles.clone());
    let together = LADDER[0].speedup * LADDER[3].speedup * SHORTFALL;
    let arm = add(truths, workload, &both, together, None);
    let measured = contrast("unpack=lut × unroll=4", workload, &arm, &start, None);
    alone.combinations.push(Combination { workload: workload.into(), singles, measured });
}

fn add(truths: &mut Vec<Truth>, workload: &str, factors: &Factors, speed: f64, null_of: Option<&String>) -> String {
    let level = |factor: &str| factors.get(factor).map_or("", String::as_str);
    let arm: Vec<&str> = START.iter().map(|(factor, _)| level(factor)).collect();
    let id = format!("{workload}-{:02}", truths.iter().filter(|t| t.cell.workload == workload).count());
    let bits = match (level("format"), level("layout")) {
        ("w4", _) => 4.125,
        (_, "dense") => 3.625,
        _ => 4.125,
    };
    let cell = Cell {
        id: id.clone(),
        workload: workload.into(),
        arm: arm.join("/"),
        factors: factors.clone(),
        kernel: "gemv".into(),
        null_of: null_of.cloned(),
    };
    truths.push(Truth { cell, speed, bits });
    id
}

fn workload(name: &str, title: &str, residency: Residency) -> Workload {
    Workload {
        name: name.into(),
        title: title.into(),
        residency,
        unit: if residency == Residency::Dram { "layer_token" } else { "token" }.into(),
        threads: 2,
        repetitions: REPETITIONS,
        tokens: 16,
        prompt_tokens: None,
        source: Source::Trained { model: None, prompt: "Once".into() },
    }
}

fn design(name: &str, title: &str, kind: DesignKind) -> Design {
    Design {
        name: name.into(),
        title: title.into(),
        kind,
        contrasts: Vec::new(),
        combinations: Vec::new(),
        factorials: Vec::new(),
    }
}

fn contrast(step: &str, workload: &str, arm: &str, reference: &str, published: Option<f64>) -> Contrast {
    Contrast { step: step.into(), workload: workload.into(), arm: arm.into(), reference: reference.into(), published }
}

fn facts(truth: &Truth) -> CellFacts {
    CellFacts {
        cell_id: truth.cell.id.clone(),
        weights_per_unit: WEIGHTS,
        bytes_per_unit: (WEIGHTS as f64 * truth.bits / 8.0) as u64,
        prompt_tokens: None,
        output_sha256: String::new(),
        warm_up: true,
        repetitions: 2,
        quality: Quality {
            bit_equal: Some(true),
            perplexity_ratio: Some(if truth.bits > 4.0 { 1.004 } else { 1.0123 }),
            kld: Some(0.0131),
            top1_agreement: Some(0.957),
        },
    }
}

/// Every cell in every block; the whole block shares one drift, as on a shared host.
fn block_rows(block: u32, manifest: &Manifest, truths: &[Truth], twist: &Twist<'_>, random: &mut Pcg64) -> Vec<Sample> {
    let drift = if block.is_multiple_of(3) { 1.2 } else { 1.0 };
    let best: f64 = LADDER.iter().map(|step| step.speedup).product();
    let roof = 60.0 / drift;
    let mut rows = Vec::new();
    for (order, truth) in (0..).zip(truths) {
        let workload = manifest.plan.workloads.iter().find(|w| w.name == truth.cell.workload).expect("a workload");
        let twisted = twist.times.iter().find(|(cell, _)| *cell == truth.cell.id).map_or(1.0, |(_, factor)| *factor);
        let fastest = WEIGHTS as f64 * 3.625 / 8.0 / (BEST_SHARE * 60.0);
        for repetition in 0..=REPETITIONS {
            let phase = if repetition == 0 { Phase::Warmup } else { Phase::Measure };
            // A cold start that would spoil every estimate if warm-up rows counted.
            let cold = if phase == Phase::Warmup { 10.0 } else { 1.0 };
            let kernel = cold * fastest * best / truth.speed * drift * (twist.noise * gaussian(random)).exp() * twisted;
            let token = kernel * 1.2 * (0.3 * twist.noise * gaussian(random)).exp();
            for (&metric, value) in workload.metrics().iter().zip([token, kernel, token, token * 1.1]) {
                rows.push(Sample {
                    block,
                    order,
                    phase,
                    repetition,
                    metric: metric.to_owned(),
                    value,
                    roof_before: roof,
                    roof_after: if block == 3 && order == 0 { roof * 0.8 } else { roof },
                    flags: if block == 2 && order == 1 { "preempted" } else { "" }.into(),
                    ..Sample::of(&truth.cell, workload)
                });
            }
        }
    }
    rows
}

fn counter_rows(truth: &Truth) -> [CounterRow; 3] {
    let factor = |name: &str| truth.cell.factors.get(name).map_or("", String::as_str);
    let row = |counter: &str, value: Option<f64>, unit: &str, source: &str, reason: &str| CounterRow {
        cell_id: truth.cell.id.clone(),
        counter: counter.into(),
        value,
        unit: unit.into(),
        status: if value.is_some() { CounterStatus::Measured } else { CounterStatus::Unavailable },
        source: source.into(),
        reason: reason.into(),
    };
    let jumps = if factor("unpack") == "branch" { 1.0 } else { 0.015_625 };
    let bits = if factor("isa") == "avx512" { 512.0 } else { 0.0 };
    [
        row("loop_conditional_jumps_per_weight", Some(jumps), "jumps/weight", "disassembly", ""),
        row("loop_vector_bits", Some(bits), "bits", "disassembly", ""),
        row("branch_misses", None, "misses/weight", "perf_event", "no PMU on this machine; run on bare metal"),
    ]
}

/// A standard normal deviate (Irwin and Hall: twelve uniforms).
pub fn gaussian(random: &mut Pcg64) -> f64 {
    (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
}
