//! `bench gate` from the outside: bad input, recorded runs, two programs, two revisions.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{assert_refused, stderr, stdout};
use septet::gate::Run;
use septet::record::{PairRow, Side, read_manifest, read_rows};
use tempfile::TempDir;

/// Two arms and a null check on a small matrix.
const SPEC: &str = r#"schema = 1
name = "small"
question = "Does a gate work?"
hypothesis = "Yes."
refuted_by = "An error."

[protocol]
blocks = 10
quick_blocks = 2
seed = 1
margin = 0.01
confidence = 0.95

[[workload]]
name = "small"
title = "80 × 300"
matrix = { rows = 80, cols = 300 }
residency = "cache"
threads = 1
repetitions = 2
tokens = 8

[arm.base]

[[design]]
name = "ladder"
title = "One step"
kind = "cumulative"
from = "base"

[[design.step]]
set = { unpack = "lut" }

[[design]]
name = "null"
title = "The same twice"
kind = "null"
from = "base"
"#;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// A folder with an experiment in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("spec.toml"), SPEC).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `bench`, as if no CI were around.
    fn bench(&self, args: &[&str]) -> Output {
        self.bench_with(args, &[])
    }

    fn bench_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(BENCH);
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command.args(args).current_dir(self.0.path()).envs(variables.iter().copied()).output().unwrap()
    }

    /// A quick run in `a` and a copy of it in `b`.
    fn with_runs() -> Self {
        let place = Self::new();
        let output = place.bench(&["run", "spec.toml", "--quick", "--out", "a"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::create_dir(place.path("b")).unwrap();
        for file in ["manifest.json", "samples.csv"] {
            fs::copy(place.path("a").join(file), place.path("b").join(file)).unwrap();
        }
        place
    }

    /// Writes into `b` the manifest of `a` with `old` replaced.
    fn change_manifest(&self, old: &str, new: &str) {
        let text = self.text("a/manifest.json");
        assert!(text.contains(old), "{old} is not in\n{text}");
        fs::write(self.path("b/manifest.json"), text.replacen(old, new, 1)).unwrap();
    }
}

/// A decision: the exit code and the first word agree, and code and data cannot be a regression.
fn assert_no_regression(output: &Output) -> String {
    let (out, err) = (stdout(output), stderr(output));
    let word = match output.status.code() {
        Some(0) => "gate: pass (0 regression, 0 inconclusive, ",
        Some(2) => "gate: inconclusive (0 regression, ",
        code => panic!("exit code {code:?}\n{out}\n{err}"),
    };
    assert!(out.starts_with(word), "{out}");
    out
}

#[test]
fn command_lines_without_sense_are_refused() {
    let place = Place::new();
    assert_refused(&place.bench(&["gate"]), &["--results", "--against", "--bench-a"]);
    assert_refused(&place.bench(&["gate", "--results", "a"]), &["--results"]);
    assert_refused(&place.bench(&["gate", "--bench-a", BENCH]), &["--bench-b"]);
    assert_refused(&place.bench(&["gate", "--results", "a", "b", "--against", "HEAD"]), &["cannot be used with"]);
    assert_refused(&place.bench(&["gate", "--results", "a", "b", "--blocks", "4"]), &["cannot be used with"]);
    assert_refused(&place.bench(&["gate", "--against", "HEAD", "--blocks", "1"]), &["--blocks"]);
    assert_refused(&place.bench(&["gate", "--results", "a", "b", "--margin", "1"]), &["--margin is 1", "0.02 for 2 %"]);
}

#[test]
fn folders_without_runs_are_refused() {
    let place = Place::new();
    assert_refused(&place.bench(&["gate", "--results", "a", "b"]), &["a: no such folder", "bench run"]);
    fs::create_dir(place.path("a")).unwrap();
    assert_refused(&place.bench(&["gate", "--results", "a", "b"]), &["a: there is no manifest.json"]);
    assert_refused(&place.bench(&["gate", "--results", "spec.toml", "b"]), &["spec.toml: it is a file"]);
}

#[test]
fn a_run_beside_its_copy_is_told_in_every_format() {
    let place = Place::with_runs();
    assert_refused(&place.bench(&["gate", "--results", "a", "b"]), &["a is a quick run", "--allow-quick"]);
    let gate = ["gate", "--results", "a", "b", "--allow-quick"];
    let files = ["--junit", "junit.xml", "--go-bench", "bench.txt"];
    let output = place.bench_with(&[&gate[..], &files].concat(), &[("GITHUB_STEP_SUMMARY", "step.md")]);
    let out = assert_no_regression(&output);
    assert!(out.contains("1.000 [") && out.contains("ladder: unpack=lut") && out.contains("NOT CITABLE"), "{out}");
    assert!(place.text("junit.xml").contains("<testcase name=\"ladder: unpack=lut\" classname=\"small.token_time\""));
    let go = place.text("bench.txt");
    assert_eq!(go.lines().filter(|line| line.starts_with("BenchmarkSmall/unpack=lut-1 1 ")).count(), 4, "{go}");
    assert_eq!(go.lines().filter(|line| line.starts_with("side: ")).collect::<Vec<_>>(), ["side: a", "side: b"]);
    assert!(place.text("step.md").starts_with("## bench gate: "));

    // A summary is appended, a metric is a question of its own, and commands go to the log.
    let more = ["--summary", "step.md", "--metric", "kernel_time,token_time", "--margin", "0.0002"];
    let output = place.bench_with(&[&gate[..], &more].concat(), &[("GITHUB_ACTIONS", "true")]);
    assert!(assert_no_regression(&output).contains("Holm over 2 questions"));
    assert_eq!(place.text("step.md").matches("## bench gate: ").count(), 2);
    let warnings = stderr(&output).matches("::warning title=bench gate::").count();
    assert!(warnings == usize::from(output.status.code() == Some(2)) * 2, "{}", stderr(&output));

    let output = place.bench(&[&gate[..], &["--junit", "nowhere/junit.xml"]].concat());
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("cannot write nowhere/junit.xml"), "{}", stderr(&output));
    let output = place.bench(&[&gate[..], &["--metric", "speed"]].concat());
    assert_refused(&output, &["the metric `speed`", "--metric takes some of: token_time, kernel_time"]);
}

