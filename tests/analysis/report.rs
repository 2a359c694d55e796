//! Reports of synthetic runs: the injected truth is recovered, and bytes are reproduced.

use std::fs;
use std::path::Path;

use septet::cli::Exit;
use septet::plan::Residency;
use septet::record::{CounterRow, CounterStatus, FailureRow, RowWriter, Sample, read_rows};
use septet::report::analysis::{Analysis, CellStatus, Outcome};
use septet::report::figure::{self, FIGURES};
use septet::report::metric::{KERNEL_TIME, TOKEN_TIME};
use septet::report::{Report, build, derived, render, table};
use septet::stats::verdict::Verdict;
use tempfile::TempDir;

use crate::synthetic::{BLOCKS, LADDER, SHORTFALL, write_run};

fn run(quick: bool) -> (TempDir, Report) {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path(), quick);
    let report = Report::read(dir.path()).expect("a run");
    (dir, report)
}

fn outcome(analysis: &Analysis, design: &str, step: &str, workload: &str, metric: &str) -> Outcome {
    let found = analysis.contrasts.iter().find(|result| {
        let contrast = &result.contrast;
        result.design == design && contrast.step == step && contrast.workload == workload && result.metric == metric
    });
    found.expect("a planned contrast").outcome
}

#[test]
fn injected_effects_lie_in_their_intervals() {
    let (_dir, report) = run(false);
    for workload in ["tiny", "slice70b"] {
        for metric in [KERNEL_TIME, TOKEN_TIME] {
            for step in &LADDER {
                let label = format!("{}={}", step.factor, step.level);
                let outcome = outcome(&report.analysis, "ladder", &label, workload, metric);
                let effect = outcome.citable().expect("a measured step").effect;
                // Fifty-six intervals of 95 %: compared at twice their width, so that chance does not fail it.
                let (low, high) = (effect.interval.low.ln(), effect.interval.high.ln());
                let (middle, reach) = ((low + high) / 2.0, high - low);
                assert!((step.speedup.ln() - middle).abs() <= reach, "{label} on {workload}: {effect:?}");
                assert_eq!(effect.n_blocks, BLOCKS as usize);
                assert!(reach < 0.05, "a drift common to a block widened {label}: {effect:?}");
            }
        }
    }
}

#[test]
fn verdicts_follow_the_truth() {
    let (_dir, report) = run(false);
    let verdict = |design: &str, step: &str| {
        outcome(&report.analysis, design, step, "tiny", TOKEN_TIME).citable().expect("a measured contrast").verdict
    };
    assert_eq!(verdict("ladder", "unpack=lut"), Verdict::Improvement);
    assert_eq!(verdict("ladder", "epilogue=fused"), Verdict::Regression);
    assert_eq!(verdict("ladder", "prefetch=software"), Verdict::Equivalent);
    assert_eq!(verdict("null", "A′"), Verdict::Equivalent);
}

#[test]
fn a_combination_falls_short_by_what_was_injected() {
    let (_dir, report) = run(false);
    // Latencies are metrics of one of the two workloads only.
    for result in report.analysis.combinations.iter().filter(|result| result.metric == TOKEN_TIME) {
        let gap = result.prediction.expect("measured").discrepancy;
        assert!((gap.ratio - SHORTFALL).abs() < 0.02 && gap.interval.high < 0.9, "{gap:?}");
    }
}

#[test]
fn faster_than_memory_is_refused_and_left_out() {
    let (_dir, report) = run(false);
    let refused: Vec<&str> = report
        .analysis
        .cells
        .iter()
        .filter(|cell| matches!(cell.status, CellStatus::Refused { .. }))
        .map(|cell| cell.cell.workload.as_str())
        .collect();
    assert_eq!(refused, ["slice70b"], "only DRAM has this roof");
    assert!(matches!(outcome(&report.analysis, "alone", "format=w4", "slice70b", KERNEL_TIME), Outcome::Refused(_)));
    let one_factor = table::TABLES.iter().find(|table| table.name() == "one_factor").expect("a table");
    let text = render::markdown(&one_factor.build(&report.analysis));
    assert!(!text.contains("| slice70b | format=w4"), "{text}");
    assert!(text.contains("GB/s of read bandwidth = 1.15, interval from 1.1"), "{text}");
}

