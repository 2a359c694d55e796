//! A run of kernels on matrices whose ceilings are known: shares, tables, figure, and broken rows.
//!
//! In every third block the host is slow: memory by a third, cores by a tenth. A kernel from memory
//! reaches the same share of its bandwidth in all blocks, a kernel in a cache the same share of the
//! peak. From the fourth block on the two CPUs are far from each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use septet::doctor::Quantity;
use septet::plan::{Cell, Contrast, Design, DesignKind, PLAN_SCHEMA, Plan, Protocol, Residency, Source, Workload};
use septet::record::manifest::MANIFEST_SCHEMA;
use septet::record::row::SAMPLES_SCHEMA;
use septet::record::{
    CeilingRow, CellFacts, CounterRow, CounterStatus, Manifest, Phase, Quality, RowWriter, Sample, read_rows,
    rules::Row, write_manifest,
};
use septet::report::analysis::Analysis;
use septet::report::figure::{Chart, FIGURES, IntervalChart, Plot};
use septet::report::{Report, build, render, table};
use tempfile::TempDir;

const BLOCKS: u32 = 12;
const ROWS: usize = 1024;
const COLS: usize = 8192;

/// Of the memory bandwidth that each kernel from memory reaches, and of the peak that each in a cache
/// reaches: by format, instruction set and prefetch.
const KERNELS: [(&str, &str, &str, f64, f64); 7] = [
    ("w4", "avx2", "none", 0.70, 0.50),
    ("w4", "avx2", "software", 0.93, 0.55),
    ("w3p5", "avx2", "none", 0.66, 0.46),
    ("w3p5", "avx2", "software", 0.91, 0.50),
    ("w3", "avx2", "none", 0.60, 0.48),
    ("w3", "avx2", "software", 0.88, 0.52),
    ("w3p5", "scalar", "none", 0.10, 0.01),
];

/// Vector instructions a ns on one thread of a quick block, and those of the loops for each weight.
const ISSUE: f64 = 10.0;
const VECTOR_OPERATIONS: f64 = 0.1;

/// Gop/s of the int8 peak and GB/s of each level, on one thread of a quick block.
const PEAK: f64 = 150.0;
const LEVELS: [(&str, f64); 4] = [("L1", 180.0), ("L2", 95.0), ("L3", 48.0), ("DRAM", 16.0)];

fn bits(format: &str) -> f64 {
    match format {
        "w4" => 4.125,
        "w3p5" => 3.625,
        _ => 3.125,
    }
}

/// Of the speed of a quick block: of memory and of cores.
fn pace(block: u32) -> (f64, f64) {
    if block % 3 == 2 { (0.67, 0.9) } else { (1.0, 1.0) }
}

fn workloads() -> Vec<Workload> {
    let workload = |name: &str, residency, threads| Workload {
        name: name.into(),
        title: format!("{ROWS} × {COLS}, {name}"),
        residency,
        unit: "product".into(),
        threads,
        repetitions: 2,
        tokens: 8,
        prompt_tokens: None,
        source: Source::Matrix { rows: ROWS, cols: COLS, columns: 1, copies: 4, seed: 1 },
    };
    vec![
        workload("square-1t", Residency::Dram, 1),
        workload("wide-1t", Residency::Dram, 1),
        workload("cache-1t", Residency::Cache, 1),
        workload("square", Residency::Dram, 2),
    ]
}

fn cells() -> Vec<Cell> {
    let cell = |workload: &Workload, (format, isa, prefetch, ..): (&str, &str, &str, f64, f64)| {
        let factors = [
            ("format", format),
            ("granularity", "g128"),
            ("layout", "rows16"),
            ("unpack", "bit_parallel"),
            ("unroll", "u4"),
            ("isa", isa),
            ("prefetch", prefetch),
            ("epilogue", "separate"),
            ("activations", "requantize"),
        ];
        Cell {
            id: format!("{}/{format}/{isa}/{prefetch}", workload.name),
            workload: workload.name.clone(),
            arm: format!("{format}/rows16/bit_parallel/u4/{isa}/{prefetch}/separate/requantize"),
            factors: factors.map(|(axis, level)| (axis.to_owned(), level.to_owned())).into(),
            kernel: format!("gemv/{format}/rows16/bit_parallel/u4/{isa}"),
            null_of: None,
        }
    };
    workloads().iter().flat_map(|workload| KERNELS.map(|kernel| cell(workload, kernel))).collect()
}

