//! Programs that report blocks from files, for tests of what follows them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::block::Event;
use crate::{
    doctor::Quantity,
    plan::{Cell, Plan, small},
    record::{CeilingRow, CellFacts, Manifest, Phase, Quality, Sample, manifest::MANIFEST_SCHEMA, row::SAMPLES_SCHEMA},
};

const BODY: &str = r#"
workload = [{ name = "tiny", title = "?", model = "builtin", prompt = "?", threads = 1, repetitions = 1, tokens = 1 }]
arm = { base = {} }
design = [
    { name = "one", title = "?", kind = "add-one-in", from = "base", step = [
        { set = { unpack = "lut" } },
        { set = { unpack = "select" } },
    ] },
]
"#;

/// Three cells in two blocks.
pub fn plan() -> Plan {
    small::plan(&small::spec(BODY)).unwrap()
}

/// What a block's process reports of a cell, in every metric and repetition.
pub fn samples(plan: &Plan, cell: &Cell, block: u32) -> Vec<Sample> {
    let workload = &plan.workloads[0];
    let sample = |phase, repetition, metric: &str| Sample {
        block,
        phase,
        repetition,
        metric: metric.to_owned(),
        value: 1.0,
        ..Sample::of(cell, workload)
    };
    let of = |phase, repetition| workload.metrics().iter().map(move |&metric| (phase, repetition, metric));
    let rows = of(Phase::Warmup, 0).chain(of(Phase::Measure, 1));
    rows.map(|(phase, repetition, metric)| sample(phase, repetition, metric)).collect()
}

/// One ceiling of a block.
pub fn ceiling(block: u32) -> CeilingRow {
    let (ceiling, place) = (Quantity::ReadBandwidth, "DRAM".to_owned());
    CeilingRow { session: 0, block, ceiling, place, threads: 1, value: 10.0, unit: ceiling.unit().to_owned() }
}

/// The manifest of a run of `plan`.
pub fn manifest(plan: Plan) -> Manifest {
    let facts = plan.cells.iter().map(|cell| CellFacts {
        cell_id: cell.id.clone(),
        weights_per_unit: 1,
        bytes_per_unit: 1,
        prompt_tokens: None,
        output_sha256: String::new(),
        warm_up: true,
        repetitions: 1,
        quality: Quality::default(),
    });
    Manifest {
        schema: MANIFEST_SCHEMA,
        samples_schema: SAMPLES_SCHEMA,
        run_id: "fake".to_owned(),
        facts: facts.collect(),
        environment: BTreeMap::new(),
        spec: small::spec(BODY),
        plan,
    }
}

/// A shell script in `dir` as a program.
pub fn program(dir: &Path, script: &str) -> PathBuf {
    let program = dir.join("program.sh");
    fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Takes turns where there are any, as `turns.rs` does; what `began` says is run in the first.
const TURNS: &str = r#"block=$3
trap '' PIPE
case " $* " in *" --turns first "*) place=0;; *" --turns second "*) place=1;; *) place=;; esac
taken=0
turn() {
  if [ -n "$place" ] && [ $((taken % 2)) -ne "$place" ]; then
    if [ "$taken" -gt 0 ]; then { echo >&0; } 2> /dev/null || :; fi
    read -r line || :
  fi
  taken=$((taken + 1))
}
"#;

/// Reports every cell that is not skipped, from files in `dir`, and runs a fault, a command of the shell, in the
/// cell of its number.
pub fn script(dir: &Path, plan: &Plan, fault: Option<(usize, &str)>) -> String {
    timed_script(dir, plan, fault, 1.0)
}

/// The same, where everything takes `time`.
pub fn timed_script(dir: &Path, plan: &Plan, fault: Option<(usize, &str)>, time: f64) -> String {
    let mut script = String::from(TURNS);
    for block in 0..plan.protocol.blocks {
        let ceilings = Event::Ceilings(vec![ceiling(block)]);
        fs::write(dir.join(format!("ceilings.{block}")), serde_json::to_string(&ceilings).unwrap() + "\n").unwrap();
    }
    script += &format!("turn; eval \"${{began:-:}}\"; cat '{}/ceilings.'$block\n", dir.display());
    for (at, cell) in plan.cells.iter().enumerate() {
        for block in 0..plan.protocol.blocks {
            let mut rows = samples(plan, cell, block);
            rows.iter_mut().for_each(|row| row.value *= time);
            let event = serde_json::to_string(&Event::Samples(rows)).unwrap();
            fs::write(dir.join(format!("{}.{block}", cell.id)), event + "\n").unwrap();
        }
        let (id, dir) = (&cell.id, dir.display());
        let fault = fault.filter(|(cell, _)| *cell == at).map_or(String::new(), |(_, fault)| format!("{fault}; "));
        script += &format!(
            "case \"$*\" in *{id}*) ;; *) turn; echo '{{\"started\":\"{id}\"}}'; {fault}cat '{dir}/{id}.'$block ;; esac\n"
        );
    }
    script + "echo '\"done\"'\n"
}