/// A cell that fails in a late block takes its earlier blocks with it; one that never ran has none.
#[test]
fn a_failed_cell_is_left_out_with_its_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path(), false);
    let failure = |cell: &str, reason: &str| FailureRow { cell_id: cell.into(), block: 4, reason: reason.into() };
    let rows = [failure("tiny-03", "its process ended early: signal: 11"), failure("slice70b-02", "wrong output")];
    RowWriter::append(dir.path()).expect("a new file").write_block(&rows).expect("failures");
    let report = Report::read(dir.path()).expect("a run");
    let analysis = &report.analysis;

    // Cell 03 is where this step arrives and where the next one starts.
    for step in ["isa=avx512", "layout=dense"] {
        let outcome = outcome(analysis, "ladder", step, "tiny", TOKEN_TIME);
        assert!(outcome.citable().is_none() && outcome.numbers().is_some() && outcome.word() == "failed", "{step}");
    }
    assert!(outcome(analysis, "ladder", "unpack=lut", "tiny", TOKEN_TIME).citable().is_some());
    let combinations: Vec<(&str, bool)> = analysis
        .combinations
        .iter()
        .filter(|result| result.metric == TOKEN_TIME)
        .map(|result| (result.combination.workload.as_str(), result.prediction.is_some()))
        .collect();
    assert_eq!(combinations, [("tiny", true), ("slice70b", false)]);

    let text = |name: &str| {
        let table = table::TABLES.iter().find(|table| table.name() == name).expect("a table");
        render::markdown(&table.build(analysis))
    };
    let ladders = text("ladders");
    assert!(!ladders.contains("| ladder | tiny | isa=avx512 |"), "{ladders}");
    assert!(ladders.contains("failed: its process ended early: signal: 11."), "{ladders}");
    assert!(text("claims").contains(": failed: wrong output."));
    assert!(text("combinations").contains(": failed: wrong output."));
    let cells = derived::cells_csv(analysis).expect("cells");
    let cells = String::from_utf8(cells).expect("UTF-8");
    let failed = cells.lines().filter(|line| line.ends_with(",failed: its process ended early: signal: 11"));
    assert_eq!(failed.count(), cells.lines().filter(|line| line.starts_with("tiny-03,")).count());
}

#[test]
fn the_same_bytes_twice() {
    let (dir, _) = run(false);
    let first = build(dir.path()).expect("a report");
    let before = read_all(dir.path(), &first.files);
    let second = build(dir.path()).expect("a report");
    assert_eq!(first, second);
    assert!(before == read_all(dir.path(), &second.files), "derived files differ between two builds");
    let (other, _) = run(false);
    build(other.path()).expect("a report");
    assert!(before == read_all(other.path(), &first.files), "derived files depend on the directory");
}

/// A version that adds axes or metrics reads older runs as they were.
#[test]
fn committed_runs_give_their_committed_numbers() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut runs = 0;
    let folders = |dir: &Path| fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let experiments = folders(&results).filter(|path| path.is_dir());
    for dir in experiments.flat_map(|experiment| folders(&experiment)) {
        let committed = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("reference"));
        if !committed || !dir.join("manifest.json").exists() {
            continue;
        }
        runs += 1;
        let analysis = Report::read(&dir).expect("a run").analysis;
        let committed = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            assert!(fs::read(&path).expect("a committed file") == bytes, "{} differs", path.display());
        };
        committed("cells.csv", &derived::cells_csv(&analysis).expect("cells"));
        committed("contrasts.csv", &derived::contrasts_csv(&analysis).expect("contrasts"));
        for table in table::TABLES {
            let grid = table.build(&analysis);
            if !grid.rows.is_empty() {
                committed(&format!("tables/{}.md", table.name()), render::markdown(&grid).as_bytes());
            }
        }
    }
    assert!(runs > 0);
}

