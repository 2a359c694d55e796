//! `bench pipeline`: how fast whole models read prompts and write texts, in the habits of llama-bench.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use miette::{Diagnostic, IntoDiagnostic, Result};
use septet_kernels::Level;
use thiserror::Error;

use super::Exit;
use super::output::print;
use super::weight_format::{self, WeightFormat, WeightFormatError};
use crate::model::checkpoint::hub;
use crate::model::kv_cache::CacheFormat;
use crate::model::shape::{self, Preset};
use crate::model::{self, Checkpoint, Config, Decoder, Execution, LinearSet, ModelParts, Role, builtin};
use crate::pipeline::{Ceilings, Layers, Measurement, PromptAndText, Protocol, Test, measure};
use crate::plan::Residency;
use crate::pool::{MAX_THREADS, ThreadPool};
use crate::report::throughput::{self, Setting, Throughput};
use crate::report::{figure, render};
use crate::runner::{machine, roof::Roof};

/// Tokens of a prompt and of a text, unless the model's context is short.
const PROMPT: usize = 512;
const TEXT: usize = 128;

/// Time whole models: prompts, texts, latencies
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or hf:OWNER/NAME, which is fetched
    /// [default: the built-in model].
    #[arg(long, value_name = "MODEL", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// In place of a model: all layers of a shape with its head, with seeded weights: llama2-7b, llama3-8b, llama70b or
    /// llama70b-tp8.
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Preset>)]
    shape: Option<Preset>,
    /// Layers of the shape [default: all].
    #[arg(long, value_name = "N", requires = "shape")]
    layers: Option<NonZeroUsize>,
    /// Weights of the linear layers, several with commas: f32, w4, w3p5, w3 or mixed [default: as a quantized model has
    /// them, else w3p5].
    #[arg(long, value_delimiter = ',')]
    format: Vec<WeightFormat>,
    /// Numbers of the key/value cache, several with commas: f32, f16 or int8.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', default_value = "f32", value_parser = CacheFormat::parse)]
    kv_cache: Vec<CacheFormat>,
    /// Threads, several with commas [default: all cores].
    #[arg(short, long, value_name = "N", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,
    /// Prompts of this many tokens, several with commas; 0: none [default: 512, at most half of the context].
    #[arg(short = 'p', long, value_name = "N", value_delimiter = ',')]
    prompt: Option<Vec<usize>>,
    /// Texts of this many tokens, several with commas; 0: none [default: 128, at most a quarter of the context].
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',')]
    text: Option<Vec<usize>>,
    /// A prompt and a text behind it; may be repeated.
    #[arg(long, value_name = "P,N")]
    pg: Vec<PromptAndText>,
    /// Tokens in the cache before each test, several with commas.
    #[arg(short, long, value_name = "N", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Repetitions of each test.
    #[arg(short, long, value_name = "N", default_value = "5")]
    repetitions: NonZeroUsize,
    /// Count the first repetition, too.
    #[arg(long)]
    no_warmup: bool,
    /// Of the tokens, and of the weights of a shape.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value = "md")]
    output: Output,
    /// Print where the time went, too, as a second table (JSON has it always, CSV never).
    #[arg(long)]
    profile: bool,
    /// Draw where the time went.
    #[arg(long, value_name = "FILE.svg|FILE.png")]
    figure: Option<PathBuf>,
}

/// Notations of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Md,
    Csv,
    Json,
}

/// What is asked for and cannot be.
#[derive(Debug, Error, Diagnostic)]
enum PipelineError {
    #[error("there is nothing to time")]
    #[diagnostic(help("ask for a prompt (-p 512), a text (-n 128) or both (--pg 512,128)"))]
    NoTest,
    #[error("test {test} needs {needed} positions, and the context of {model} has {context}")]
    #[diagnostic(help("ask for fewer tokens with -p, -n, --pg or -d"))]
    Context { test: Test, needed: usize, model: String, context: usize },
    #[error("--threads {0}: at most {MAX_THREADS} can be started")]
    Threads(usize),
    #[error("cannot write {}: {reason}", .file.display())]
    #[diagnostic(help("name a file that ends in .svg or .png, in an existing folder"))]
    Figure { file: PathBuf, reason: String },
    #[error(
        "{model} in {format} takes {needed:.1} GB with its key/value cache and what measures the memory, and {free:.1} GB \
         are free"
    )]
    #[diagnostic(help("ask for a smaller format, for fewer --layers, or for shorter tests"))]
    Memory { model: String, format: String, needed: f64, free: f64 },
}

