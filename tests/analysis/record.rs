//! Files of a run: exact round trips, precise errors, torn lines.

use std::fs;
use std::path::Path;

use septet::record::{
    CounterRow, Manifest, RecordError, RowWriter, Sample, WeightsRow, read_manifest, read_rows, write_manifest,
};
use septet::record::{rules::Row, store::MANIFEST_FILE};
use septet::report::analysis::Analysis;
use tempfile::TempDir;

use crate::synthetic::write_run;

fn run() -> (TempDir, Manifest) {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = write_run(dir.path(), false);
    (dir, manifest)
}

fn edit(dir: &Path, file: &str, change: impl FnOnce(String) -> String) {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).expect("a file of the run");
    fs::write(&path, change(text)).expect("a writable file");
}

/// The message, without the directory that differs from test to test.
fn message(dir: &Path, error: &RecordError) -> String {
    error.to_string().replace(&format!("{}/", dir.display()), "")
}

fn sample_error(change: impl FnOnce(String) -> String) -> String {
    let (dir, manifest) = run();
    edit(dir.path(), Sample::FILE, change);
    let error = read_rows::<Sample>(dir.path(), &manifest).expect_err("a malformed file");
    message(dir.path(), &error)
}

fn manifest_error(change: impl FnOnce(String) -> String) -> String {
    let (dir, _) = run();
    edit(dir.path(), MANIFEST_FILE, change);
    message(dir.path(), &read_manifest(dir.path()).expect_err("a malformed manifest"))
}

#[test]
fn manifests_and_rows_round_trip_exactly() {
    let (dir, manifest) = run();
    assert_eq!(read_manifest(dir.path()).expect("a manifest"), manifest);
    let (rows, torn) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    assert!(!rows.is_empty() && torn.is_none());
    let copy = tempfile::tempdir().expect("a directory");
    let mut writer = RowWriter::<Sample>::append(copy.path()).expect("a new file");
    writer.write_block(&rows).expect("a block");
    let bytes = |dir: &Path| fs::read(dir.join(Sample::FILE)).expect("a file");
    assert_eq!(bytes(copy.path()), bytes(dir.path()));
}

/// The listed columns are those that serde writes.
#[test]
fn columns_are_those_of_the_row_types() {
    let (dir, manifest) = run();
    let (samples, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    let (counters, _) = read_rows::<CounterRow>(dir.path(), &manifest).expect("counters");
    assert_eq!(header(&samples[0]), Sample::COLUMNS.join(","));
    assert_eq!(header(&counters[0]), CounterRow::COLUMNS.join(","));
}

fn header(row: &impl Row) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row).expect("a row");
    let text = String::from_utf8(writer.into_inner().expect("a buffer")).expect("UTF-8");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Writes the run again as before there was an axis: `manifest` without it, samples without its column.
fn without_axis(dir: &Path, manifest: &mut Manifest, axis: &str) {
    manifest.plan.cells.iter_mut().for_each(|cell| drop(cell.factors.remove(axis)));
    write_manifest(dir, manifest).expect("a manifest");
    without_column(dir, axis);
}

fn without_column(dir: &Path, column: &str) {
    edit(dir, Sample::FILE, |text| {
        let header = text.lines().next().expect("a header");
        let at = header.split(',').position(|name| name == column).expect("a column");
        let cut = |line: &str| {
            let mut fields: Vec<&str> = line.split(',').collect();
            fields.remove(at);
            fields.join(",") + "\n"
        };
        text.lines().map(cut).collect()
    });
}