fn read_all(dir: &Path, files: &[std::path::PathBuf]) -> Vec<Vec<u8>> {
    files.iter().map(|file| fs::read(dir.join(file)).expect("a written file")).collect()
}

#[test]
fn quick_runs_are_marked_everywhere() {
    let (_dir, report) = run(true);
    for table in table::TABLES {
        let text = render::markdown(&table.build(&report.analysis));
        assert!(text.contains("NOT CITABLE (quick run)"), "{}", table.name());
    }
}

#[test]
fn a_block_without_one_arm_counts_for_the_others_only() {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path(), false);
    let path = dir.path().join("samples.csv");
    let text = fs::read_to_string(&path).expect("samples");
    let kept: Vec<&str> =
        text.lines().filter(|line| !(line.starts_with("0,4,") && line.contains(",tiny-02,"))).collect();
    fs::write(&path, kept.join("\n") + "\n").expect("a writable file");
    let report = Report::read(dir.path()).expect("a run");
    let blocks = |step: &str| {
        outcome(&report.analysis, "ladder", step, "tiny", TOKEN_TIME).citable().expect("measured").effect.n_blocks
    };
    assert_eq!([blocks("unpack=lut"), blocks("isa=avx512"), blocks("layout=dense")], [9, 9, 10]);
}

/// The rival is the fastest peer that stores few enough bits, and every other cell is compared with it.
#[test]
fn kernels_are_compared_with_the_fastest_peer_of_their_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manifest = write_run(dir.path(), false);
    let (samples, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    // The last steps of the ladder on the first workload are those of another project; the fastest of them
    // stores too many bits.
    let label = |id: &str| id.to_owned();
    let peers = [("tiny-06", "ggml_q4_0", 4.5), ("tiny-07", "ggml_q3_k", 3.4375), ("tiny-08", "openblas_f32", 32.0)];
    for (id, name, bits) in peers {
        let cell = manifest.plan.cells.iter_mut().find(|cell| cell.id == id).expect("a cell");
        cell.factors.insert(label("peer"), label(name));
        cell.arm = label(name);
        let facts = manifest.facts.iter_mut().find(|facts| facts.cell_id == id).expect("facts");
        facts.bytes_per_unit = (facts.weights_per_unit as f64 * bits / 8.0) as u64;
    }
    let analysis = Analysis::new(manifest, &samples, Vec::new(), &[], &[], &[]).expect("an analysis");
    assert!(analysis.rivals.iter().all(|against| against.cell_id.starts_with("tiny")));
    // Of steps 5 (prefetch) and 6 (epilogue) the first is faster, by what the second loses.
    assert!(analysis.rivals.iter().all(|against| against.rival == "ggml_q4_0"), "{:?}", analysis.rivals);
    let effect = |id: &str| analysis.rivals.iter().find(|a| a.cell_id == id).expect("a cell").effect;
    assert!(effect("tiny-06").is_none());
    for (id, truth) in [("tiny-07", LADDER[5].speedup), ("tiny-08", LADDER[5].speedup * LADDER[6].speedup)] {
        let ratio = effect(id).expect("blocks").ratio;
        assert!((ratio / truth - 1.0).abs() < 0.02, "{id}: {ratio} is not {truth}");
    }
}