#[test]
fn runs_that_differ_in_what_they_measured_are_refused() {
    let place = Place::with_runs();
    let refused = |old: &str, new: &str, parts: &[&str]| {
        place.change_manifest(old, new);
        assert_refused(&place.bench(&["gate", "--results", "a", "b", "--allow-quick"]), parts);
    };
    refused(
        "\"experiment\": \"small\"",
        "\"experiment\": \"other\"",
        &["different experiments", "a: small", "b: other"],
    );
    refused("\"tokens\": ", "\"tokens\": 1", &["workloads differ"]);
    refused("\"model_sha256\": \"", "\"model_sha256\": \"0", &["different models"]);
    refused("\"caches\": \"", "\"caches\": \"L9 ", &["different machines", "b: L9", "one machine"]);
    refused("\"schema\": 1", "\"schema\": 2", &["b/manifest.json: `schema` is 2, this version reads 1"]);
}

/// A program against itself: whatever the noise, not a regression.
#[test]
fn a_program_beside_itself_is_no_regression() {
    let place = Place::new();
    let gate = ["gate", "--bench-a", BENCH, "--bench-b", BENCH, "spec.toml", "--blocks", "3", "--out", "out"];
    let output = place.bench(&gate);
    println!("exit code {:?}\n{}", output.status.code(), stdout(&output));
    let out = assert_no_regression(&output);
    assert!(out.contains("Holm over 2 questions") && out.contains("samples are in out"), "{out}");

    // Each side is a run of its own, with the order of its cells and the program that ran it.
    let sides = ["a", "b"].map(|side| Run::read(&place.path("out").join(side)).unwrap());
    assert!(sides.iter().all(|run| run.blocks.len() == 3));
    let [a, b] = sides.map(|run| run.manifest);
    assert_eq!((&a.plan, a.plan.protocol.blocks), (&b.plan, 3));
    assert_eq!(a.environment["binary_sha256"], b.environment["binary_sha256"]);
    assert!(a.run_id.ends_with("-a") && b.run_id.ends_with("-b") && a.environment["rustc"] == "not exposed");
    let (pairs, _) = read_rows::<PairRow>(&place.path("out"), &a).unwrap();
    let order: Vec<Side> = pairs.iter().map(|row| row.first).collect();
    assert_eq!(order, [Side::A, Side::B, Side::A]);
    assert_eq!(place.bench(&["report", "out/a"]).status.code(), Some(0));

    assert_refused(&place.bench(&gate), &["out exists already and is not empty", "--out"]);
}

#[test]
fn programs_and_experiments_that_are_not_there_are_refused() {
    let place = Place::new();
    let gate = |a: &str, spec: &str| place.bench(&["gate", "--bench-a", a, "--bench-b", BENCH, spec, "--out", "out"]);
    assert_refused(&gate("nowhere", "spec.toml"), &["cannot read the program nowhere", "cargo build --release"]);
    assert_refused(&gate(BENCH, "nowhere.toml"), &["cannot read the experiment nowhere.toml"]);
    let nothing = ["gate", "--bench-a", BENCH, "--bench-b", BENCH, "spec.toml", "-a", "unpack=select"];
    assert_refused(&place.bench(&nothing), &["no contrast is left"]);
    assert!(!place.path("out").exists());
}

