//! Factorial designs from an experiment file to tables, with effects that are known.

use std::fs;
use std::path::Path;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use septet::plan::expand::{Options, expand};
use septet::plan::{Factorial, Plan};
use septet::record::manifest::MANIFEST_SCHEMA;
use septet::record::row::SAMPLES_SCHEMA;
use septet::record::{CellFacts, FailureRow, Manifest, Quality, RowWriter, Sample, write_manifest};
use septet::report::factorial::FactorialOutcome;
use septet::report::figure::{FIGURES, svg};
use septet::report::metric::{KERNEL_TIME, TOKEN_TIME};
use septet::report::{Report, derived, render, table};
use septet::spec::Spec;
use septet::stats::contrast::Effect;
use septet_kernels::Isa;
use tempfile::TempDir;

use crate::synthetic::gaussian;

const BLOCKS: u32 = 12;

/// Three factors, of which `branch` and vectors exclude each other in the second design.
const SPEC: &str = r#"
schema = 1
name = "factorial"
question = "?"
hypothesis = "?"
refuted_by = "?"
protocol = { blocks = 12, quick_blocks = 2, seed = 1, margin = 0.01, confidence = 0.95 }

[[workload]]
name = "tiny"
title = "a model"
model = "builtin"
prompt = "?"
threads = 1
repetitions = 1
tokens = 1

[arm.base]

[[design]]
name = "cube"
title = "Three factors"
kind = "factorial"
from = "base"
combination = { published = 2.35 }

[[design.step]]
label = "LUT"
set = { unpack = "lut" }
published = 1.4

[[design.step]]
label = "unroll"
set = { unroll = "u4" }

[[design.step]]
label = "fused"
set = { epilogue = "fused" }

[[design]]
name = "vectors"
title = "Vectors and prefetch"
kind = "factorial"
from = "base"

[[design.step]]
set = { isa = "avx2" }

[[design.step]]
set = { prefetch = "software" }
"#;

/// ln of what each factor is worth alone, of the kernels.
const ALONE: [f64; 3] = [0.7, 0.2, 0.0];
/// ln of what LUT and unroll are worth together beyond that.
const LUT_UNROLL: f64 = -0.1;
/// Time of a token outside of the kernels, and what `fused` leaves of it, in ns.
const REST: [f64; 2] = [3e4, 1e4];

fn plan() -> Plan {
    let spec = Spec::parse(Path::new("spec.toml"), SPEC.to_owned()).expect("a spec");
    let options = Options { quick: false, keep: &|_| true, cores: 2, copies: &|_, _| 1, presets: &[] };
    expand(&spec, &options).expect("a plan")
}

/// Log speed of the kernels of the cell at `set` in the cube.
fn truth(set: usize) -> f64 {
    let on = |at: usize| f64::from(u8::from(set >> at & 1 == 1));
    (0..3).map(|at| on(at) * ALONE[at]).sum::<f64>() + on(0) * on(1) * LUT_UNROLL
}

/// A run whose kernels have these effects.
fn write_run(dir: &Path) -> Plan {
    let plan = plan();
    let cube = plan.designs[0].factorials[0].clone();
    let facts = |id: &String| CellFacts {
        cell_id: id.clone(),
        weights_per_unit: 1000,
        bytes_per_unit: 500,
        prompt_tokens: None,
        output_sha256: String::new(),
        warm_up: false,
        repetitions: 1,
        quality: Quality::default(),
    };
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        samples_schema: SAMPLES_SCHEMA,
        run_id: "20260101T000000Z-factorial".into(),
        facts: plan.cells.iter().map(|cell| facts(&cell.id)).collect(),
        plan: plan.clone(),
        spec: SPEC.into(),
        environment: [("cpu".to_owned(), "Synthetic".to_owned())].into(),
    };
    write_manifest(dir, &manifest).expect("a manifest");
    let mut random = Pcg64::seed_from_u64(20_261_121);
    let mut samples = RowWriter::<Sample>::append(dir).expect("a new file");
    for block in 0..BLOCKS {
        let drift = 1.0 + 0.1 * f64::from(block % 4);
        let mut rows = Vec::new();
        for (order, cell) in (0..).zip(&plan.cells) {
            let set = cube.cells.iter().position(|id| *id == cell.id).expect("a cell of the cube");
            let kernel = 1e6 * (-truth(set)).exp() * drift * (0.005 * gaussian(&mut random)).exp();
            let token = kernel + drift * REST[set >> 2];
            for (metric, value) in [(TOKEN_TIME, token), (KERNEL_TIME, kernel)] {
                let sample = Sample::of(cell, &plan.workloads[0]);
                rows.push(Sample { block, order, metric: metric.into(), value, ..sample });
            }
        }
        samples.write_block(&rows).expect("a block");
    }
    plan
}

fn run() -> (TempDir, Report) {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path());
    let report = Report::read(dir.path()).expect("a run");
    (dir, report)
}

fn text(report: &Report, name: &str) -> String {
    let table = table::TABLES.iter().find(|table| table.name() == name).expect("a table");
    render::markdown(&table.build(&report.analysis))
}

/// Some dozen intervals of 95 %: compared at twice their width, so that chance does not fail them.
fn holds(effect: &Effect, truth: f64) {
    let (low, high) = (effect.interval.low.ln(), effect.interval.high.ln());
    assert!((truth - (low + high) / 2.0).abs() <= high - low, "{effect:?} misses {}", truth.exp());
    assert!(high - low < 0.03, "{effect:?} is wide");
}