fn manifest() -> Manifest {
    let cells = cells();
    let weights = (ROWS * COLS) as u64;
    let facts = cells.iter().map(|cell| CellFacts {
        cell_id: cell.id.clone(),
        weights_per_unit: weights,
        bytes_per_unit: (weights as f64 * bits(&cell.factors["format"]) / 8.0) as u64,
        prompt_tokens: None,
        output_sha256: String::new(),
        warm_up: false,
        repetitions: 2,
        quality: Quality { bit_equal: Some(true), ..Quality::default() },
    });
    let id = |workload: &Workload, kernel: &str| format!("{}/{kernel}", workload.name);
    let contrast = |workload: &Workload, step: &str, arm: &str, reference: &str, published| Contrast {
        step: step.into(),
        workload: workload.name.clone(),
        arm: id(workload, arm),
        reference: id(workload, reference),
        published: Some(published),
    };
    let contrasts = workloads().into_iter().flat_map(|workload| {
        [
            contrast(&workload, "prefetch", "w4/avx2/software", "w4/avx2/none", 1.15),
            contrast(&workload, "prefetch and more", "w3/avx2/software", "w3/avx2/none", 2.35),
        ]
    });
    let design = Design {
        name: "claims".into(),
        title: "Claims".into(),
        kind: DesignKind::AddOneIn,
        contrasts: contrasts.collect(),
        combinations: Vec::new(),
        factorials: Vec::new(),
    };
    let plan = Plan {
        schema: PLAN_SCHEMA,
        experiment: "synthetic".into(),
        question: "?".into(),
        hypothesis: "?".into(),
        refuted_by: "?".into(),
        protocol: Protocol { blocks: BLOCKS, seed: 1, margin: 0.01, confidence: 0.95, quick: false, chosen: None },
        workloads: workloads(),
        infeasible: Vec::new(),
        designs: vec![design],
        counters: None,
        cells: cells.clone(),
    };
    Manifest {
        schema: MANIFEST_SCHEMA,
        samples_schema: SAMPLES_SCHEMA,
        run_id: "20260101T000000Z-roofline".into(),
        facts: facts.collect(),
        plan,
        spec: "name = \"synthetic\"\n".into(),
        environment: BTreeMap::from([
            ("cpu".into(), "Synthetic CPU @ 1 GHz".into()),
            ("caches".into(), "L1 32 KiB, L2 512 KiB, L3 32768 KiB".into()),
        ]),
    }
}

/// Threads that share memory get less than twice the bandwidth of one, those far apart more.
fn bandwidth(level: &str, threads: u32, block: u32) -> f64 {
    let one = LEVELS.iter().find(|(name, _)| *name == level).map_or(0.0, |(_, bandwidth)| *bandwidth);
    let scale = match (threads, level, block) {
        (1, ..) => 1.0,
        (_, "DRAM", 0..4) => 1.2,
        (_, "DRAM", _) => 1.8,
        _ => 2.0,
    };
    one * scale * if level == "DRAM" { pace(block).0 } else { pace(block).1 }
}

fn ceiling_rows(block: u32) -> Vec<CeilingRow> {
    let row = |ceiling: Quantity, place: &str, threads, value| CeilingRow {
        session: 0,
        block,
        ceiling,
        place: place.into(),
        threads,
        value,
        unit: ceiling.unit().into(),
    };
    let mut rows = Vec::new();
    for threads in [1, 2] {
        rows.push(row(Quantity::Int8Dot, "avx2", threads, f64::from(threads) * pace(block).1 * PEAK / 2.0));
        rows.push(row(Quantity::VectorIssue, "avx2", threads, f64::from(threads) * pace(block).1 * ISSUE));
        rows.extend(
            LEVELS.map(|(level, _)| row(Quantity::ReadBandwidth, level, threads, bandwidth(level, threads, block))),
        );
    }
    rows.push(row(Quantity::CoreToCore, "CPU 0 - 1", 2, if block < 4 { 41.0 } else { 181.0 }));
    rows
}

