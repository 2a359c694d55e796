//! `bench run` from the outside: bad input, a small run, its interruption, and its resumption.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{assert_refused, stderr};
use septet::record::{CeilingRow, CellFacts, Phase, Sample, WeightsRow, read_manifest, read_rows};
use septet_kernels::Isa;
use tempfile::TempDir;

/// Three cells that every CPU can run, on the built-in model.
const SPEC: &str = r#"schema = 1
name = "small"
question = "Does a run work?"
hypothesis = "Yes."
refuted_by = "An error."

[protocol]
blocks = 10
quick_blocks = 2
seed = 1
margin = 0.01
confidence = 0.95

[[workload]]
name = "tiny"
title = "built-in model"
model = "builtin"
prompt = "Once"
threads = 1
repetitions = 1
tokens = 2

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

/// A folder with an experiment in it.
struct Place(TempDir);

impl Place {
    fn new(spec: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.spec(), spec).unwrap();
        place
    }

    fn spec(&self) -> PathBuf {
        self.0.path().join("spec.toml")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// `bench run` on the experiment, with more arguments.
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.arg("run").arg(self.spec()).args(more).current_dir(self.0.path());
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// A run into `out` that was started and has finished its first block.
    fn started(&self) -> std::process::Child {
        let child =
            self.command(&["--quick", "-a", "isa=scalar", "--out", "out"]).stderr(Stdio::piped()).spawn().unwrap();
        let samples = self.out().join("samples.csv");
        wait_until("the first block", || fs::read_to_string(&samples).is_ok_and(|text| text.lines().count() > 1));
        child
    }

    /// Rows that count of each (block, session), by cell.
    fn rows(&self) -> BTreeMap<(u32, u32), BTreeMap<String, usize>> {
        let manifest = read_manifest(&self.out()).unwrap();
        let (samples, torn) = read_rows::<Sample>(&self.out(), &manifest).unwrap();
        assert_eq!(torn, None);
        let mut rows: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for sample in samples.into_iter().filter(|sample| sample.phase == Phase::Measure) {
            *rows.entry((sample.block, sample.session)).or_default().entry(sample.cell_id).or_default() += 1;
        }
        rows
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// The spec with `old` replaced by `new` is refused at its place, and nothing is written.
fn refused(old: &str, new: &str, parts: &[&str]) {
    assert!(SPEC.contains(old), "{old}");
    let place = Place::new(&SPEC.replacen(old, new, 1));
    let output = place.run(&["--out", "out"]);
    assert_refused(&output, parts);
    let err = stderr(&output);
    assert!(err.contains("spec.toml:"), "no place in\n{err}");
    assert!(!place.out().exists());
}

#[test]
fn unknown_names_are_refused_at_their_place() {
    refused("seed = 1", "sede = 1", &["unknown field `sede`", "`seed`"]);
    refused(
        "unpack = \"lut\"",
        "unpak = \"lut\"",
        &["unknown axis `unpak`", "layout, unpack", "did you mean `unpack`?"],
    );
    refused("\"lut\"", "\"lutt\"", &["unknown unpack `lutt`", "valid: branch, select, lut", "did you mean `lut`?"]);
    refused(
        "unpack = \"lut\"",
        "isa = \"wide\"",
        &["unknown isa `wide`", "scalar, avx2, avxvnni, avx512bw, avx512vnni, avx512, neon, widest"],
    );
    refused("from = \"base\"", "from = \"bass\"", &["unknown arm `bass`; valid: base", "did you mean `base`?"]);
    refused("from", "workloads = [\"tinny\"]\nfrom", &["unknown workload `tinny`; valid: tiny", "did you mean"]);
    let shape = "shape = \"llama70b-tp9\"";
    let model = "model = \"builtin\"\nprompt = \"Once\"";
    refused(model, shape, &["unknown shape `llama70b-tp9`", "llama2-7b", "did you mean `llama70b-tp8`?"]);
    refused("\"cumulative\"", "\"additive\"", &["unknown variant `additive`", "add-one-in", "leave-one-out"]);
    refused("[arm.base]", "[arm.base]\n[arm.idle]\nepilog = \"fused\"", &["unknown axis `epilog`", "did you mean"]);
}

#[test]
fn contradictions_are_refused_at_their_place() {
    refused("\"ladder\"", "\"null\"", &["a second design named `null`"]);
    refused("\"ladder\"", "\"../ladder\"", &["`../ladder` is not a name", "hyphens"]);
    refused("\"lut\"", "\"branch\"", &["this step changes nothing"]);
    refused("[[design.step]]\nset = { unpack = \"lut\" }", "", &["a design needs steps"]);
    refused("\"cumulative\"", "\"null\"", &["a null check has no steps"]);
    refused("from", "workloads = []\nfrom", &["an empty list of workloads"]);
    refused("[arm.base]", "[arm.base]\nisa = \"widest\"", &["arm `base` cannot exist"]);
    refused("model = \"builtin\"", "model = \"builtin\"\nlayers = 2", &["`layers` means nothing without a `shape`"]);
    refused("tokens = 2", "tokens = 2\nprompt_tokens = 4", &["`prompt_tokens` means nothing without a `shape`"]);
    refused("model = \"builtin\"", "shape = \"llama2-7b\"", &["`prompt` means nothing without a `model`"]);
    refused("model = \"builtin\"\nprompt = \"Once\"", "", &["needs a `model`, a `shape` or a `matrix`, and one alone"]);
    refused("model = \"builtin\"", "model = \"builtin\"\nshape = \"llama2-7b\"", &["and one alone"]);
    refused("tokens = 2", "tokens = 2\nresidency = \"dram\"", &["`residency` means nothing without a `matrix`"]);
    refused("prompt = \"Once\"", "", &["no `prompt`"]);
    let again = "[[design.step]]\nset = { unpack = \"lut\" }\n[[design.step]]\nset = { unpack = \"lut\" }";
    refused("\"cumulative\"", "\"add-one-in\"\ncombination = {}", &["only a cumulative or a factorial design"]);
    let alone = SPEC.replace("\"cumulative\"", "\"add-one-in\"");
    let place = Place::new(&alone.replace("[[design.step]]\nset = { unpack = \"lut\" }", again));
    assert_refused(&place.run(&[]), &["a second step `unpack=lut` in this design", "label"]);
}

#[test]
fn values_of_wrong_types_or_sizes_are_refused_at_their_place() {
    refused("schema = 1", "schema = 2", &["schema 2 is not known", "reads 1"]);
    refused("blocks = 10", "blocks = 9", &["blocks is 9; valid: at least 10"]);
    refused("blocks = 10", "blocks = \"ten\"", &["blocks is \"ten\"; valid: at least 10", "or \"pilot\""]);
    refused("blocks = 10", "blocks = 1.5", &["a number of blocks, or \"pilot\""]);
    refused("blocks = 10", "blocks = \"pilot\"", &["nothing says how many", "add `max_blocks`"]);
    refused("blocks = 10", "blocks = 10\nmax_blocks = 9", &["max_blocks is 9; valid: at least 10"]);
    refused("quick_blocks = 2", "quick_blocks = 1", &["quick_blocks is 1; valid: at least 2"]);
    refused("margin = 0.01", "margin = nan", &["margin is NaN; valid"]);
    refused("seed = 1", "seed = -1", &["-1"]);
    refused("threads = 1", "threads = 0", &["threads is 0; valid: 1 to 1024, \"all\", or \"each\""]);
    refused("threads = 1", "threads = \"some\"", &["threads is \"some\"; valid"]);
    refused("threads = 1", "threads = 1.5", &["a number of threads, \"all\", or \"each\""]);
    refused("tokens = 2", "tokens = 0", &["tokens is 0; valid: at least 1"]);
    refused("tokens = 2\n", "", &["missing field `tokens`"]);
    refused("name = \"small\"", "name = \"Small One\"", &["`Small One` is not a name"]);
    refused("schema = 1", "schema = ", &["spec.toml:1"]);
    let model = "model = \"builtin\"\nprompt = \"Once\"";
    refused(model, "shape = \"llama2-7b\"\nlayers = 0", &["layers is 0; valid: at least 1"]);
    refused(model, "shape = \"llama2-7b\"\nprompt_tokens = 0", &["prompt_tokens is 0; valid: at least 1"]);
    refused(model, "matrix = { rows = 0, cols = 64 }", &["rows is 0; valid: at least 1"]);
    refused(model, "matrix = { rows = 64, cols = 65537 }", &["cols is 65537; valid"]);
    refused(model, "matrix = { rows = 64 }", &["missing field `cols`"]);
    refused(model, "matrix = { rows = 64, cols = 64 }\nresidency = \"disk\"", &["unknown variant `disk`", "cache"]);
}

#[test]
fn files_that_are_no_experiments_are_refused() {
    let place = Place::new(SPEC);
    fs::write(place.spec(), b"schema = 1\nname = \"caf\xe9\"\n").unwrap();
    assert_refused(&place.run(&[]), &["spec.toml:2", "UTF-8"]);
    fs::remove_file(place.spec()).unwrap();
    assert_refused(&place.run(&[]), &["spec.toml", "cannot read", "experiments/ablation.toml"]);
}

#[test]
fn a_selection_that_leaves_nothing_is_refused() {
    let place = Place::new(SPEC);
    let output = place.run(&["--out", "out", "-a", "unpack=select"]);
    assert_refused(&output, &["no contrast is left", "spec.toml:", "-a"]);
    assert!(!place.out().exists());
}

#[test]
fn folders_that_cannot_take_a_run_are_refused_and_left_alone() {
    let place = Place::new(SPEC);
    fs::create_dir(place.out()).unwrap();
    fs::write(place.out().join("notes.txt"), "mine").unwrap();
    assert_refused(&place.run(&["--quick", "--out", "out"]), &["out exists already and is not empty", "--resume out"]);
    assert_eq!(fs::read_dir(place.out()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(place.out().join("notes.txt")).unwrap(), "mine");
    assert_refused(&place.run(&["--quick", "--out", "spec.toml/out"]), &["cannot write spec.toml/out", "--out"]);
    assert_refused(&place.run(&["--quick", "--resume", "out"]), &["out: there is no manifest.json"]);
    assert_refused(&place.run(&["--out", "a", "--resume", "b"]), &["--out", "--resume"]);
}

/// Models whose files are damaged, or contradict each other.
#[test]
fn spoiled_models_are_refused_by_file_and_tensor() {
    let spoiled = |file: &str, change: &dyn Fn(&mut Vec<u8>), parts: &[&str]| {
        let place = Place::new(&SPEC.replace("\"builtin\"", "\"model\""));
        let model = place.0.path().join("model");
        fs::create_dir(&model).unwrap();
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            let mut bytes = fs::read(built_in.join(name)).unwrap();
            if name == file {
                change(&mut bytes);
            }
            fs::write(model.join(name), bytes).unwrap();
        }
        assert_refused(&place.run(&["--quick", "--out", "out"]), parts);
        assert!(!place.out().exists(), "a run without a model");
    };
    let weights = "model.safetensors";
    spoiled(weights, &|bytes| bytes.truncate(bytes.len() / 2), &[weights, "truncated"]);
    // The file ends with the last f16 of a tensor.
    let nan = |bytes: &mut Vec<u8>| {
        bytes.truncate(bytes.len() - 2);
        bytes.extend([0x00, 0x7e]);
    };
    spoiled(weights, &nan, &[weights, "tensor `", "NaN", "must be finite"]);
    let narrow = |bytes: &mut Vec<u8>| {
        let mut config: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        config["intermediate_size"] = 512.into();
        *bytes = config.to_string().into_bytes();
    };
    spoiled("config.json", &narrow, &[weights, "mlp", "has shape", "the configuration implies", "512"]);
    spoiled("tokenizer.json", &|bytes| bytes.truncate(1000), &["tokenizer.json"]);
    let place = Place::new(&SPEC.replace("\"builtin\"", "\"model\""));
    assert_refused(&place.run(&["--quick"]), &["model/config.json"]);
}

/// One small run, and everything that may be done with it afterwards.
#[test]
fn a_run_is_written_reported_and_protected() {
    let place = Place::new(SPEC);
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"out\n");
    let files = || -> BTreeMap<PathBuf, Vec<u8>> {
        let folders = [place.out(), place.out().join("tables"), place.out().join("figures")];
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
        let paths = entries.map(|entry| entry.path()).filter(|path| path.is_file());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = files();
    for name in [
        "manifest.json",
        "samples.csv",
        "ceilings.csv",
        "counters.csv",
        "cells.csv",
        "contrasts.csv",
        "tables/ladders.md",
    ] {
        assert!(before.contains_key(&place.out().join(name)), "{name}");
    }
    assert!(String::from_utf8_lossy(&before[&place.out().join("tables/ladders.md")]).contains("NOT CITABLE"));
    // Five metrics of each repetition that was fixed before the first block.
    let facts = read_manifest(&place.out()).unwrap().facts;
    let rows_of = |facts: &CellFacts| 5 * facts.repetitions as usize;
    let planned: BTreeMap<String, usize> = facts.iter().map(|f| (f.cell_id.clone(), rows_of(f))).collect();
    assert!(planned.len() == 3 && place.rows().values().all(|cells| *cells == planned), "{:?}", place.rows());

    // What comes before them is there too, marked, of those cells alone that need it.
    let (samples, _) = read_rows::<Sample>(&place.out(), &read_manifest(&place.out()).unwrap()).unwrap();
    for facts in &facts {
        let warm_up = samples.iter().any(|row| row.cell_id == facts.cell_id && row.phase == Phase::Warmup);
        assert_eq!(warm_up, facts.warm_up);
    }

    let report = Command::new(env!("CARGO_BIN_EXE_bench")).arg("report").arg(place.out()).output().unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    assert!(files() == before, "a second report differs");

    assert_refused(&place.run(&["--quick", "--out", "out"]), &["exists already"]);
    assert_refused(&place.run(&["--resume", "out"]), &["the plan differs", "--quick"]);
    assert!(files() == before, "a refused run wrote");

    // Each block begins with what the machine can do at best.
    let manifest = read_manifest(&place.out()).unwrap();
    let (ceilings, torn) = read_rows::<CeilingRow>(&place.out(), &manifest).unwrap();
    let blocks: BTreeSet<(u32, u32)> = ceilings.iter().map(|row| (row.session, row.block)).collect();
    assert_eq!((torn, blocks), (None, BTreeSet::from([(0, 0), (0, 1)])));
    assert!(ceilings.iter().any(|row| row.place == "DRAM" && row.threads == 1), "{ceilings:?}");

    let (weights, _) = read_rows::<WeightsRow>(&place.out(), &manifest).unwrap();
    // A machine that is busy with other things may have put the first block behind the second.
    let blocks: BTreeSet<(u32, u32)> = weights.iter().map(|row| (row.session, row.block)).collect();
    assert_eq!((weights.len(), blocks), (2, BTreeSet::from([(0, 0), (0, 1)])), "one form");

    // A killed writer leaves the beginning of its block: that block alone is run again.
    let samples = place.out().join("samples.csv");
    let whole = fs::read_to_string(&samples).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    fs::write(&samples, lines[..lines.len() - 5].join("\n") + "\n").unwrap();
    let output = place.run(&["--quick", "--resume", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows = place.rows();
    let last: u32 = lines[lines.len() - 1].split(',').nth(1).unwrap().parse().unwrap();
    assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([(0, 0), (1, 0), (last, 1)]));
    assert_eq!(rows[&(last, 1)], planned);
    assert!(fs::read_to_string(&samples).unwrap().starts_with(&lines[..lines.len() - 5].join("\n")));

    fs::write(place.spec(), SPEC.replace("seed = 1", "seed = 2")).unwrap();
    let parts = ["the experiment file differs", "line 10: seed = 1", "line 10: seed = 2", "start a new run"];
    assert_refused(&place.run(&["--quick", "--resume", "out"]), &parts);
}

/// A prompt in batches, and regions that are joined, compute the same; the time of the prompt is a metric.
#[test]
fn a_prompt_is_timed_token_by_token_and_in_batches_with_a_cache_and_without() {
    let sets = ["prefill = \"batch\"", "regions = \"joined\"", "kv_cache = \"none\"", "kv_cache = \"int8\""];
    let steps = sets.map(|set| format!("[[design.step]]\nset = {{ {set} }}"));
    let spec = SPEC
        .replace("[[design.step]]\nset = { unpack = \"lut\" }", &steps.join("\n"))
        .replace("[arm.base]", "[arm.base]\nlayout = \"rows16\"\nunpack = \"bit_parallel\"")
        .replace("\"Once\"", "\"Once upon a time there was a fox.\"");
    let place = Place::new(&spec);
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifest = read_manifest(&place.out()).unwrap();
    let tokens = manifest.facts[0].prompt_tokens.unwrap();
    assert!(tokens > 4 && manifest.facts.iter().all(|facts| facts.quality.bit_equal == Some(true)));
    // Without a cache to the same bits; int8 to others, which are further from f32.
    let facts_of = |level: &str| {
        let cells = manifest.plan.cells.iter().filter(|cell| cell.level("kv_cache") == Some(level));
        let ids: Vec<&str> = cells.map(|cell| cell.id.as_str()).collect();
        manifest.facts.iter().find(|facts| ids.contains(&facts.cell_id.as_str())).expect("a cell")
    };
    let [kept, none, int8] = ["f32", "none", "int8"].map(facts_of);
    assert!(kept.output_sha256 == none.output_sha256 && kept.output_sha256 != int8.output_sha256);
    assert!(kept.quality.kld == none.quality.kld && kept.quality.kld != int8.quality.kld);
    let cells = fs::read_to_string(place.out().join("cells.csv")).unwrap();
    let header: Vec<&str> = cells.lines().next().unwrap().split(',').collect();
    let of = |line: &str, column: &str| -> String {
        let at = header.iter().position(|name| *name == column).unwrap();
        line.split(',').nth(at).unwrap().to_owned()
    };
    let median = |level: &str, metric: &str| -> f64 {
        let is = |line: &&str| of(line, "prefill") == level && of(line, "metric") == metric;
        of(cells.lines().find(is).expect("a row"), "median").parse().unwrap()
    };
    for level in ["token", "batch"] {
        let (time, first) = (median(level, "prefill_time"), median(level, "time_to_first_token"));
        assert!(time > 0.0 && (first / (time * f64::from(tokens)) - 1.0).abs() < 1e-9, "{level}: {time}, {first}");
        assert!((median(level, "prefill_tokens_per_s") * time / 1e9 - 1.0).abs() < 1e-9);
    }
    let arms = fs::read_to_string(place.out().join("tables/arms.md")).unwrap();
    assert!(arms.contains("| Prefill | First token |") && arms.contains("/requantize/batch/joined |"), "{arms}");
    let ladders = fs::read_to_string(place.out().join("tables/ladders.md")).unwrap();
    assert!(ladders.contains("| Prefill, vs. previous |"), "{ladders}");
}

#[test]
fn a_matrix_alone_is_measured_beside_its_roof() {
    let matrix = "matrix = { rows = 80, cols = 300 }\nresidency = \"cache\"";
    let place = Place::new(&SPEC.replace("model = \"builtin\"\nprompt = \"Once\"", matrix));
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let samples = fs::read_to_string(place.out().join("samples.csv")).unwrap();
    assert!(samples.contains(",kernel_time,ns/product,") && !samples.contains("latency"), "{samples}");
    let table = |name: &str| fs::read_to_string(place.out().join("tables").join(name)).unwrap();
    // Eighty rows of 300 weights in three segments of 64 bytes and a scale each.
    assert!(table("matrices.md").contains(&format!("{:.3}", 8.0 * 3.0 * 66.0 / 300.0)), "{}", table("matrices.md"));
    assert!(table("fastest.md").contains("| scalar | – |"), "{}", table("fastest.md"));
    assert!(!place.out().join("tables/claims.md").exists());
}

/// Packing has a time of its own, and what the system says of its pages is recorded, whatever it gives.
#[test]
fn weights_are_recorded_by_block_and_form() {
    let matrix = "matrix = { rows = 1024, cols = 4096 }\nresidency = \"cache\"";
    let spec = SPEC.replace("model = \"builtin\"\nprompt = \"Once\"", matrix);
    let step = |pages: &str| format!("[[design.step]]\nset = {{ pages = \"{pages}\" }}\n");
    let spec = spec.replace("set = { unpack = \"lut\" }", "set = { pages = \"base\" }");
    let spec = spec.replace("[[design]]\nname = \"null\"", &(step("huge") + "\n[[design]]\nname = \"null\""));
    let place = Place::new(&spec);
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifest = read_manifest(&place.out()).unwrap();
    assert!(manifest.facts.iter().all(|facts| facts.quality.bit_equal == Some(true)));
    let (rows, torn) = read_rows::<WeightsRow>(&place.out(), &manifest).unwrap();
    let planned: BTreeSet<&str> = manifest.plan.cells.iter().map(|cell| cell.factors["pages"].as_str()).collect();
    let recorded: Vec<(u32, &str)> = rows.iter().map(|row| (row.block, row.pages.as_str())).collect();
    assert_eq!((torn, rows.len()), (None, 2 * planned.len()), "{recorded:?}");
    for row in &rows {
        assert!(row.pack_ns.is_some() && planned.contains(row.pages.as_str()), "{row:?}");
        // 64 bytes and a scale for 128 weights.
        assert_eq!((row.bytes, row.code_bytes), (row.copies * 2048 * 1056, row.copies * 2048 * 1024));
        assert!(row.pages != "base" || row.huge_bytes.is_none_or(|huge| huge == 0), "{row:?}");
    }
    let table = fs::read_to_string(place.out().join("tables/weights.md")).unwrap();
    assert!(table.contains("| Packed in, ms |") && table.contains("| base |"), "{table}");
}

/// Code that is compiled for K gives the bits of the reference, and its loop is the one that is counted.
#[test]
fn a_matrix_of_a_compiled_shape_is_multiplied_in_two_ways() {
    if Isa::best() == Isa::Scalar {
        return;
    }
    let matrix = "matrix = { rows = 80, cols = 8192 }\nresidency = \"cache\"";
    let arm = "[arm.base]\nlayout = \"dense\"\nunpack = \"bit_parallel\"\nunroll = \"u4\"\nisa = \"widest\"";
    let spec = SPEC
        .replace("model = \"builtin\"\nprompt = \"Once\"", matrix)
        .replace("set = { unpack = \"lut\" }", "set = { shape = \"compile_time\" }")
        .replace("[arm.base]", arm);
    let place = Place::new(&spec);
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifest = read_manifest(&place.out()).unwrap();
    let shapes: Vec<&str> = manifest.plan.cells.iter().map(|cell| cell.factors["shape"].as_str()).collect();
    assert!(shapes.contains(&"runtime") && shapes.contains(&"compile_time"), "{shapes:?}");
    assert!(manifest.facts.iter().all(|facts| facts.quality.bit_equal == Some(true)));
    let samples = fs::read_to_string(place.out().join("samples.csv")).unwrap();
    assert!(samples.contains(",full,compile_time,token,"), "{samples}");
    let counters = fs::read_to_string(place.out().join("counters.csv")).unwrap();
    let instructions = |shape: &str| {
        let cell = manifest.plan.cells.iter().find(|cell| cell.factors["shape"] == shape).expect("a cell");
        let row = |line: &&str| line.starts_with(&cell.id) && line.contains("loop_instructions_per_weight");
        counters.lines().find(row).expect("a row").split(',').nth(2).unwrap().to_owned()
    };
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        assert_ne!(instructions("runtime"), instructions("compile_time"));
    }
}

/// Column by column and by panels, the products are the same; a weight counts once for each column.
#[test]
fn a_matrix_is_multiplied_with_many_columns_in_two_ways() {
    let spec = SPEC
        .replace(
            "model = \"builtin\"\nprompt = \"Once\"",
            "matrix = { rows = 200, cols = 300, columns = 13 }\nresidency = \"cache\"",
        )
        .replace("set = { unpack = \"lut\" }", "set = { prefill = \"batch\" }")
        .replace("[arm.base]", "[arm.base]\nlayout = \"rows16\"\nunpack = \"bit_parallel\"");
    let place = Place::new(&spec);
    let output = place.run(&["--quick", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifest = read_manifest(&place.out()).unwrap();
    assert!(manifest.facts.iter().all(|facts| facts.quality.bit_equal == Some(true)));
    let kernels: Vec<&str> = manifest.plan.cells.iter().map(|cell| cell.kernel.as_str()).collect();
    assert!(kernels.iter().any(|kernel| kernel.ends_with("+gemm/w3p5/rows16/scalar")), "{kernels:?}");
    let one = SPEC.replace("model = \"builtin\"\nprompt = \"Once\"", "matrix = { rows = 80, cols = 300, columns = 0 }");
    assert_refused(&Place::new(&one).run(&["--quick", "--out", "out"]), &["columns is 0", "at least 1"]);
}

/// More threads than CPUs take turns: a run says so, and every cell computes what it must.
#[test]
fn more_threads_than_cpus_are_told_and_compute_the_same() {
    let threads = 2 * std::thread::available_parallelism().unwrap().get();
    let place = Place::new(&SPEC.replace("threads = 1", &format!("threads = {threads}")));
    let output = place.run(&["--quick", "--out", "out"]);
    let err = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains(&format!("{threads} threads share ")) && err.contains("`threads = \"all\"`"), "{err}");
    let manifest = read_manifest(&place.out()).unwrap();
    assert!(manifest.environment["pinning"].starts_with(&format!("{threads} threads free: ")));
    assert!(manifest.facts.iter().all(|facts| facts.quality.bit_equal == Some(true)));
}

/// Enough blocks to be stopped in the middle.
fn longer() -> String {
    SPEC.replace("quick_blocks = 2", "quick_blocks = 8").replace("tokens = 2", "tokens = 24")
}

/// Every block is there once, taken by one session.
fn assert_complete(place: &Place) {
    let rows = place.rows();
    assert_eq!(rows.keys().map(|(block, _)| *block).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(rows.values().map(|cells| cells.len()).collect::<BTreeSet<_>>(), BTreeSet::from([3]));
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_says_how_to_go_on_and_does() {
    let place = Place::new(&longer());
    let child = place.started();
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let err = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{err}");
    let done = place.rows();
    assert!(!done.is_empty() && done.len() < 8, "{} blocks", done.len());

    let words = err.lines().find_map(|line| line.strip_prefix("  bench run ")).expect("the command that goes on");
    let command = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("run")
        .args(words.split(' '))
        .current_dir(place.0.path())
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(0), "{}", stderr(&command));
    assert_complete(&place);
    assert!(done.iter().all(|(key, cells)| place.rows()[key] == *cells), "a finished block was repeated");
    assert!(place.out().join("tables/ladders.md").exists());
}

/// Killed without a word in the middle of a block: that block alone is lost, and what it had is partial.
#[test]
#[cfg(target_os = "linux")]
fn a_killed_run_loses_its_open_block_alone() {
    let place = Place::new(&longer());
    let mut child = place.started();
    let open = place.out().join("open.csv");
    wait_until("a cell of an open block", || fs::read_to_string(&open).is_ok_and(|text| text.lines().count() > 1));
    signal("-KILL", child.id());
    assert_eq!(child.wait().unwrap().code(), None);
    let done = place.rows();
    assert!(!done.is_empty() && done.len() < 8, "{} blocks", done.len());
    let had = fs::read_to_string(&open).unwrap_or_default();

    let output = place.run(&["--quick", "-a", "isa=scalar", "--resume", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_complete(&place);
    assert!(done.iter().all(|(key, cells)| place.rows()[key] == *cells), "a finished block was repeated");
    let partial = fs::read_to_string(place.out().join("partial.csv")).unwrap_or_default();
    let whole = had.lines().skip(1).take(had.lines().count().saturating_sub(2));
    assert!(whole.into_iter().all(|line| partial.contains(line)), "{had}\nand\n{partial}");
    assert!(!open.exists());
}

/// The number of blocks is chosen once, from blocks that do not count, within its bounds.
#[test]
fn a_pilot_chooses_the_number_of_blocks_once() {
    let matrix = "matrix = { rows = 80, cols = 300 }\nresidency = \"cache\"";
    let spec = SPEC.replace("model = \"builtin\"\nprompt = \"Once\"", matrix);
    let place = Place::new(&spec.replace("blocks = 10", "blocks = \"pilot\"\nmax_blocks = 11"));
    let plan = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.arg("plan").arg(place.spec()).args(more).current_dir(place.0.path()).output().unwrap()
    };
    let output = plan(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "blocks      11 at most, a pilot chooses; margin 1%",
        "tiny: built-in model; threads 1, 3 cells",
        "ladder: One step; 1 on tiny",
        "time        unknown: run with --pilot or --like",
        "detectable  unknown: run with --pilot or --like",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }

    let output = place.run(&["--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let protocol = read_manifest(&place.out()).unwrap().plan.protocol;
    assert!((10..=11).contains(&protocol.blocks), "{protocol:?}");
    let chosen = protocol.chosen.unwrap();
    assert!(chosen.contains("a pilot of 3 blocks") && chosen.contains("bounds 10 to 11"), "{chosen}");
    let table = fs::read_to_string(place.out().join("tables/ladders.md")).unwrap();
    assert!(table.contains("Number of blocks: a pilot of 3 blocks"), "{table}");
    // No second pilot, and nothing to do.
    let rows = place.rows();
    let output = place.run(&["--resume", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("pilot") && place.rows() == rows);

    // The run says what the next one will take.
    let output = plan(&["--like", "out", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["forecast"]["contrasts"].as_array().unwrap().len(), 2);
    assert_eq!(value["forecast"]["from_blocks"], protocol.blocks);
    assert!(value["forecast"]["block_seconds"].as_f64().unwrap() > 0.0);
    assert!(value["forecast"]["workloads"][0]["spread"].as_f64().unwrap() > 0.0);
    let text = String::from_utf8(plan(&["--like", "out"]).stdout).unwrap();
    assert!(text.contains(" s a block, ") && text.contains("blocks detect the margin"), "{text}");
    assert_refused(&plan(&["--like", "nowhere"]), &["nowhere: no such folder"]);
}

/// The process of the block that a run is at.
#[cfg(target_os = "linux")]
fn block_process(run: u32) -> u32 {
    let children = format!("/proc/{run}/task/{run}/children");
    let mut block = None;
    wait_until("a block's process", || {
        let text = fs::read_to_string(&children).unwrap();
        block = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
        block.is_some()
    });
    block.unwrap()
}

/// A cell whose process dies fails alone: its block is run again without it, and the run says so.
#[test]
#[cfg(target_os = "linux")]
fn a_crash_in_a_cell_leaves_the_others_and_is_partial() {
    let place = Place::new(&SPEC.replace("tokens = 2", "tokens = 60").replace("threads = 1", "threads = 2"));
    let mut command = place.command(&["--quick", "--out", "out"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the manifest", || place.out().join("manifest.json").exists());
    let block = block_process(run.id());
    // The first cell has ended, and the second takes a second or more.
    wait_until("a cell", || {
        fs::read_to_string(place.out().join("open.csv")).is_ok_and(|rows| rows.lines().count() > 1)
    });
    signal("-ABRT", block);
    let output = run.wait_with_output().unwrap();
    let err = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b"out\n"[..]), "{err}");
    assert!(err.contains("1 of 3 cells failed: see out/failures.csv") && err.contains("signal: 6"), "{err}");
    let failures = fs::read_to_string(place.out().join("failures.csv")).unwrap();
    assert!(failures.lines().count() == 2 && failures.contains(",0,its process ended early: signal: 6"), "{failures}");
    assert!(place.rows().values().all(|cells| cells.len() == 2));
    let table = fs::read_to_string(place.out().join("tables/arms.md")).unwrap();
    assert!(table.contains("failed: its process ended early"), "{table}");
}

/// Before the first sample nothing is worth keeping.
#[test]
#[cfg(unix)]
fn a_run_interrupted_before_its_first_sample_leaves_nothing() {
    let place = Place::new(SPEC);
    let run = place.command(&["--quick", "--out", "out"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the folder", || place.out().exists());
    signal("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing was kept"), "{}", stderr(&output));
    assert!(!place.out().exists());
}

#[test]
fn a_continuation_beyond_the_context_is_refused() {
    let place = Place::new(&SPEC.replace("tokens = 2", "tokens = 5000"));
    let parts = ["workload tiny", "a prompt of", "5000 tokens after it", "context", "lower `tokens` to at most"];
    // A quick run decodes fewer tokens.
    assert_refused(&place.run(&["--out", "out"]), &parts);
    assert!(!place.out().exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_run_leaves_no_process_behind_and_resumes() {
    let place = Place::new(&longer());
    let mut child = place.started();
    let block = block_process(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let stat = format!("/proc/{block}/stat");
    let start = Instant::now();
    // Gone, or a zombie that nobody has waited for.
    wait_until("the end of the block's process", || {
        fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
    assert!(start.elapsed() < Duration::from_secs(2));
    let output = place.run(&["--quick", "-a", "isa=scalar", "--resume", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_complete(&place);
}
