//! `bench perplexity`: how good a model is in each format, on a text.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use indicatif::{ProgressBar, ProgressStyle};
use miette::{Diagnostic, IntoDiagnostic, Result};
use rayon::ThreadPoolBuilder;
use septet_kernels::Level;
use thiserror::Error;

use super::Exit;
use super::output::print;
use super::weight_format::{self, WeightFormat};
use crate::digest::sha256;
use crate::model::Checkpoint;
use crate::model::kv_cache::CacheFormat;
use crate::model::perplexity::{Evaluation, Models, Stream, TEXT, Windows};
use crate::pool::MAX_THREADS;
use crate::report::quality::{Candidate, QualityReport, Subject};
use crate::report::render;

/// Predictions of a window, unless the model's context is shorter.
const WINDOW: usize = 512;

/// Measure perplexity, and divergence from f32, on a text
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A text file; stories in it are separated by `<|endoftext|>` [default: stories of the repository].
    #[arg(value_name = "FILE")]
    text: Option<PathBuf>,
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or hf:OWNER/NAME, which is
    /// fetched [default: the built-in model].
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Weights of the linear layers, several with commas: f32, w4, w3p5, w3 or mixed [default: as a quantized model has
    /// them, else w4,w3p5,w3].
    #[arg(long, value_delimiter = ',')]
    format: Vec<WeightFormat>,
    /// Compare with nothing: for models whose f32 weights do not fit into memory.
    #[arg(long)]
    no_reference: bool,
    /// Numbers of the key/value cache: f32, f16 or int8.
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = CacheFormat::parse)]
    kv_cache: CacheFormat,
    /// Predictions of a window, which begins with no context [default: 512, at most the context of the model].
    #[arg(long, value_name = "N")]
    window: Option<NonZeroUsize>,
    /// Predictions from the beginning of a window to that of the next; only those count that no window before it
    /// made [default: half a window].
    #[arg(long, value_name = "N")]
    stride: Option<NonZeroUsize>,
    /// Evaluate this many predictions at the beginning of the text [default: all].
    #[arg(long, value_name = "N")]
    predictions: Option<NonZeroUsize>,
    /// Coverage of the intervals.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    confidence: f64,
    /// Windows evaluated at a time; does not change the result [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print JSON, with the sums of every window.
    #[arg(long)]
    json: bool,
}

/// What is asked for and cannot be.
#[derive(Debug, Error, Diagnostic)]
enum PerplexityError {
    #[error("cannot read {} as text: {reason}", .file.display())]
    #[diagnostic(help("name a file of UTF-8 text"))]
    Text { file: PathBuf, reason: String },
    #[error("--window {window} is longer than the context of the model, {context}")]
    #[diagnostic(help("ask for at most {context}"))]
    Window { window: usize, context: usize },
    #[error("--stride {stride} would leave predictions out between windows of {window}")]
    #[diagnostic(help("ask for at most {window}"))]
    Stride { stride: usize, window: usize },
    #[error("--confidence {0}: expected a share between 0 and 1, both excluded")]
    Confidence(f64),
    #[error("--threads {0}: at most {MAX_THREADS} can be started")]
    Threads(usize),
}

/// Evaluates the formats and prints the table.
pub fn run(args: &Args) -> Result<Exit> {
    let report = args.evaluate()?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).into_diagnostic()? + "\n",
        false => render::aligned(&report.grid()),
    };
    print(&text)?;
    Ok(Exit::Pass)
}