/// The second workload as the first one on twice the threads: kernels 1.7 times as fast, reading 1.9 times.
#[test]
fn scaling_is_taken_inside_blocks_and_against_the_roof() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manifest = write_run(dir.path(), false);
    let (samples, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    manifest.plan.workloads[0].residency = Residency::Dram;
    manifest.plan.workloads[0].threads = 1;
    let slower = |sample: Sample| {
        let is_base = sample.workload == "tiny";
        let (roof, time) = if is_base { (1.0 / 1.9, 1.7) } else { (1.0, 1.0) };
        Sample {
            value: sample.value * time,
            roof_before: sample.roof_before * roof,
            roof_after: sample.roof_after * roof,
            ..sample
        }
    };
    let samples: Vec<Sample> = samples.into_iter().map(slower).collect();
    let analysis = Analysis::new(manifest, &samples, Vec::new(), &[], &[], &[]).expect("an analysis");
    let cells = analysis.cells.iter().filter(|result| result.cell.workload == "slice70b");
    assert_eq!(analysis.scalings.len(), cells.filter(|result| result.cell.null_of.is_none()).count());
    // The w4 arm is faster on the second workload, by design of the synthetic run.
    for scaling in analysis.scalings.iter().filter(|scaling| !scaling.cell.arm.starts_with("w4")) {
        assert_eq!((scaling.threads, scaling.base_threads), (2, 1));
        for (effect, truth) in
            [(Some(scaling.speed_up), 1.7_f64), (scaling.roof_speed_up, 1.9), (scaling.against_roof, 1.7 / 1.9)]
        {
            let effect = effect.expect("brackets");
            assert!((effect.ratio / truth - 1.0).abs() < 0.02, "{}: {effect:?} is not {truth}", scaling.cell.arm);
            assert_eq!(effect.n_blocks, BLOCKS as usize);
        }
    }
}

#[test]
fn markdown_of_the_claims() {
    let (_dir, report) = run(false);
    insta::assert_snapshot!(report.headlines()[0].1);
}

#[test]
fn latex_of_the_ladders() {
    let (_dir, report) = run(false);
    let ladders = table::TABLES.iter().find(|table| table.name() == "ladders").expect("a table");
    insta::assert_snapshot!(render::latex(&ladders.build(&report.analysis), "synthetic"));
}

#[test]
fn derived_csv_files() {
    let (_dir, report) = run(false);
    let lines = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().take(3).collect::<Vec<_>>().join("\n")
    };
    let cells = derived::cells_csv(&report.analysis).expect("cells");
    insta::assert_snapshot!(lines(cells));
    let contrasts = derived::contrasts_csv(&report.analysis).expect("contrasts");
    insta::assert_snapshot!(lines(contrasts));
}

/// `bench report DIR --splice FILE`, from arguments to files and exit code.
#[test]
fn the_command_reports_and_splices() {
    let (dir, _) = run(false);
    let readme = dir.path().join("README.md");
    let bench = |readme: &Path| {
        let words =
            ["bench".as_ref(), "report".as_ref(), dir.path().as_os_str(), "--splice".as_ref(), readme.as_os_str()];
        septet::cli::main(words.map(std::ffi::OsStr::to_owned))
    };
    fs::write(&readme, "# Results\n").expect("a writable file");
    assert_eq!(bench(&readme), Exit::BadInput, "no markers");
    let markers = |name: &str| format!("<!-- BEGIN septet:{name} -->\n<!-- END septet:{name} -->\n");
    fs::write(&readme, format!("# Results\n{}{}", markers("claims"), markers("ladder"))).expect("a writable file");
    assert_eq!(bench(&readme), Exit::Pass);
    let text = fs::read_to_string(&readme).expect("a README");
    assert!(text.contains("**not held**") && text.contains("| ladder | tiny | unpack=lut |"), "{text}");
    assert!(dir.path().join("figures/ladder-ladder.png").exists());
}