fn sample_rows(block: u32, plan: &Plan) -> Vec<Sample> {
    let mut rows = Vec::new();
    for (order, cell) in (0..).zip(&plan.cells) {
        let workload = plan.workloads.iter().find(|w| w.name == cell.workload).expect("a workload");
        let level = |axis: &str| cell.factors[axis].as_str();
        let same =
            |k: &&(&str, &str, &str, f64, f64)| (k.0, k.1, k.2) == (level("format"), level("isa"), level("prefetch"));
        let &(format, _, _, of_memory, of_peak) = KERNELS.iter().find(same).expect("a kernel");
        let operations = 2.0 * (ROWS * COLS) as f64;
        let home = if workload.residency == Residency::Dram { "DRAM" } else { "L3" };
        let roof = bandwidth(home, workload.threads as u32, block);
        let speed = match workload.residency {
            Residency::Dram => of_memory * roof * 16.0 / bits(format),
            Residency::Cache => of_peak * PEAK * pace(block).1,
        };
        let time = operations / speed;
        for repetition in 0..2 {
            for (metric, value) in [("token_time", 1.02 * time), ("kernel_time", time)] {
                rows.push(Sample {
                    block,
                    order,
                    phase: Phase::Measure,
                    repetition,
                    metric: metric.into(),
                    value,
                    roof_before: roof,
                    roof_after: roof,
                    ..Sample::of(cell, workload)
                });
            }
        }
    }
    rows
}

/// Scalar loops have no vector operations.
fn counter_row(cell: &Cell) -> CounterRow {
    CounterRow {
        cell_id: cell.id.clone(),
        counter: septet::record::row::VECTOR_OPERATIONS.into(),
        value: Some(if cell.factors["isa"] == "scalar" { 0.0 } else { VECTOR_OPERATIONS }),
        unit: "operations/weight".into(),
        status: CounterStatus::Measured,
        source: "disassembly".into(),
        reason: String::new(),
    }
}

fn write_run(dir: &Path) -> Manifest {
    let manifest = manifest();
    write_manifest(dir, &manifest).expect("a manifest");
    let mut samples = RowWriter::<Sample>::append(dir).expect("a new file");
    let mut ceilings = RowWriter::<CeilingRow>::append(dir).expect("a new file");
    let counters = manifest.plan.cells.iter().map(counter_row).collect::<Vec<_>>();
    RowWriter::append(dir).expect("a new file").write_block(&counters).expect("counters");
    for block in 0..BLOCKS {
        ceilings.write_block(&ceiling_rows(block)).expect("a block");
        samples.write_block(&sample_rows(block, &manifest.plan)).expect("a block");
    }
    manifest
}

fn run() -> (TempDir, Report) {
    let dir = tempfile::tempdir().expect("a directory");
    write_run(dir.path());
    let report = Report::read(dir.path()).expect("a run");
    (dir, report)
}

fn markdown(report: &Report, name: &str) -> String {
    let table = table::TABLES.iter().find(|table| table.name() == name).expect("a table");
    render::markdown(&table.build(&report.analysis))
}

fn plots(report: &Report) -> Vec<Plot> {
    let charts = FIGURES.iter().flat_map(|figure| figure.charts(&report.analysis));
    charts.filter_map(|chart| if let Chart::Plot(plot) = chart { Some(plot) } else { None }).collect()
}

#[test]
fn markdown_of_the_ceilings() {
    insta::assert_snapshot!(markdown(&run().1, "ceilings"));
}

#[test]
fn markdown_of_the_roofline() {
    insta::assert_snapshot!(markdown(&run().1, "roofline"));
}

