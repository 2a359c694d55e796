//! Going on with a run: is it the same run, and which of its blocks are there?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

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

/// What the plan follows from beside the experiment file.
const OF_PLAN: &str = "give the --quick, --pilot and -a of the first start; cores and cache of the machine count, too";

/// Differences that a message lists; more are counted.
const LISTED: usize = 8;

/// Refuses to go on with the run of `manifest` in `dir` when it measures something else than `plan`,
/// with another program, machine or model.
///
/// # Errors
/// What differs, or a model that cannot be read.
pub fn check_same(dir: &Path, manifest: &Manifest, plan: &Plan, spec: &str) -> Result<(), RunError> {
    check_equal(dir, "the experiment file", lines(&manifest.spec, spec))?;
    let value = |plan: &Plan| serde_json::to_value(plan).map_err(std::io::Error::from);
    let (recorded, now) = (value(&manifest.plan)?, value(plan)?);
    let mut of_plan = Vec::new();
    leaves(&recorded, &now, "plan", &mut of_plan);
    check_equal(dir, "the plan", of_plan)?;
    check_environment(dir, &manifest.environment, &machine::environment())?;
    let recorded = manifest.environment.get("model_sha256").cloned().unwrap_or_default();
    check_equal(dir, "the model", Difference::of("model_sha256", &recorded, &stage::model_hash(plan)?))
}

/// Refuses to go on in `dir` with another program, or on another machine.
///
/// # Errors
/// What differs.
pub fn check_environment(
    dir: &Path,
    recorded: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<(), RunError> {
    let fact = |facts: &BTreeMap<String, String>, key: &str| facts.get(key).cloned().unwrap_or_default();
    let of = |(key, what): &(&str, &'static str)| {
        let differences = Difference::of(key, &fact(recorded, key), &fact(now, key));
        (!differences.is_empty()).then_some((*what, differences))
    };
    let (what, differences): (Vec<&str>, Vec<Vec<Difference>>) = SAME.iter().filter_map(of).unzip();
    check_equal(dir, &what.join(", "), differences.concat())
}

/// A place with what stands there in each of two things.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    place: String,
    recorded: String,
    now: String,
}

impl Difference {
    /// Nothing, or the one difference.
    fn of(place: &str, recorded: &str, now: &str) -> Vec<Self> {
        let (place, recorded, now) = (place.to_owned(), recorded.to_owned(), now.to_owned());
        if recorded == now { Vec::new() } else { vec![Self { place, recorded, now }] }
    }
}

fn check_equal(dir: &Path, what: &str, differences: Vec<Difference>) -> Result<(), RunError> {
    if differences.is_empty() {
        return Ok(());
    }
    let text =
        |Difference { place, recorded, now }: &Difference| format!("  - {place}: {recorded}\n  + {place}: {now}");
    let mut listed: Vec<String> = differences.iter().take(LISTED).map(text).collect();
    if let Some(more) = differences.len().checked_sub(LISTED).filter(|&more| more > 0) {
        listed.push(format!("  and {more} more"));
    }
    if differences.iter().any(|difference| difference.place.starts_with("plan.")) {
        listed.push(format!("  {OF_PLAN}"));
    }
    Err(RunError::Different { path: dir.to_owned(), what: what.to_owned(), differences: listed.join("\n") })
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

/// The lines in which two texts differ, between their common beginning and their common end.
fn lines(recorded: &str, now: &str) -> Vec<Difference> {
    let (old, new): (Vec<&str>, Vec<&str>) = (recorded.split('\n').collect(), now.split('\n').collect());
    let shorter = old.len().min(new.len());
    let same_end = (1..=shorter).take_while(|back| old[old.len() - back] == new[new.len() - back]).count();
    let longer = old.len().max(new.len());
    let at = |lines: &[&str], number: usize| match lines.get(number) {
        Some(line) if number < lines.len() - same_end.min(lines.len()) => (*line).to_owned(),
        _ => "(no line)".to_owned(),
    };
    let different =
        |number: usize| Difference::of(&format!("line {}", number + 1), &at(&old, number), &at(&new, number));
    (0..longer).flat_map(different).collect()
}

/// The leaves in which two values differ, by their path: `plan.protocol.blocks`.
fn leaves(recorded: &Value, now: &Value, path: &str, found: &mut Vec<Difference>) {
    let nothing = Value::String("(nothing)".to_owned());
    match (recorded, now) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&nothing), new.get(key).unwrap_or(&nothing));
                leaves(old, new, &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for at in 0..old.len().max(new.len()) {
                let (old, new) = (old.get(at).unwrap_or(&nothing), new.get(at).unwrap_or(&nothing));
                leaves(old, new, &format!("{path}[{at}]"), found);
            }
        }
        (old, new) => found.extend(Difference::of(path, &old.to_string(), &new.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(|d| format!("{}: {} / {}", d.place, d.recorded, d.now)).collect()
    }

    #[test]
    fn changed_added_and_removed_lines_are_named() {
        assert!(lines("a\nb\n", "a\nb\n").is_empty());
        assert_eq!(texts(&lines("a\nb\nc", "a\nx\nc")), ["line 2: b / x"]);
        assert_eq!(texts(&lines("a\nc", "a\nb\nc")), ["line 2: (no line) / b"]);
        assert_eq!(texts(&lines("a\nb\nc", "a\nc")), ["line 2: b / (no line)"]);
        assert_eq!(texts(&lines("a\na", "a")), ["line 1: a / (no line)"]);
    }

    #[test]
    fn leaves_have_their_path_and_long_lists_an_end() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let mut found = Vec::new();
        let (old, new) = (r#"{"a":[1,{"b":2}],"c":null}"#, r#"{"a":[1,{"b":3},4],"c":null,"d":true}"#);
        leaves(&value(old), &value(new), "plan", &mut found);
        let expected = ["plan.a[1].b: 2 / 3", "plan.a[2]: \"(nothing)\" / 4", "plan.d: \"(nothing)\" / true"];
        assert_eq!(texts(&found), expected);

        let many: Vec<Difference> = (0..10).flat_map(|n| Difference::of(&format!("line {n}"), "a", "b")).collect();
        let message = check_equal(Path::new("out"), "the file", many).unwrap_err().to_string();
        assert!(message.starts_with("out cannot be resumed: the file differs\n  - line 0: a\n  + line 0: b\n"));
        assert!(message.ends_with("\n  and 2 more"), "{message}");
    }

    #[test]
    fn another_program_or_machine_is_named_with_both_facts() {
        let facts = |program: &str, cpu: &str| {
            [("binary_sha256", program), ("cpu", cpu), ("load", program)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        };
        let check = |now: &BTreeMap<String, String>| check_environment(Path::new("out"), &facts("1", "x"), now);
        assert!(check(&facts("1", "x")).is_ok());
        let message = check(&facts("2", "y")).unwrap_err().to_string();
        assert!(message.contains("the program, the machine (cpu) differs"), "{message}");
        assert!(message.contains("  - binary_sha256: 1\n  + binary_sha256: 2\n  - cpu: x\n  + cpu: y"), "{message}");
    }
}