/// What runs.
enum Source {
    Trained(Box<Checkpoint>),
    Shape { preset: Preset, layers: usize, positions: usize, seed: u64 },
}

/// Times everything that is asked for, and prints it.
pub fn run(args: &Args) -> Result<Exit> {
    if let Some(file) = &args.figure {
        check_figure(file)?;
    }
    let all = args.measured()?;
    let facts = machine::facts();
    let cpu = facts.get("cpu").map_or("", String::as_str);
    let mut text = match args.output {
        Output::Md => render::aligned(&throughput::grid(&all)),
        Output::Csv => render::csv(&throughput::csv_grid(&all, cpu)),
        Output::Json => serde_json::to_string_pretty(&throughput::objects(&all, cpu)).into_diagnostic()? + "\n",
    };
    if args.profile && args.output == Output::Md {
        text += &format!("\n{}", render::aligned(&throughput::profile_grid(&all)));
    }
    print(&text)?;
    if let Some(file) = &args.figure {
        draw(&all, file)?;
    }
    Ok(Exit::Pass)
}

impl Args {
    fn measured(&self) -> Result<Vec<Throughput>> {
        let source = self.source()?;
        let tests = self.tests(&source)?;
        let formats = match (&source, self.format.as_slice()) {
            (Source::Trained(model), []) if weight_format::is_packed(model) => vec![None],
            (_, []) => vec![Some(WeightFormat::default())],
            (_, formats) => formats.iter().copied().map(Some).collect(),
        };
        let threads = match self.threads.as_slice() {
            [] => vec![machine::cores()],
            threads => threads.iter().map(|threads| threads.get()).collect(),
        };
        if let Some(&threads) = threads.iter().find(|&&threads| threads > MAX_THREADS) {
            return Err(PipelineError::Threads(threads).into());
        }
        let count = formats.len() * threads.len() * self.kv_cache.len() * tests.len();
        // Hidden where stderr is no terminal.
        let bar = ProgressBar::new(count as u64).with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} tests, {elapsed} elapsed, {eta} left  {msg}")
                .expect("a valid template"),
        );
        let mut all = Vec::with_capacity(count);
        for format in formats {
            bar.set_message("weights");
            let (parts, set, weights) = source.weights(format)?;
            for &threads in &threads {
                for &kv_cache in &self.kv_cache {
                    let setting = Setting {
                        model: source.name(self.model.as_deref()),
                        weights: weights.clone(),
                        kv_cache: kv_cache.name(),
                        threads,
                        isa: "",
                    };
                    let on = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
                    let begins = |test: Test| bar.set_message(format!("{weights}, {on}: {test}"));
                    let run = (threads, kv_cache);
                    let (isa, measured) = self.on(&parts, &set, run, &tests, (begins, || bar.inc(1)))?;
                    let setting = Setting { isa, ..setting };
                    all.extend(
                        measured.into_iter().map(|measurement| Throughput { setting: setting.clone(), measurement }),
                    );
                }
            }
        }
        bar.finish_and_clear();
        Ok(all)
    }

    /// All tests of one decoder, and the instruction set of its kernels.
    fn on(
        &self,
        parts: &Arc<ModelParts>,
        set: &LinearSet,
        (threads, kv_cache): (usize, CacheFormat),
        tests: &[Test],
        (begins, ends): (impl Fn(Test), impl Fn()),
    ) -> Result<(&'static str, Vec<Measurement>)> {
        let pool = ThreadPool::bound(threads).map_err(|cause| model::Error::Threads { threads, cause });
        let pool = Arc::new(pool.into_diagnostic()?);
        let execution = Execution { kv_cache, ..Execution::fast(Arc::clone(&pool)).for_layout(set) };
        let isa = execution.kernel.isa;
        let layers = Layers::of(set);
        let positions = tests.iter().map(|test| test.positions()).max().unwrap_or(1);
        let decoder = Decoder::new(Arc::clone(parts), vec![set.clone()], execution, positions);
        let mut decoder = decoder.into_diagnostic()?;
        let cached = decoder.positions() * decoder.cache().position_bytes();
        let mut ceilings = Ceilings::new(layers.stored_bytes + cached, isa, &pool);
        let protocol = Protocol { repetitions: self.repetitions.get(), warm_up: !self.no_warmup, seed: self.seed };
        let mut measured = Vec::with_capacity(tests.len());
        for &test in tests {
            begins(test);
            let measurement = measure(&mut decoder, layers, test, protocol, (&mut ceilings, &pool));
            measured.push(measurement.into_diagnostic()?);
            ends();
        }
        Ok((isa.name(), measured))
    }

    fn source(&self) -> Result<Source> {
        match self.shape {
            None => {
                let model = Checkpoint::of(self.model.as_deref()).into_diagnostic()?;
                Ok(Source::Trained(Box::new(model)))
            }
            Some(preset) => {
                let layers = self.layers.map_or(preset.layers, NonZeroUsize::get);
                let tests = self.all_tests(usize::MAX);
                let positions = tests.iter().map(|test| test.positions()).max().unwrap_or(1);
                Ok(Source::Shape { preset, layers, positions, seed: self.seed })
            }
        }
    }

    /// Everything that is asked for, in the order of llama-bench; `context` is that of the model.
    fn all_tests(&self, context: usize) -> Vec<Test> {
        let prompts = self.prompt.clone().unwrap_or_else(|| vec![PROMPT.min(context / 2)]);
        let texts = self.text.clone().unwrap_or_else(|| vec![TEXT.min(context / 4)]);
        let at = |depth: &usize| {
            let depth = *depth;
            let prompts = prompts.iter().map(move |&prompt| Test { depth, prompt, text: 0 });
            let texts = texts.iter().map(move |&text| Test { depth, prompt: 0, text });
            let both = self.pg.iter().map(move |pair| Test { depth, prompt: pair.prompt, text: pair.text });
            prompts.chain(texts).chain(both).filter(|test| test.prompt + test.text > 0).collect::<Vec<_>>()
        };
        self.depth.iter().flat_map(at).collect()
    }

    fn tests(&self, source: &Source) -> Result<Vec<Test>, PipelineError> {
        let context = source.context();
        let tests = self.all_tests(context);
        if tests.is_empty() {
            return Err(PipelineError::NoTest);
        }
        match tests.iter().find(|test| test.positions() > context) {
            None => Ok(tests),
            Some(&test) => {
                let (needed, model) = (test.positions(), source.name(self.model.as_deref()));
                Err(PipelineError::Context { test, needed, model, context })
            }
        }
    }
}