/// A program that is older than an axis says so, and the gate repeats it.
#[test]
#[cfg(unix)]
fn an_older_program_that_does_not_know_the_plan_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let old = place.path("old.sh");
    fs::write(&old, "#!/bin/sh\necho 'the plan names a level that this program does not have: no axis' >&2\nexit 3\n")
        .unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let output = place.bench(&["gate", "--bench-a", "./old.sh", "--bench-b", BENCH, "spec.toml", "--out", "out"]);
    let parts = ["side a", "exit status: 3", "the plan names a level that this program does not have: no axis"];
    assert_refused(&output, &parts);
}

fn command(folder: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", stderr(&output));
}

/// A repository whose program passes everything on to the one under test.
fn repository() -> Place {
    let place = Place::new();
    let main = format!(
        "use std::os::unix::process::CommandExt;\n\
         fn main() {{\n    \
             let error = std::process::Command::new({BENCH:?}).args(std::env::args_os().skip(1)).exec();\n    \
             panic!(\"{{error}}\");\n\
         }}\n"
    );
    fs::create_dir(place.path("src")).unwrap();
    fs::write(place.path("src/main.rs"), main).unwrap();
    let package = "[package]\nname = \"bench\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(place.path("Cargo.toml"), package).unwrap();
    fs::write(place.path("Cargo.lock"), "version = 4\n\n[[package]]\nname = \"bench\"\nversion = \"1.0.0\"\n").unwrap();
    fs::write(place.path(".gitignore"), "/target\n").unwrap();
    command(place.0.path(), "git", &["init", "--quiet"]);
    commit(&place, "first");
    place
}

fn commit(place: &Place, subject: &str) {
    command(place.0.path(), "git", &["add", "--all"]);
    let author = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
    command(place.0.path(), "git", &[&author[..], &["commit", "--quiet", "--message", subject]].concat());
}

#[test]
#[cfg(unix)]
fn a_revision_is_built_and_measured_beside_the_checkout() {
    let place = repository();
    fs::write(place.path("notes.txt"), "a second commit").unwrap();
    commit(&place, "second");
    let gate = ["gate", "--against", "HEAD~1", "spec.toml", "--blocks", "2", "--out"];
    let output = place.bench(&[&gate[..], &["out"]].concat());
    let out = assert_no_regression(&output);
    let [a, b] = ["a", "b"].map(|side| read_manifest(&place.path("out").join(side)).unwrap().environment);
    assert_ne!(a["git_commit"], b["git_commit"]);
    assert!(out.contains(&format!("HEAD~1: commit {}, clean", a["git_commit"])), "{out}");
    assert!(out.contains(&format!("this checkout: commit {}, clean", b["git_commit"])), "{out}");
    assert!(place.path("target/gate/base/src/main.rs").exists() && !place.path("target/gate/base/notes.txt").exists());

    // The work tree is used again, for another commit.
    let output = place.bench(&["gate", "--against", "HEAD", "spec.toml", "--blocks", "2", "--out", "again"]);
    assert_no_regression(&output);
    assert!(place.path("target/gate/base/notes.txt").exists());
}

#[test]
#[cfg(unix)]
fn revisions_that_cannot_be_built_are_refused_with_what_the_compiler_said() {
    let place = repository();
    let gate = |reference: &str| place.bench(&["gate", "--against", reference, "spec.toml", "--out", "out"]);
    assert_refused(&gate("origin/main"), &["`origin/main` names no commit", "git fetch"]);
    assert_refused(&gate("--help"), &["--against"]);
    let main = place.text("src/main.rs");
    fs::write(place.path("src/main.rs"), "fn main() { broken }\n").unwrap();
    commit(&place, "broken");
    fs::write(place.path("src/main.rs"), main).unwrap();
    let parts = ["the base ", "does not build", "cannot find value `broken` in this scope", "src/main.rs:1"];
    assert_refused(&gate("HEAD"), &parts);
    assert!(!place.path("out").exists());
}

#[test]
fn a_folder_outside_of_any_checkout_has_no_revisions() {
    let place = Place::new();
    let output = place.bench(&["gate", "--against", "HEAD", "spec.toml"]);
    assert_refused(&output, &["no git checkout", "--bench-a and --bench-b"]);
}
