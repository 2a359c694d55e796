//! May two recorded runs be compared?
//!
//! They must be runs of one experiment: the same plan but for the number of blocks, the same models. They
//! must be of one kind of machine: what a step is worth depends on the processor, so a difference between
//! two processors says nothing about the code. What may differ between two days on one machine (kernel,
//! microcode, compiler) is allowed and told.

use std::collections::BTreeSet;

use super::{GateError, Run, error::Difference};
use crate::{plan::Plan, record::Manifest};

/// Facts of a machine that decide what a step is worth.
const MACHINE: [&str; 5] = ["cpu", "cpu_family_model_stepping", "cpu_flags", "cores", "caches"];

/// Facts that may differ and should be known.
const TOLD: [&str; 8] =
    ["rustc", "rustflags", "profile", "os_kernel", "microcode", "governor", "transparent_hugepage", "memory"];

/// What to do about runs of different experiments.
const RUN_AGAIN: &str = "run the same experiment file with the same -a for both";

/// Refuses what must not be compared, and returns what should be known of the rest.
///
/// # Errors
/// The first difference that forbids a comparison; a quick run, unless `allow_quick`.
pub fn check_comparable(a: &Run, b: &Run, allow_quick: bool) -> Result<Vec<String>, GateError> {
    let different = |what, (in_a, in_b): (String, String), help| {
        GateError::from(Box::new(Difference { a: a.dir.clone(), b: b.dir.clone(), what, in_a, in_b, help }))
    };
    if let Some((what, found)) = difference(&a.manifest.plan, &b.manifest.plan) {
        return Err(different(what, found, RUN_AGAIN));
    }
    if let Some(quick) = [a, b].into_iter().find(|run| run.manifest.plan.protocol.quick && !allow_quick) {
        return Err(GateError::Quick { dir: quick.dir.clone() });
    }
    if let Some(found) = fact("model_sha256", &a.manifest, &b.manifest) {
        return Err(different("they ran different models", found, "run both with the same model files"));
    }
    if let Some(found) = MACHINE.into_iter().find_map(|key| fact(key, &a.manifest, &b.manifest)) {
        return Err(different("they ran on different machines", found, "record both runs on one machine"));
    }
    let mut notes = Vec::new();
    for key in TOLD {
        if let Some((in_a, in_b)) = fact(key, &a.manifest, &b.manifest) {
            notes.push(format!("`{key}` differs: {in_a} in A, {in_b} in B"));
        }
    }
    for (side, run) in [("A", a), ("B", b)] {
        let (found, planned) = (run.blocks.len(), run.manifest.plan.protocol.blocks);
        if found < planned as usize {
            notes.push(format!("{side} has {found} of {planned} blocks"));
        }
        if run.manifest.plan.protocol.quick {
            notes.push(format!("{side} is a quick run: NOT CITABLE"));
        }
        notes.extend(run.torn.iter().map(|torn| format!("{side}: {torn}")));
    }
    Ok(notes)
}

/// A fact that differs, as it stands in each manifest.
fn fact(key: &str, a: &Manifest, b: &Manifest) -> Option<(String, String)> {
    let value =
        |manifest: &Manifest| manifest.environment.get(key).cloned().unwrap_or_else(|| "not recorded".to_owned());
    let (a, b) = (value(a), value(b));
    (a != b).then_some((a, b))
}

/// The first thing in which two plans measure something else, and what it is in each.
fn difference(a: &Plan, b: &Plan) -> Option<(&'static str, (String, String))> {
    if a.experiment != b.experiment {
        return Some(("they are runs of different experiments", (a.experiment.clone(), b.experiment.clone())));
    }
    let protocol = |plan: &Plan| {
        let protocol = &plan.protocol;
        let length = if protocol.quick { "a quick run" } else { "a full run" };
        format!("{length}, margin {}, confidence {}", protocol.margin, protocol.confidence)
    };
    if protocol(a) != protocol(b) {
        return Some(("their protocols differ", (protocol(a), protocol(b))));
    }
    let workloads = |plan: &Plan| -> BTreeSet<String> {
        plan.workloads
            .iter()
            .map(|w| format!("{}: {:?}, {} threads, {} tokens", w.name, w.source, w.threads, w.tokens))
            .collect()
    };
    let cells = |plan: &Plan| -> BTreeSet<String> {
        plan.cells.iter().map(|cell| format!("{} on {}", cell.arm, cell.workload)).collect()
    };
    let contrasts = |plan: &Plan| -> BTreeSet<String> {
        let of_designs = plan.designs.iter().flat_map(|design| design.contrasts.iter().map(move |c| (design, c)));
        of_designs
            .map(|(design, c)| format!("{}: {} ({} against {})", design.name, c.step, c.arm, c.reference))
            .collect()
    };
    [
        ("their workloads differ", workloads(a), workloads(b)),
        ("they measured different cells", cells(a), cells(b)),
        ("their designs ask for different contrasts", contrasts(a), contrasts(b)),
    ]
    .into_iter()
    .find_map(|(what, a, b)| Some((what, only(&a, &b)?)))
}

/// What one of two sets alone has, in words for each.
fn only(a: &BTreeSet<String>, b: &BTreeSet<String>) -> Option<(String, String)> {
    let words = |here: &BTreeSet<String>, there: &BTreeSet<String>| {
        let mut only = here.difference(there);
        match (only.next(), only.count()) {
            (None, _) => "nothing that the other lacks".to_owned(),
            (Some(first), 0) => first.clone(),
            (Some(first), more) => format!("{first}, and {more} more"),
        }
    };
    (a != b).then(|| (words(a, b), words(b, a)))
}