impl Source {
    fn context(&self) -> usize {
        match self {
            Self::Trained(model) => model.parts.config.context,
            Self::Shape { positions, .. } => *positions,
        }
    }

    /// What tables call it.
    fn name(&self, path: Option<&Path>) -> String {
        match self {
            Self::Trained(_) => match path {
                None => builtin::NAME.to_owned(),
                Some(path) if hub::is_name(path) => path.display().to_string(),
                Some(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            },
            Self::Shape { preset, layers, .. } if *layers == preset.layers => preset.to_string(),
            Self::Shape { preset, layers: 1, .. } => format!("{preset}, 1 layer"),
            Self::Shape { preset, layers, .. } => format!("{preset}, {layers} layers"),
        }
    }

    /// Its parts, its linear layers in `format`, and what tables call that.
    fn weights(&self, format: Option<WeightFormat>) -> Result<(Arc<ModelParts>, LinearSet, String)> {
        match self {
            Self::Trained(model) => {
                let (set, weights) = weight_format::linears(model, format).into_diagnostic()?;
                Ok((Arc::clone(&model.parts), set, weights))
            }
            Self::Shape { preset, layers, positions, seed } => {
                let format = format.unwrap_or_default();
                let config = preset.complete_config(*layers, *positions);
                if let Some(free) = machine::available_memory() {
                    check_memory(self.name(None), format, &config, free as f64 / 1e9)?;
                }
                let storage = format.storage(&config, Execution::fast_layout()).map_err(WeightFormatError::from);
                let complete = shape::complete(preset, *layers, *positions, *seed, storage.into_diagnostic()?);
                let (parts, set) = complete.into_diagnostic()?;
                Ok((Arc::new(parts), set, format.to_string()))
            }
        }
    }
}

/// Refuses a model of `config` in `format` that `free` GB do not hold: its linear layers, a cache in f32, and the
/// buffer that measures the memory.
fn check_memory(model: String, format: WeightFormat, config: &Config, free: f64) -> Result<(), PipelineError> {
    let number = |n: usize| n as f64;
    let of_layer: f64 = Role::ALL.iter().map(|role| role.shape(config)).map(|(r, c)| number(r) * number(c)).sum();
    let weights = number(config.layers) * of_layer + number(config.vocab) * number(config.hidden);
    let cache = 8.0 * number(config.context) * number(config.layers) * number(config.kv_width());
    let roof = Roof::buffer_bytes(Residency::Dram, 0, machine::last_level_cache());
    let needed = (weights * format.least_bits() / 8.0 + cache + number(roof)) / 1e9;
    if needed <= free {
        return Ok(());
    }
    Err(PipelineError::Memory { model, format: format.to_string(), needed, free })
}

/// Refuses a figure that could not be written, before minutes of work.
fn check_figure(file: &Path) -> Result<(), PipelineError> {
    let refused = |reason: &str| Err(PipelineError::Figure { file: file.to_owned(), reason: reason.to_owned() });
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("svg" | "png") => {}
        _ => return refused("it is neither SVG nor PNG"),
    }
    match file.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => refused("there is no such folder"),
        _ => Ok(()),
    }
}

