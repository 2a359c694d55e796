//! `bench calibrate` from the outside: a small calibration, its report, its resumption, and bad input.
#![cfg(unix)]

mod common;

use std::{fs, process::Command};

use common::{assert_refused, stderr};

/// A calibration of few and short windows: whole, reported, resumed, and refused.
#[test]
fn a_small_calibration_is_written_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(arguments).current_dir(folder.path()).output().unwrap()
    };
    let output = bench(&["calibrate", "--out", "out", "--blocks", "16", "--window", "2"]);
    let err = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"out\n"[..]), "{err}");
    assert!(err.contains("16 blocks of about ") && err.contains(" minutes"), "{err}");
    let out = folder.path().join("out");
    let rows = fs::read_to_string(out.join("calibration.csv")).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let stages = if cores == 1 { 1 } else { 2 };
    assert_eq!(rows.lines().count(), 1 + 16 * 7 * stages);
    let table = |name: &str| fs::read_to_string(out.join("tables").join(name)).unwrap();
    assert!(table("false_alarms.md").contains("| quiet | 1 | 6 |"), "{}", table("false_alarms.md"));
    assert!(table("detection.md").contains("| slower\\_10 | 10% |"), "{}", table("detection.md"));
    assert!(table("evidence.md").contains("| interference | 1 | 4 |"), "{}", table("evidence.md"));
    assert!(out.join("figures/detection-1t.svg").exists() && out.join("rates.csv").exists());

    // The report is a function of the rows.
    let before = (table("detection.tex"), fs::read(out.join("figures/detection-1t.png")).unwrap());
    let report = bench(&["report", "out"]);
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    assert!(before == (table("detection.tex"), fs::read(out.join("figures/detection-1t.png")).unwrap()));

    // A killed writer leaves the beginning of a block: that block alone is run again.
    let lines: Vec<&str> = rows.lines().collect();
    fs::write(out.join("calibration.csv"), lines[..lines.len() - 3].join("\n") + "\n").unwrap();
    let output = bench(&["calibrate", "--resume", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let resumed = fs::read_to_string(out.join("calibration.csv")).unwrap();
    assert_eq!(resumed.lines().filter(|line| line.starts_with("1,15,")).count(), 7 * stages);
    assert_eq!(resumed.lines().count(), lines.len() - 3 + 7 * stages);

    assert_refused(&bench(&["calibrate", "--out", "out", "--blocks", "16", "--window", "2"]), &["out exists already"]);
    assert_refused(&bench(&["calibrate", "--blocks", "17", "--window", "2"]), &["`blocks` is 17", "a multiple of 16"]);
    let settings = out.join("calibration.json");
    let text = fs::read_to_string(&settings).unwrap();
    let at = text.find("\"binary_sha256\": \"").unwrap() + 18;
    fs::write(&settings, format!("{}x{}", &text[..at], &text[at + 1..])).unwrap();
    let parts = ["out cannot be resumed: the program differs", "- binary_sha256: x", "+ binary_sha256: "];
    assert_refused(&bench(&["calibrate", "--resume", "out"]), &parts);
}