/// Marks say how a value came about, notes why there is none, and ratios take the weaker mark.
#[test]
fn counters_are_marked_by_how_they_came_about() {
    let (_dir, mut report) = run(false);
    let analysis = &mut report.analysis;
    let cell_id = analysis.cells[0].cell.id.clone();
    let row = |counter: &str, value: f64, status, source: &str, reason: &str| CounterRow {
        cell_id: cell_id.clone(),
        counter: counter.into(),
        value: Some(value),
        unit: "1/weight".into(),
        status,
        source: source.into(),
        reason: reason.into(),
    };
    let simulated = |counter, value| {
        row(counter, value, CounterStatus::Simulated, "callgrind", "64 x 512, valgrind-3; gemv/w4/dense/lut/u1/scalar")
    };
    analysis.counters.extend([
        simulated("simulated_branches", 2.0),
        simulated("simulated_branch_misses", 0.5),
        row("instructions", 4000.0, CounterStatus::Multiplexed, "perf_event", "counted 40.0% of the time and scaled"),
        row("cycles", 1000.0, CounterStatus::Measured, "perf_event", ""),
    ]);
    let counters = table::TABLES.iter().find(|table| table.name() == "counters").expect("the table");
    let grid = counters.build(analysis);
    let text = render::markdown(&grid);
    for part in [
        "| simulated branch misses / weight |",
        "| 2.00† | 0.500† | 4000‡ | 1000 | 4.00‡ | 0.250‡ | 25.0%† |",
        "| n/a [1] | n/a [1] | n/a [1] | n/a [1] | – | – | – |",
        "- [1] not asked of this arm.",
        "- callgrind: one product on one thread, 64 x 512, valgrind-3; counters.csv",
        "- † simulated",
        "- ‡ counted part of the time",
        "- No value of branch\\_misses: no PMU on this machine",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let latex = render::latex(&grid, "here");
    assert!(latex.contains("0.500$\\dagger$") && latex.contains("4.00$\\ddagger$"), "{latex}");
}

/// A run may hold nothing yet; its report says so instead of failing.
#[test]
fn a_run_without_blocks_has_an_empty_report() {
    let (dir, _) = run(false);
    let path = dir.path().join("samples.csv");
    let header = fs::read_to_string(&path).expect("samples").lines().next().expect("a header").to_owned() + "\n";
    fs::write(&path, header).expect("a writable file");
    fs::remove_file(dir.path().join("counters.csv")).expect("a removable file");
    let summary = build(dir.path()).expect("a report");
    assert!(summary.files.iter().any(|file| file.ends_with("tables/arms.md")));
    let report = Report::read(dir.path()).expect("a run");
    assert!(report.analysis.cells.iter().all(|cell| cell.status == CellStatus::Missing));
}

/// The raster and vector figures are drawn from one layout: nothing reaches beyond the canvas.
#[test]
fn texts_of_figures_stay_on_the_canvas() {
    let (dir, report) = run(true);
    for chart in FIGURES.iter().flat_map(|figure| figure.charts(&report.analysis)) {
        let svg = figure::svg(&chart, dir.path()).expect("an SVG");
        let number = |tag: &str, name: &str| -> f64 {
            let value = tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            value.and_then(|value| value.parse().ok()).expect("a number")
        };
        let (width, height) = (number(&svg, "width"), number(&svg, "height"));
        for tag in svg.split("<text").skip(1) {
            let (x, y) = (number(tag, "x"), number(tag, "y"));
            assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{}: {tag}", chart.name());
        }
        assert!(svg.contains("@font-face") && !svg.contains("NaN"));
    }
}

/// A folder that holds no run is named, with what is expected there and what to give instead.
#[test]
fn a_folder_without_a_run_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (missing, file) = (dir.path().join("none"), dir.path().join("file"));
    fs::write(&file, "").expect("a writable file");
    for (path, found) in [
        (missing, "no such folder"),
        (file, "it is a file"),
        (dir.path().to_owned(), "there is no manifest.json in it"),
    ] {
        let error = Report::read(&path).err().expect("no run").to_string();
        assert!(error.starts_with(&format!("{}: {found}; expected the folder of a run", path.display())), "{error}");
        assert!(error.contains("give one that `bench run` printed"), "{error}");
        let words = ["bench".as_ref(), "report".as_ref(), path.as_os_str()];
        assert_eq!(septet::cli::main(words.map(std::ffi::OsStr::to_owned)), Exit::BadInput);
    }
}