/// Draws where the time went.
fn draw(all: &[Throughput], file: &Path) -> Result<(), PipelineError> {
    let chart = throughput::profile_chart(all);
    let drawn = match file.extension().and_then(|ending| ending.to_str()) {
        Some("png") => figure::png(&chart, file).map_err(|error| error.to_string()),
        _ => figure::svg(&chart, file)
            .map_err(|error| error.to_string())
            .and_then(|svg| fs::write(file, svg).map_err(|error| error.to_string())),
    };
    drawn.map_err(|reason| PipelineError::Figure { file: file.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        pipeline: Args,
    }

    fn args(line: &[&str]) -> Args {
        Cli::try_parse_from([&["bench"], line].concat()).expect("valid").pipeline
    }

    fn objects(line: &[&str]) -> Vec<Value> {
        let all = args(line).measured().expect("measures");
        throughput::objects(&all, "a CPU").as_array().expect("an array").clone()
    }

    fn message(line: &[&str]) -> String {
        args(line).measured().expect_err("refused").to_string()
    }

    /// Lengths, threads, formats and caches of each test, in the order in which they ran.
    fn settings<'a>(objects: &'a [Value]) -> Vec<([u64; 4], &'a str, &'a str)> {
        let number = |object: &Value, key: &str| object[key].as_u64().expect("a count");
        let of = |object: &'a Value| {
            let word = |key: &str| object[key].as_str().expect("a word");
            let lengths = ["n_prompt", "n_gen", "n_depth", "n_threads"].map(|key| number(object, key));
            (lengths, word("model_type"), word("type_kv"))
        };
        objects.iter().map(of).collect()
    }

    #[test]
    fn every_combination_is_a_test() {
        let line = ["-p", "8,0", "-n", "3", "--pg", "5,2", "-d", "0,4", "-t", "1,2", "-r", "2", "--format", "w3,f32"];
        let objects = objects(&line);
        let of = |threads, weights, depth| {
            [(8, 0), (0, 3), (5, 2)].map(|(prompt, text)| ([prompt, text, depth, threads], weights, "f32"))
        };
        let expected: Vec<_> = ["w3", "f32"]
            .into_iter()
            .flat_map(|weights| [1, 2].map(move |threads| (weights, threads)))
            .flat_map(|(weights, threads)| [0, 4].map(move |depth| of(threads, weights, depth)))
            .flatten()
            .collect();
        assert_eq!(settings(&objects), expected);
    }

    #[test]
    fn numbers_follow_from_the_repetitions() {
        let objects = objects(&["-p", "20", "-n", "4", "-t", "1", "-r", "3", "--kv-cache", "int8", "--pg", "20,4"]);
        let [prompt, text, both] = objects.as_slice() else { panic!("{} tests", objects.len()) };
        let list = |object: &Value, key: &str| -> Vec<f64> {
            object[key].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
        };
        for (object, tokens) in [(prompt, 20.0), (text, 4.0), (both, 24.0)] {
            let (ns, ts) = (list(object, "samples_ns"), list(object, "samples_ts"));
            assert_eq!((ns.len(), ts.len()), (3, 3));
            for (ns, ts) in ns.iter().zip(&ts) {
                assert!((ts * ns / 1e9 / tokens - 1.0).abs() < 1e-9);
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / 3.0;
            let close = |key: &str, value: f64| (object[key].as_f64().expect("a number") / value - 1.0).abs() < 1e-9;
            assert!(close("avg_ns", mean(&ns)) && close("avg_ts", mean(&ts)));
            let shares: f64 = object["profile"].as_object().expect("shares").values().filter_map(Value::as_f64).sum();
            assert!((shares - 1.0).abs() < 1e-9);
        }
        assert!(prompt["token_latency_p50_ns"].is_null() && prompt["time_to_first_token_ns"].is_number());
        assert!(text["time_to_first_token_ns"].is_null() && text["token_latency_p99_ns"].is_number());
        assert_eq!(
            both["token_ns"]
                .as_array()
                .expect("repetitions")
                .iter()
                .map(|r| r.as_array().map_or(0, Vec::len))
                .sum::<usize>(),
            12
        );
        let total = |at: usize| {
            let tokens = both["token_ns"][at].as_array().expect("tokens").iter().filter_map(Value::as_f64).sum::<f64>();
            tokens + both["prompt_ns"][at].as_f64().expect("a prompt")
        };
        assert_eq!(list(both, "samples_ns"), [0, 1, 2].map(total));
    }

    #[test]
    fn a_shape_has_its_layers_and_a_head() {
        let objects = objects(&["--shape", "llama70b-tp8", "--layers", "1", "-p", "4", "-n", "2", "-r", "1"]);
        let weights = 8192 * (2 * 1024 + 2 * 128 + 3 * 3584) + 16_032 * 8192;
        assert_eq!(objects[0]["model_n_params"], weights);
        assert_eq!(objects[0]["model_filename"], "llama70b-tp8, 1 layer");
        assert!(objects[0]["stddev_ts"].is_null());
    }

    #[test]
    fn a_table_a_csv_and_a_picture_have_a_row_for_each_test() {
        let all = args(&["-p", "4", "-n", "2", "-t", "1,2", "-r", "1"]).measured().expect("measures");
        for text in [throughput::grid(&all), throughput::profile_grid(&all), throughput::csv_grid(&all, "a, CPU")] {
            assert_eq!(text.rows.len(), 4);
        }
        let csv = render::csv(&throughput::csv_grid(&all, "a, CPU"));
        assert!(csv.starts_with("build_commit,cpu_info,model_filename,") && csv.contains("\"a, CPU\""), "{csv}");
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["profile.svg", "profile.png"] {
            draw(&all, &folder.path().join(name)).expect("draws");
            assert!(folder.path().join(name).metadata().expect("written").len() > 1000);
        }
        let svg = fs::read_to_string(folder.path().join("profile.svg")).expect("text");
        assert!(svg.contains("matrix products") && svg.contains("tg2, 2 threads"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(message(&["-p", "0", "-n", "0"]).contains("nothing to time"));
        let long = message(&["-p", "500", "-d", "20"]);
        assert!(long.contains("pp500 @ d20 needs 521 positions") && long.contains("512"), "{long}");
        assert!(message(&["-t", "100000"]).contains("100000"));
        assert!(message(&["-p", "0", "-n", "1", "-d", "18446744073709551615"]).contains("512"));
        let fits = |layers, positions, format| {
            let preset: Preset = "llama3-8b".parse().expect("known");
            let config = preset.complete_config(layers, positions);
            check_memory("8b".to_owned(), format, &config, 8.0).map_err(|error| error.to_string())
        };
        let [w4, w3p5, _] = WeightFormat::UNIFORM;
        assert_eq!((fits(32, 512, w4), fits(32, 512, w3p5)), (Ok(()), Ok(())));
        let refused = |result: Result<(), String>| result.expect_err("too large").contains("8.0 GB are free");
        assert!(refused(fits(32, 512, WeightFormat::F32)) && refused(fits(32, 32_768, w3p5)));
        assert!(refused(fits(17_592_186_044_416, 512, w3p5)) && refused(fits(1, usize::MAX, w3p5)));
        let refused = |file: &str| check_figure(Path::new(file)).expect_err("refused").to_string();
        assert!(refused("profile.gif").contains("neither") && refused("/nowhere/p.svg").contains("no such folder"));
        for line in [["--shape", "gpt"], ["--pg", "5"], ["-r", "0"], ["--layers", "1"]] {
            assert!(Cli::try_parse_from([&["bench"], &line[..]].concat()).is_err(), "{line:?}");
        }
    }
}