impl Args {
    fn evaluate(&self) -> Result<QualityReport> {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(PerplexityError::Confidence(self.confidence).into());
        }
        let threads = self.threads.or(available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        if threads > MAX_THREADS {
            return Err(PerplexityError::Threads(threads).into());
        }
        let text = self.text()?;
        let model = Checkpoint::of(self.model.as_deref()).into_diagnostic()?;
        let windows = self.windows(model.parts.config.context)?;
        let mut stream = Stream::new(&model, &text).into_diagnostic()?;
        if let Some(predictions) = self.predictions {
            stream.truncate(predictions.get());
        }
        let packed = weight_format::is_packed(&model);
        let formats = match self.format.as_slice() {
            [] if packed => vec![None],
            [] => WeightFormat::UNIFORM.map(Some).to_vec(),
            formats => formats.iter().copied().map(Some).collect(),
        };
        let (mut candidates, mut sets) = (Vec::new(), Vec::new());
        for format in formats {
            let (set, weights) = weight_format::linears(&model, format).into_diagnostic()?;
            let bits_per_weight = 8.0 * set.stored_bytes() as f64 / set.weights() as f64;
            candidates.push(Candidate { weights, bits_per_weight });
            sets.push((set, self.kv_cache));
        }
        // The original weights of a quantized model are not in its files.
        let compared = !self.no_reference && !packed;
        let reference = compared.then(|| model.linears()).transpose().into_diagnostic()?;

        let workers = ThreadPoolBuilder::new().num_threads(threads).build().into_diagnostic()?;
        // Hidden where stderr is no terminal.
        let bar = ProgressBar::new(windows.count(&stream) as u64).with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} windows, {elapsed} elapsed, {eta} left")
                .expect("a valid template"),
        );
        let models = || Models::alone(&model.parts, reference.as_ref(), &sets, windows);
        let evaluation = workers.install(|| Evaluation::new(&stream, windows, models, || bar.inc(1)));
        bar.finish_and_clear();
        let subject = Subject {
            model_sha256: model.sha256(),
            text_sha256: sha256([text.as_bytes()]),
            window: windows.length,
            stride: windows.stride,
            kv_cache: self.kv_cache.name().to_owned(),
            confidence: self.confidence,
        };
        Ok(QualityReport::new(subject, &candidates, &evaluation.into_diagnostic()?))
    }

    fn text(&self) -> Result<String, PerplexityError> {
        let Some(file) = &self.text else { return Ok(TEXT.to_owned()) };
        fs::read_to_string(file)
            .map_err(|error| PerplexityError::Text { file: file.clone(), reason: error.to_string() })
    }

    fn windows(&self, context: usize) -> Result<Windows, PerplexityError> {
        let length = self.window.map_or(WINDOW.min(context), NonZeroUsize::get);
        if length > context {
            return Err(PerplexityError::Window { window: length, context });
        }
        let stride = self.stride.map_or(length.div_ceil(2), NonZeroUsize::get);
        if stride > length {
            return Err(PerplexityError::Stride { stride, window: length });
        }
        Ok(Windows { length, stride })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::model::Execution;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        perplexity: Args,
    }

    fn evaluated(line: &[&str]) -> Result<QualityReport> {
        Cli::try_parse_from([&["bench"], line].concat()).expect("valid").perplexity.evaluate()
    }

    fn json(line: &[&str]) -> Value {
        serde_json::to_value(evaluated(line).expect("evaluates")).expect("JSON")
    }

    fn message(line: &[&str]) -> String {
        evaluated(line).expect_err("refused").to_string()
    }

    #[test]
    fn every_format_has_a_row_beside_f32() {
        let line = ["--predictions", "600", "--window", "100", "--stride", "100"];
        let report = json(&line);
        let models = report["models"].as_array().expect("models");
        let named: Vec<&str> = models.iter().map(|model| model["weights"].as_str().expect("a name")).collect();
        assert_eq!(named, ["f32", "w4", "w3p5", "w3"]);
        assert_eq!(models[0]["kld"], Value::Null);
        for model in &models[1..] {
            let (ratio, kld) = (&model["perplexity_ratio"], &model["kld"]);
            let number = |value: &Value| value.as_f64().expect("a number");
            assert!(number(&ratio["low"]) < number(&ratio["value"]) && number(&kld["low"]) < number(&kld["high"]));
            let whole = number(&model["perplexity"]["value"]) / number(&models[0]["perplexity"]["value"]);
            assert!((whole / number(&ratio["value"]) - 1.0).abs() < 1e-9);
        }
        // The sums of the windows are all that the table is made of.
        let windows = report["windows"].as_array().expect("windows");
        assert_eq!((windows.len(), &report["predictions"]), (6, &Value::from(600)));
        let nats: f64 = windows.iter().map(|window| window["nats"][0].as_f64().expect("nats")).sum();
        let perplexity = models[0]["perplexity"]["value"].as_f64().expect("a number");
        assert!(((nats / 600.0).exp() / perplexity - 1.0).abs() < 1e-12);
        assert_eq!(json(&[&line[..], &["--threads", "1"]].concat()), report);
        insta::assert_snapshot!(render::aligned(&evaluated(&line).expect("evaluates").grid()));
    }

    #[test]
    fn one_window_bounds_nothing_and_no_reference_compares_nothing() {
        let report =
            evaluated(&["--predictions", "20", "--format", "w3p5,mixed", "--no-reference"]).expect("evaluates");
        insta::assert_snapshot!(render::aligned(&report.grid()));
    }

    #[test]
    fn a_quantized_model_is_evaluated_as_it_is() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let model = Checkpoint::of(None::<PathBuf>).expect("built-in model");
        let output = folder.path().join("w3");
        let storage = WeightFormat::UNIFORM[2].storage(&model.parts.config, Execution::fast_layout()).expect("uniform");
        model.write_quantized(&output, storage, |_, _| {}).expect("writes");
        let line = ["--model", output.to_str().expect("UTF-8"), "--predictions", "50"];
        let of_folder = json(&line);
        let of_model = json(&["--format", "w3", "--no-reference", "--predictions", "50"]);
        assert_eq!(of_folder["windows"], of_model["windows"]);
        assert_eq!(of_folder["models"][0]["weights"], "3.125-bit");
        assert!(message(&[&line[..], &["--format", "w4"]].concat()).contains("is stored as w3"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(message(&["--window", "513"]).contains("512"));
        assert!(message(&["--window", "10", "--stride", "11"]).contains("windows of 10"));
        assert!(message(&["--confidence", "1"]).contains("between 0 and 1"));
        assert!(message(&["--threads", "5000"]).contains("5000: at most 1024"));
        assert!(message(&["/nowhere.txt"]).contains("/nowhere.txt"));
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert!(message(&[empty.path().to_str().expect("UTF-8")]).contains("number of predictions"));
    }
}
