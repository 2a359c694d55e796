//! `bench gate --counts` from the outside. Without valgrind, what needs it is skipped with the reason.
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use septet::counters::callgrind::Simulator;
use septet::record::baseline::{Baseline, read_baseline, write_baseline};
use tempfile::TempDir;

/// One kernel that runs on every CPU.
const SELECTION: [&str; 10] =
    ["-a", "format=w3p5", "-a", "layout=byte_per_pair", "-a", "unpack=lut", "-a", "unroll=u1", "-a", "isa=scalar"];
const KERNEL: &str = "gemv/w3p5/byte_per_pair/lut/u1/scalar";

/// A folder with a baseline in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With the count of the kernel; says why there is none where valgrind is missing.
    fn counted() -> Option<Self> {
        static COUNTED: OnceLock<Baseline> = OnceLock::new();
        let _ = Simulator::find().inspect_err(|none| eprintln!("skipped: {none}")).ok()?;
        let baseline = COUNTED.get_or_init(|| {
            let place = Self::new();
            let output = place.gate(&["--update", "the first counts"]);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            place.baseline()
        });
        let place = Self::new();
        fs::create_dir(place.path().parent().unwrap()).unwrap();
        write_baseline(&place.path(), baseline).unwrap();
        Some(place)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("counts/baseline.json")
    }

    fn baseline(&self) -> Baseline {
        read_baseline(&self.path()).unwrap()
    }

    /// Makes the kernel's count in the file such that the program takes `factor` as many.
    fn take(&self, factor: f64) {
        let mut baseline = self.baseline();
        let count = baseline.instructions.get_mut(KERNEL).unwrap();
        *count = (*count as f64 / factor).round() as u64;
        write_baseline(&self.path(), &baseline).unwrap();
    }

    fn change(&self, change: impl Fn(&mut Baseline)) {
        let mut baseline = self.baseline();
        change(&mut baseline);
        write_baseline(&self.path(), &baseline).unwrap();
    }

    fn gate(&self, args: &[&str]) -> Output {
        self.gate_with(args, &[])
    }

    fn gate_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY").envs(variables.iter().copied());
        command.args(["gate", "--counts", "--baseline"]).arg(self.path()).args(SELECTION).args(args);
        command.current_dir(self.0.path()).output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A baseline of a toolchain that nobody has, which needs no valgrind to be written.
fn foreign() -> Place {
    let place = Place::new();
    fs::create_dir(place.path().parent().unwrap()).unwrap();
    let text = r#"{"schema": 1, "toolchain": {"rustc": "rustc 0.1", "target": "?", "profile": "?", "rustflags": "?",
        "libc": "?", "valgrind": "valgrind-0"}, "rows": 64, "cols": 128, "updates": [],
        "instructions": {"gemv/w3p5/byte_per_pair/lut/u1/scalar": 1000}}"#;
    fs::write(place.path(), text).unwrap();
    place
}

#[test]
fn the_same_program_passes_each_time() {
    let Some(place) = Place::counted() else { return };
    let baseline = place.baseline();
    assert_eq!(baseline.instructions.len(), 1);
    assert_eq!(baseline.updates.len(), 1);
    assert_eq!(baseline.updates[0].reason, "the first counts");
    for _ in 0..3 {
        let output = place.gate(&[]);
        assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("1 equivalent"), "{}", stdout(&output));
    }
}

#[test]
fn half_a_percent_more_is_a_regression_and_a_tenth_is_not() {
    let Some(place) = Place::counted() else { return };
    place.take(1.001);
    let output = place.gate(&[]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains("instructions in A"), "{}", stdout(&output));

    let place = Place::counted().expect("as before");
    place.take(1.005);
    let output = place.gate_with(&["--junit", "gate.xml"], &[("GITHUB_ACTIONS", "true")]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stdout(&output).contains("1 regression") && stdout(&output).contains(KERNEL), "{}", stdout(&output));
    assert!(stderr(&output).contains("::error title=bench gate::regression"), "{}", stderr(&output));
    let junit = fs::read_to_string(place.0.path().join("gate.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");

    place.take(1.0 / 1.005 / 1.005);
    let output = place.gate(&[]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains("fewer instructions: --update holds them to it"), "{}", stdout(&output));
}

#[test]
fn a_baseline_goes_up_only_where_that_is_accepted_and_recorded() {
    let Some(place) = Place::counted() else { return };
    place.take(1.005);
    let before = place.baseline();
    let output = place.gate(&["--update", "they are longer now"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("--accept-regressions"), "{}", stderr(&output));
    assert_eq!(place.baseline(), before);

    let output = place.gate(&["--update", "they are longer now", "--accept-regressions"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let after = place.baseline();
    assert!(after.instructions[KERNEL] > before.instructions[KERNEL]);
    assert_eq!((after.updates.len(), after.updates[1].accepted.as_slice()), (2, &[KERNEL.to_owned()][..]));
    assert_eq!(code(&place.gate(&[])), 0);
}

#[test]
fn another_toolchain_is_never_a_pass() {
    let Some(place) = Place::counted() else { return };
    place.change(|baseline| baseline.toolchain.libc = "glibc 1.0".to_owned());
    let output = place.gate(&[]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    assert!(stdout(&output).contains("libc is glibc 1.0 there"), "{}", stdout(&output));
    // What is outside the selection would stay of the other toolchain.
    place.change(|baseline| {
        baseline.instructions.insert("gemv/w4/dense/lut/u1/scalar".to_owned(), 1);
    });
    let output = place.gate(&["--update", "why"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("update it as a whole"), "{}", stderr(&output));
}

#[test]
fn a_kernel_that_only_one_side_has_is_inconclusive() {
    let Some(place) = Place::counted() else { return };
    place.change(|baseline| {
        baseline.instructions.remove(KERNEL);
        baseline.instructions.insert("gemv/gone".to_owned(), 7);
    });
    let output = place.gate(&[]);
    assert_eq!(code(&output), 2, "{}", stdout(&output));
    for part in ["2 inconclusive", "not in the baseline: update it", "no kernel of this program: update it"] {
        assert!(stdout(&output).contains(part), "no `{part}` in {}", stdout(&output));
    }
}

#[test]
fn without_valgrind_it_is_inconclusive_and_says_so() {
    let place = foreign();
    let output = place.gate_with(&[], &[("PATH", "/nonexistent")]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stdout(&output).contains("valgrind is not in PATH"), "{}", stdout(&output));
    let output = place.gate_with(&["--update", "why"], &[("PATH", "/nonexistent")]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("the baseline is as it was"), "{}", stderr(&output));
}

#[test]
fn bad_input_is_refused_and_nothing_is_written() {
    let refused = |place: &Place, args: &[&str], parts: &[&str]| {
        let output = place.gate(args);
        let err = stderr(&output);
        assert_eq!((code(&output), stdout(&output).as_str()), (3, ""), "{err}");
        assert!(parts.iter().all(|part| err.contains(part)), "{err}");
    };
    let place = Place::new();
    refused(&place, &[], &["baseline.json", "--update REASON"]);
    refused(&place, &["--update", " "], &["has no reason"]);
    refused(&place, &["-a", "unpack=nope"], &["axis unpack has no level `nope`"]);
    refused(&place, &["--accept-regressions"], &["--update"]);
    let place = foreign();
    fs::write(place.path(), "{").unwrap();
    refused(&place, &["--update", "why"], &["baseline.json:1:"]);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "{");
    let place = foreign();
    refused(&place, &["--blocks", "3"], &["cannot be used with"]);
    refused(&place, &["--go-bench", "x"], &["cannot be used with"]);
}