#[test]
fn an_axis_that_a_run_does_not_name_is_at_the_published_baseline() {
    let (dir, mut manifest) = run();
    let (rows, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    without_axis(dir.path(), &mut manifest, "granularity");
    let manifest = read_manifest(dir.path()).expect("a manifest");
    assert_eq!(manifest.plan.cells[0].level("granularity"), Some("g128"));
    assert_eq!(read_rows::<Sample>(dir.path(), &manifest).expect("samples"), (rows, None));
    // Rows are added to files of this version alone.
    let error = RowWriter::<Sample>::append(dir.path()).err().expect("an older header").to_string();
    assert!(error.contains("column `granularity` is missing"), "{error}");
}

#[test]
fn columns_that_a_run_is_older_than_are_read_as_empty() {
    let (dir, manifest) = run();
    let (rows, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    assert!(!Sample::LATER.is_empty());
    Sample::LATER.iter().for_each(|column| without_column(dir.path(), column));
    assert_eq!(read_rows::<Sample>(dir.path(), &manifest).expect("samples"), (rows, None));
    // Rows are added to files of this version alone.
    let error = RowWriter::<Sample>::append(dir.path()).err().expect("an older header").to_string();
    assert!(error.contains("column `peak_before` is missing"), "{error}");
}

#[test]
fn a_column_that_the_plan_or_a_row_speaks_of_is_not_filled_in() {
    let (dir, manifest) = run();
    without_column(dir.path(), "granularity");
    let error = read_rows::<Sample>(dir.path(), &manifest).expect_err("a plan with this axis");
    assert!(message(dir.path(), &error).contains("column `granularity` is missing"), "{error}");

    let (dir, mut manifest) = run();
    manifest.plan.cells.iter_mut().for_each(|cell| drop(cell.factors.remove("granularity")));
    edit(dir.path(), Sample::FILE, |text| text.replacen(",g128,", ",g32,", 1));
    let error = read_rows::<Sample>(dir.path(), &manifest).expect_err("a row off the baseline");
    assert!(error.to_string().contains("found `g32`, expected `g128`, as planned"), "{error}");
}

#[test]
fn a_torn_last_line_is_left_out_and_cut_off_before_appending() {
    let (dir, manifest) = run();
    let (rows, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    edit(dir.path(), Sample::FILE, |text| text[..text.len() - 40].to_owned());
    let (kept, torn) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    assert_eq!(kept, rows[..rows.len() - 1]);
    let torn = torn.expect("a torn line");
    assert_eq!(
        torn.to_string(),
        format!(
            "samples.csv:{}: the last line has no end (its writer was interrupted); it was left out",
            rows.len() + 1
        )
    );
    let mut writer = RowWriter::<Sample>::append(dir.path()).expect("an existing file");
    writer.write_block(&rows[rows.len() - 1..]).expect("a block");
    assert_eq!(read_rows::<Sample>(dir.path(), &manifest).expect("samples"), (rows, None));
}

#[test]
fn a_row_that_breaks_its_rules_is_not_written() {
    let (dir, manifest) = run();
    let (mut rows, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    rows.truncate(2);
    rows[1].value = f64::NAN;
    let before = fs::read(dir.path().join(Sample::FILE)).expect("a file");
    let mut writer = RowWriter::<Sample>::append(dir.path()).expect("an existing file");
    let error = writer.write_block(&rows).expect_err("a time that is not a number");
    assert!(error.to_string().contains("column `value` of"), "{error}");
    (rows[1].value, rows[1].peak_before) = (1.0, Some(100.0));
    let error = writer.write_block(&rows).expect_err("half a bracket");
    assert!(error.to_string().contains("column `peak_after` of"), "{error}");
    drop(writer);
    assert_eq!(fs::read(dir.path().join(Sample::FILE)).expect("a file"), before);
}

#[test]
fn errors_name_file_line_column_and_what_is_valid() {
    let again = |text: String| {
        let line = text.lines().nth(1).expect("a row").to_owned();
        text + &line + "\n"
    };
    let messages = [
        sample_error(|text| text.replacen("measure", "measured", 1)),
        sample_error(|text| text.replacen("\n0,0,0,", "\n0,-1,0,", 1)),
        sample_error(|text| text.replacen("\n0,0,0,", "\n0,0,", 1)),
        sample_error(|text| text.replacen("tiny-00", "tiny-99", 1)),
        sample_error(|text| text.replacen("ns/token,", "ns/token,-", 1)),
        sample_error(|text| text.replacen("ns/token,", "ns/byte,", 1)),
        sample_error(|text| text.replacen(",token_time,", ",latency,", 1)),
        sample_error(|text| text.replacen(",preempted,", ",late,", 1)),
        sample_error(again),
        sample_error(|text| text.replacen(",unit,", ",", 1)),
        sample_error(|text| text.replacen(",unit,", ",units,", 1)),
        sample_error(|_| String::new()),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

/// Ratios of such times have no finite logarithm, and Student's t has no value there.
#[test]
fn times_that_no_machine_takes_are_errors() {
    for value in ["1e308", "1e-308"] {
        let error = sample_error(|text| {
            let lines: Vec<&str> = text.lines().collect();
            let at = lines[0].split(',').position(|name| name == "value").expect("a column");
            let mut fields: Vec<&str> = lines[1].split(',').collect();
            fields[at] = value;
            text.replacen(lines[1], &fields.join(","), 1)
        });
        let expected = "expected a positive number from 1e-12 to 1e18";
        assert_eq!(error, format!("samples.csv:2: column `value`: found `{value}`, {expected}"));
    }
}

#[test]
fn the_longest_and_the_shortest_times_can_be_analysed() {
    let (dir, manifest) = run();
    let (mut rows, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    let first = rows[0].cell_id.clone();
    for row in &mut rows {
        let ends = if row.cell_id == first { [1e-12, 1e18] } else { [1e18, 1e-12] };
        row.value = ends[row.block as usize % 2];
        row.check().expect("a plausible time");
    }
    let analysis = Analysis::new(manifest, &rows, Vec::new(), &[], &[], &[]).expect("an analysis");
    let numbers = analysis.contrasts.iter().filter_map(|result| result.outcome.numbers());
    let p: Vec<f64> = numbers.map(|judged| judged.effect.p).collect();
    assert!(!p.is_empty() && p.iter().all(|p| (0.0..=1.0).contains(p)), "{p:?}");
}

#[test]
fn manifest_errors_name_the_place() {
    let reference = |id: &str| format!("\"reference\": \"{id}\"");
    let messages = [
        manifest_error(|text| text.replacen("\"schema\": 1", "\"schema\": 9", 1)),
        manifest_error(|text| text.replacen("\"run_id\"", "\"run\"", 1)),
        manifest_error(|text| text[..500].to_owned()),
        manifest_error(|text| text.replacen(&reference("tiny-00"), &reference("slice70b-00"), 1)),
        manifest_error(|text| text.replacen("\"confidence\": 0.95", "\"confidence\": 95.0", 1)),
        manifest_error(|text| {
            text.replacen("\"repetitions\": 2,\n      \"quality", "\"repetitions\": 0,\n      \"quality", 1)
        }),
        manifest_error(|text| text.replacen("\"published\": 1.4", "\"published\": -1.4", 1)),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn errors_in_weights_name_the_place() {
    let (dir, manifest) = run();
    let (workload, level) =
        (&manifest.plan.workloads[0].name, |axis| manifest.plan.cells[0].level(axis).expect("a level"));
    let form =
        format!("{workload},{},{},{},{}", level("format"), level("granularity"), level("layout"), level("pages"));
    let good = format!("{}\n0,0,{form},4,4096,4000,2000,77\n", WeightsRow::COLUMNS.join(","));
    let read = |text: &str| {
        fs::write(dir.path().join(WeightsRow::FILE), text).expect("a writable file");
        read_rows::<WeightsRow>(dir.path(), &manifest)
    };
    assert_eq!(read(&good).expect("a row").0.len(), 1);
    assert_eq!(read(&good.replace(",2000,77", ",,")).expect("a row without what may be empty").0[0].pack_ns, None);
    let error = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is in {good}");
        message(dir.path(), &read(&good.replacen(from, to, 1)).expect_err("a malformed file"))
    };
    let messages = [
        error(",4,4096", ",0,4096"),
        error(",4096,", ",3999,"),
        error(",4000,2000", ",0,0"),
        error(",2000,", ",4001,"),
        error(",2000,", ",-1,"),
        error(",77", ",0"),
        error(&form, &form.replace(workload, "elsewhere")),
        error(&form, &form.replace(level("layout"), "planes")),
        error("0,0,", "0,99,"),
        error("pack_ns", "pack"),
        error("77\n", "77\n0,0,\n"),
        message(
            dir.path(),
            &read(&(good.clone() + good.lines().nth(1).expect("a row") + "\n")).expect_err("a row twice"),
        ),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}