/// A kernel keeps its share while the host changes its pace: within blocks the share has no spread.
#[test]
fn shares_are_ratios_within_blocks() {
    let (dir, report) = run();
    let mut peaks = 0;
    for standing in &report.analysis.standings {
        let bound = standing.bound.as_ref().expect("a ceiling");
        let (share, interval) = bound.share;
        assert!(interval.high - interval.low < 1e-9 && interval.contains(share), "{}: {bound:?}", standing.cell_id);
        let (expected, name) = truth(&standing.cell_id);
        assert_eq!((bound.name.as_str(), (share - expected).abs() < 1e-6), (name, true), "{}", standing.cell_id);
        peaks += usize::from(name == "avx2 peak");
    }
    assert_eq!(peaks, 6);

    // The peaks of one block beside the kernels of the next: medians of both stay what they were, and a
    // quotient of medians would, too.
    let path = dir.path().join(CeilingRow::FILE);
    let text = fs::read_to_string(&path).expect("ceilings");
    let rotated = text.lines().map(|line| {
        let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        if (fields[2].as_str(), fields[4].as_str()) == ("int8_dot", "1") {
            fields[1] = ((fields[1].parse::<u32>().expect("a block") + 1) % BLOCKS).to_string();
        }
        fields.join(",") + "\n"
    });
    fs::write(&path, rotated.collect::<String>()).expect("a writable file");
    let rotated = Report::read(dir.path()).expect("a run");
    assert_eq!(level_of_peak(&report), level_of_peak(&rotated));
    for (before, after) in report.analysis.standings.iter().zip(&rotated.analysis.standings) {
        assert_eq!(before.speed, after.speed);
        let (bound, (expected, name)) = (after.bound.as_ref().expect("a ceiling"), truth(&after.cell_id));
        if name == "avx2 peak" {
            let (share, interval) = bound.share;
            let ends = [interval.low / expected, share / expected, interval.high / expected];
            let apart = ends.iter().zip([0.9, 1.0, 1.0 / 0.9]).all(|(end, wanted)| (end - wanted).abs() < 1e-9);
            assert!(apart, "{}: {bound:?}", after.cell_id);
        } else {
            assert_eq!(before.bound, after.bound);
        }
    }
}

/// The share that a cell was given, and what binds it.
fn truth(cell_id: &str) -> (f64, &'static str) {
    let (workload, kernel) = cell_id.split_once('/').expect("a workload and a kernel");
    let same = |k: &&(&str, &str, &str, f64, f64)| format!("{}/{}/{}", k.0, k.1, k.2) == kernel;
    let &(format, isa, _, of_memory, of_peak) = KERNELS.iter().find(same).expect("a kernel");
    match (workload, isa) {
        ("cache-1t", "scalar") => (of_peak * PEAK * bits(format) / 16.0 / bandwidth("L3", 1, 0), "L3"),
        ("cache-1t", _) => (of_peak, "avx2 peak"),
        _ => (of_memory, "DRAM"),
    }
}

/// Median and interval of the peak on one thread.
fn level_of_peak(report: &Report) -> Option<(f64, septet::stats::Interval)> {
    report.analysis.ceilings.find(1, Quantity::Int8Dot, "avx2")?.level(0.95)
}

#[test]
fn the_figure_says_what_is_near_and_what_is_claimed() {
    let (_dir, report) = run();
    let plots = plots(&report);
    let titles: Vec<(&str, &str)> = plots.iter().map(|plot| (plot.name.as_str(), plot.title.as_str())).collect();
    assert_eq!(
        titles,
        [
            ("roofline-1t", "1 thread: 2 of 14 kernels within 10% of a ceiling"),
            ("roofline-2t", "2 threads: 2 of 7 kernels within 10% of a ceiling"),
        ]
    );
    assert_eq!(
        plots[0].message,
        "Nearest from DRAM: w4 avx2, 0.93 of DRAM. Nearest from a cache: w4 avx2, 0.55 of avx2 peak. 2 of 4 published \
         speed-ups lie above a ceiling."
    );
    // Each line with its label, and each kernel and claim once for each place of the weights.
    assert_eq!((plots[0].roofs.len(), plots[0].points.len()), (5, 14 + 4));
    insta::assert_snapshot!(render::csv(&plots[1].data()));
}

