//! Going on with a run: is it the same run, and which of its blocks are there?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{RunError, machine, stage};
use crate::{
    plan::{Cell, Plan},
    record::{FailureRow, Manifest, Phase, Sample},
};

/// What must not change between the start of a run and its resumption, beside spec, plan and model.
const SAME: [(&str, &str); 5] = [
    ("binary_sha256", "the program"),
    ("cpu", "the machine (cpu)"),
    ("cpu_family_model_stepping", "the machine (cpu_family_model_stepping)"),
    ("microcode", "the machine (microcode)"),
    ("os_kernel", "the machine (os_kernel)"),
];

/// Refuses to go on with the run of `manifest` in `dir` when it measures something else than `plan`,
/// with another program, machine or model.
///
/// # Errors
/// The first difference, or a model that cannot be read.
pub fn check_same(dir: &Path, manifest: &Manifest, plan: &Plan, spec: &str) -> Result<(), RunError> {
    let different = |what: &str, recorded: &str, now: &str| RunError::Different {
        path: dir.to_owned(),
        what: what.to_owned(),
        recorded: recorded.to_owned(),
        now: now.to_owned(),
    };
    if manifest.spec != spec {
        let (old, new) = first_difference(&manifest.spec, spec);
        return Err(different("the experiment file", &old, &new));
    }
    if manifest.plan != *plan {
        return Err(different("the plan", "other arms, sizes or blocks", "see --quick, -a and this machine"));
    }
    let environment = machine::environment();
    let recorded = |key: &str| manifest.environment.get(key).cloned().unwrap_or_default();
    for (key, what) in SAME {
        let now = environment.get(key).cloned().unwrap_or_default();
        if recorded(key) != now {
            return Err(different(what, &recorded(key), &now));
        }
    }
    let model = stage::model_hash(plan)?;
    if recorded("model_sha256") != model {
        return Err(different("the model", &recorded("model_sha256"), &model));
    }
    Ok(())
}

/// Blocks whose rows are all there. A writer that was killed leaves a beginning of its block.
pub fn finished(manifest: &Manifest, samples: &[Sample], failures: &[FailureRow]) -> BTreeSet<u32> {
    let plan = &manifest.plan;
    let mut rows: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let mut sessions: BTreeMap<u32, u32> = BTreeMap::new();
    for sample in samples {
        let latest = sessions.entry(sample.block).or_default();
        *latest = sample.session.max(*latest);
    }
    for sample in samples.iter().filter(|sample| sessions[&sample.block] == sample.session) {
        if sample.phase == Phase::Measure {
            *rows.entry((sample.block, &sample.cell_id)).or_default() += 1;
        }
    }
    let complete = |block: u32, cell: &Cell, repetitions: u32| {
        let ran = !failures.iter().any(|failure| failure.cell_id == cell.id && failure.block <= block);
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload);
        let planned = workload.map_or(1, |workload| workload.metrics().len()) * repetitions as usize;
        !ran || rows.get(&(block, cell.id.as_str())) == Some(&planned)
    };
    let all = |block: u32| {
        plan.cells.iter().zip(&manifest.facts).all(|(cell, facts)| complete(block, cell, facts.repetitions))
    };
    sessions.into_keys().filter(|&block| all(block)).collect()
}

/// The first line in which two texts differ, as it stands in each.
fn first_difference(old: &str, new: &str) -> (String, String) {
    let (mut old_lines, mut new_lines) = (old.lines(), new.lines());
    for number in 1.. {
        let (old, new) = (old_lines.next(), new_lines.next());
        if old != new || old.is_none() {
            let show = |line: Option<&str>| format!("line {number}: {}", line.unwrap_or("(end of the file)"));
            return (show(old), show(new));
        }
    }
    unreachable!("the texts end")
}