#[test]
fn effects_contributions_and_total_are_recovered() {
    let (_dir, report) = run();
    let results = &report.analysis.factorials;
    let cube = results.iter().find(|r| r.design == "cube" && r.metric == KERNEL_TIME).expect("a result");
    let effects = cube.effects().expect("estimates");
    // An interaction of two is half in the main effect of each, and so in Shapley's contributions.
    let half = LUT_UNROLL / 2.0;
    let main = [ALONE[0] + half, ALONE[1] + half, ALONE[2]];
    for ((term, joint), expected) in effects.terms.iter().zip(main.into_iter().chain([half, 0.0, 0.0])) {
        assert_eq!(joint.effect.n_blocks, BLOCKS as usize, "{term}");
        holds(&joint.effect, expected);
    }
    for (joint, expected) in effects.contributions.iter().zip(main) {
        holds(&joint.effect, expected);
    }
    holds(&effects.total, truth(7));
    let product: f64 = effects.contributions.iter().map(|joint| joint.effect.ratio).product();
    assert!((product / effects.total.ratio - 1.0).abs() < 1e-12, "contributions multiply to the total");
}

/// `fused` changes nothing in the kernels, so no gain that it brings can come from them.
#[test]
fn a_gain_outside_of_the_kernels_is_seen() {
    let (_dir, report) = run();
    let [check] = &report.analysis.amdahls[..] else { panic!("one contrast: {:?}", report.analysis.amdahls) };
    let found = check.check.expect("blocks");
    let kernel = truth(7).exp();
    let reference = 1e6 + REST[0];
    holds(&found.kernel, truth(7));
    holds(&found.predicted, (reference / (1e6 / kernel + REST[0])).ln());
    holds(&found.measured, (reference / (1e6 / kernel + REST[1])).ln());
    assert!((found.share.mean - 1e6 / reference).abs() < 1e-3);
    assert!(text(&report, "amdahl").contains("more than the kernels explain"));
}

#[test]
fn tables_of_a_factorial_design() {
    let (_dir, report) = run();
    let names = ["effects", "shapley", "combinations", "amdahl"];
    insta::assert_snapshot!(names.map(|name| text(&report, name)).join("\n"));
}

/// One cell that fails takes the design with it, and the tables say which.
#[test]
fn without_a_cell_a_design_is_incomplete() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = write_run(dir.path());
    let Factorial { cells, .. } = &plan.designs[0].factorials[0];
    let row = FailureRow { cell_id: cells[5].clone(), block: 3, reason: "wrong output".into() };
    RowWriter::append(dir.path()).expect("a new file").write_block(&[row]).expect("a failure");
    let report = Report::read(dir.path()).expect("a run");
    let cube = report.analysis.factorials.iter().find(|result| result.design == "cube").expect("a result");
    assert!(matches!(&cube.outcome, FactorialOutcome::Incomplete(reasons) if reasons[0].contains("wrong output")));
    for name in ["effects", "shapley"] {
        let text = text(&report, name);
        assert!(text.contains("| cube | tiny | incomplete: see below |"), "{text}");
        assert!(text.contains("Incomplete: cube on tiny: ") && text.contains("failed: wrong output."), "{text}");
    }
}

/// `branch` does not exist on vectors: nothing of that design is measured, and tables say why.
#[test]
fn an_infeasible_combination_is_reported() {
    let (_dir, report) = run();
    let result = report.analysis.factorials.iter().find(|result| result.design == "vectors").expect("a result");
    assert!(result.effects().is_none() && result.factorial.cells.is_empty());
    let text = text(&report, "effects");
    assert!(text.contains("Incomplete: vectors on tiny: "), "{text}");
    if Isa::Avx2.is_available() {
        assert!(text.contains("(isa=avx2; isa=avx2 + prefetch=software)"), "{text}");
    }
}

/// A block in which one cell is missing does not count for the design.
#[test]
fn only_blocks_with_all_cells_count() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = write_run(dir.path());
    let path = dir.path().join("samples.csv");
    let samples = fs::read_to_string(&path).expect("samples");
    let cell = format!(",{},", plan.designs[0].factorials[0].cells[2]);
    let kept = samples.lines().filter(|line| !(line.starts_with("0,4,") && line.contains(&cell)));
    fs::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>()).expect("a writable file");
    let report = Report::read(dir.path()).expect("a run");
    let cube = report.analysis.factorials.iter().find(|result| result.design == "cube").expect("a result");
    assert_eq!(cube.effects().expect("estimates").total.n_blocks, BLOCKS as usize - 1);
}

#[test]
fn the_figure_and_the_derived_file_have_every_effect() {
    let (dir, report) = run();
    let csv = String::from_utf8(derived::effects_csv(&report.analysis).expect("effects")).expect("UTF-8");
    // Two metrics of the cube; three main effects, interactions and contributions each, and a total.
    assert_eq!(csv.lines().count(), 1 + 2 * (3 + 3 + 3 + 1), "{csv}");
    assert!(csv.contains("cube,tiny,kernel_time,interaction,LUT × unroll,12,"), "{csv}");
    let charts: Vec<_> = FIGURES.iter().flat_map(|figure| figure.charts(&report.analysis)).collect();
    let chart = charts.iter().find(|chart| chart.name() == "factorial-cube").expect("a chart");
    // Contributions, the total, interactions.
    assert_eq!(chart.data().rows.len(), 3 + 1 + 3);
    let svg = svg(chart, dir.path()).expect("an SVG");
    assert!(svg.contains("LUT × unroll") && svg.contains("all on / all off"));
    let vectors = charts.iter().find(|chart| chart.name() == "factorial-vectors").expect("a chart");
    assert!(vectors.is_empty(), "a chart without estimates is not written");
}