/// Kernels of other projects are marked, named by their arm and not counted.
#[test]
fn peers_are_no_kernels_of_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manifest = write_run(dir.path());
    let (samples, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    let (ceilings, _) = read_rows::<CeilingRow>(dir.path(), &manifest).expect("ceilings");
    for cell in manifest.plan.cells.iter_mut().filter(|cell| cell.id.contains("/w3/")) {
        let prefetch = &cell.factors["prefetch"];
        cell.arm = if prefetch == "none" { "ggml_iq3_s".into() } else { "ggml_q3_k".into() };
        cell.factors = [("peer".to_owned(), cell.arm.clone())].into();
    }
    let analysis = Analysis::new(manifest, &samples, Vec::new(), &ceilings, &[], &[]).expect("an analysis");
    let report = Report { analysis, torn: Vec::new() };
    let plots = plots(&report);
    assert_eq!(plots[1].title, "2 threads: 2 of 5 kernels within 10% of a ceiling");
    assert!(plots[1].message.contains("Nearest peer: ggml_q3_k, 0.88 of DRAM."), "{}", plots[1].message);
    assert!(plots[1].legend.iter().any(|(name, _)| name == "peer: a kernel of another project"));
    let peers: Vec<(&str, &str)> = plots[1]
        .points
        .iter()
        .filter(|point| point.series == "peer")
        .map(|point| (point.name.as_str(), point.text.as_str()))
        .collect();
    assert_eq!(peers, [("ggml_iq3_s", ""), ("ggml_q3_k", "ggml_q3_k, 0.88 of DRAM")]);
    let beside = markdown(&report, "beside_peers");
    // From the same memory the time of a kernel is that of its bits over its share.
    let ratio = (bits("w3") / 0.88) / (bits("w4") / 0.93);
    assert!(beside.contains(&format!("| 1024 × 8192 | 1 | 2 | ggml\\_q3\\_k | {ratio:.3} [")), "{beside}");
}

/// The share of the issue bound is that of kernels in a cache: their speed over instructions that the
/// core issues over those of their loop, and it has no spread where both change their pace together.
#[test]
fn kernels_in_a_cache_have_an_issue_bound() {
    let (dir, report) = run();
    let with_bound = |report: &Report| {
        let bounds = report.analysis.standings.iter().filter_map(|s| Some((s.cell_id.clone(), s.issue?)));
        bounds.collect::<Vec<_>>()
    };
    let found = with_bound(&report);
    assert_eq!(found.len(), 6, "{found:?}");
    for (cell_id, issue) in found {
        let (of_peak, _) = truth(&cell_id);
        let expected = of_peak * PEAK / 2.0 / (ISSUE / VECTOR_OPERATIONS);
        assert!((issue.share.0 - expected).abs() < 1e-9, "{cell_id}: {issue:?}");
        assert!(issue.share.1.high - issue.share.1.low < 1e-9, "{cell_id}: {issue:?}");
        assert_eq!(issue.weights_per_ns.0, ISSUE / VECTOR_OPERATIONS);
    }
    // Runs from before either was recorded have none, and a table all the same.
    fs::remove_file(dir.path().join(CounterRow::FILE)).expect("a removable file");
    let without = Report::read(dir.path()).expect("a run");
    assert!(with_bound(&without).is_empty());
    assert!(markdown(&without, "roofline").contains("| 0.500 [0.500, 0.500] | measured | – | – |"));
}

/// Peaks around the repetitions count, not the one that the block began with, where there are both.
#[test]
fn shares_of_a_peak_are_those_of_the_bracket() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = write_run(dir.path());
    let (mut samples, _) = read_rows::<Sample>(dir.path(), &manifest).expect("samples");
    let (ceilings, _) = read_rows::<CeilingRow>(dir.path(), &manifest).expect("ceilings");
    let shares = |samples: &[Sample]| -> BTreeMap<String, f64> {
        let analysis = Analysis::new(manifest.clone(), samples, Vec::new(), &ceilings, &[], &[]).expect("an analysis");
        let of_peak = analysis.standings.into_iter().filter_map(|s| Some((s.cell_id, s.bound?)));
        of_peak.filter(|(_, bound)| bound.is_peak).map(|(id, bound)| (id, bound.share.0)).collect()
    };
    let before = shares(&samples);
    assert!(!before.is_empty());
    for sample in samples.iter_mut().filter(|sample| before.contains_key(&sample.cell_id)) {
        // A fifth below the peak of the block, as the mean of two ends.
        let peak = PEAK / 2.0 * pace(sample.block).1 / 1.25;
        (sample.peak_before, sample.peak_after) = (Some(0.5 * peak), Some(1.5 * peak));
    }
    for (id, share) in shares(&samples) {
        assert!((share - 1.25 * before[&id]).abs() < 1e-9, "{id}: {share} after {}", before[&id]);
    }
}

/// Four workloads take two pages; each counts what it shows, in the words of products.
#[test]
fn messages_of_pages_count_their_own_panels() {
    let (_dir, report) = run();
    let charts = FIGURES.iter().flat_map(|figure| figure.charts(&report.analysis));
    let pages: Vec<IntervalChart> =
        charts.filter_map(|chart| if let Chart::Intervals(chart) = chart { Some(chart) } else { None }).collect();
    let pages: Vec<&IntervalChart> = pages.iter().filter(|page| page.name.starts_with("one_factor")).collect();
    let names: Vec<(&str, &str)> = pages.iter().map(|page| (page.name.as_str(), page.title.as_str())).collect();
    assert_eq!(
        names,
        [
            ("one_factor-1", "What each factor is worth (1 of 2)"),
            ("one_factor-2", "What each factor is worth (2 of 2)"),
        ]
    );
    for page in pages {
        assert_eq!(page.panels.len(), 2);
        let four = "Whole product, one factor changed: 4 faster, 0 slower, 0 equivalent within 1%, 0 inconclusive.";
        assert_eq!(page.message, four);
        assert!(page.notes.iter().all(|note| !note.contains("pipeline")), "{:?}", page.notes);
    }
    for name in ["claims", "one_factor", "matrices"] {
        let text = markdown(&report, name);
        assert!(text.contains("1024") || text.contains("product"), "{text}");
        assert!(!text.to_lowercase().contains("pipeline"), "{text}");
    }
}

/// Runs from before ceilings were recorded have a report without their tables and figure.
#[test]
fn ceilings_are_optional() {
    let (dir, _) = run();
    let with = build(dir.path()).expect("a report").files;
    fs::remove_file(dir.path().join(CeilingRow::FILE)).expect("a removable file");
    let without = build(dir.path()).expect("a report").files;
    let gone: Vec<String> =
        with.iter().filter(|file| !without.contains(file)).map(|file| file.display().to_string()).collect();
    let of = |names: [&str; 4], ends: [&str; 3]| -> Vec<String> {
        names.iter().flat_map(|name| ends.map(|end| format!("{name}.{end}"))).collect()
    };
    let names = ["tables/roofline", "tables/ceilings", "figures/roofline-1t", "figures/roofline-2t"];
    let mut expected = of(names, ["md", "tex", "csv"]);
    expected.truncate(6);
    expected.extend(of(names, ["csv", "svg", "png"]).split_off(6));
    assert_eq!(gone, expected);
}

#[test]
fn errors_name_file_line_column_and_what_is_valid() {
    let error = |change: &dyn Fn(String) -> String| {
        let dir = tempfile::tempdir().expect("a directory");
        let manifest = write_run(dir.path());
        let path = dir.path().join(CeilingRow::FILE);
        fs::write(&path, change(fs::read_to_string(&path).expect("ceilings"))).expect("a writable file");
        let error = read_rows::<CeilingRow>(dir.path(), &manifest).expect_err("a malformed file");
        error.to_string().replace(&format!("{}/", dir.path().display()), "")
    };
    let replaced = |from: &'static str, to: &'static str| error(&move |text: String| text.replacen(from, to, 1));
    let messages = [
        replaced("int8_dot", "int8_peak"),
        replaced("\n0,0,", "\n0,99,"),
        replaced(",avx2,1,", ",avx512,1,"),
        replaced(",avx2,1,", ",avx2,3,"),
        replaced(",L1,", ",level one,"),
        replaced("CPU 0 - 1,2", "CPU 0 - 1,1"),
        replaced("GMAC/s", "GB/s"),
        replaced(",150.0,", ",-150.0,"),
        replaced(",150.0,", ",fast,"),
        replaced(",place,", ",isa,"),
        replaced(",place,", ","),
        error(&|text| text.clone() + text.lines().nth(1).expect("a row") + "\n"),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}
