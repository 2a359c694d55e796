//! `bench sensitivity`: measures how far a model moves when a single linear layer is quantized. The
//! table of the built-in model decides its mixed formats.

use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use indicatif::{ProgressBar, ProgressStyle};
use miette::{Diagnostic, IntoDiagnostic, Result};
use rayon::ThreadPoolBuilder;
use thiserror::Error;

use super::{
    Exit,
    output::{note, print},
};
use crate::pool::MAX_THREADS;
use crate::{
    digest::sha256,
    mixed::{SensitivityTable, measure},
    model::{
        Checkpoint,
        perplexity::{Stream, TEXT},
    },
};

/// Measure how far a model moves when a single linear layer is quantized
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or hf:OWNER/NAME, which is
    /// fetched [default: the built-in model]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Next-token predictions of the evaluation text that each divergence is the mean of
    #[arg(long, value_name = "N", default_value = "2048")]
    predictions: NonZeroUsize,
    /// Layers measured at a time; does not change the table [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Write the table to a file, also in place of an older table of the same model [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why no table can be measured or written.
#[derive(Debug, Error, Diagnostic)]
enum SensitivityError {
    #[error("the evaluation text has {available} predictions, {asked} were asked for")]
    #[diagnostic(help("ask for fewer with --predictions"))]
    Predictions { asked: usize, available: usize },
    #[error("{} is there and is no sensitivity table of this model", .file.display())]
    #[diagnostic(help("name another file with --output, or remove this one first"))]
    Other {
        file: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot write {}", .file.display())]
    #[diagnostic(help("name a file in an existing folder with --output"))]
    Unwritable { file: PathBuf, source: io::Error },
}

/// Measures the table and writes it.
pub fn run(args: &Args) -> Result<Exit> {
    let model = Checkpoint::of(args.model.as_deref()).into_diagnostic()?;
    let model_sha256 = model.sha256();
    if let Some(file) = &args.output {
        check_replaceable(file, &model_sha256)?;
    }
    let json = table(args, &model, model_sha256)?.to_json();
    match &args.output {
        None => print(&json)?,
        Some(file) => {
            fs::write(file, json).map_err(|source| SensitivityError::Unwritable { file: file.clone(), source })?;
        }
    }
    Ok(Exit::Pass)
}

/// Refuses an output file that could not be written after minutes of work, or that is something
/// else than an older table of the model.
fn check_replaceable(file: &Path, model_sha256: &str) -> Result<(), SensitivityError> {
    let other = |source| SensitivityError::Other { file: file.to_owned(), source };
    match fs::read_to_string(file) {
        Ok(json) => {
            let table = SensitivityTable::parse(&json, file).map_err(|error| other(error.into()))?;
            table.of_model(model_sha256, file).map_err(|error| other(error.into())).map(|_| ())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(other(error.into())),
        Err(source) => match file.parent() {
            Some(folder) if folder != Path::new("") && !folder.is_dir() => {
                Err(SensitivityError::Unwritable { file: file.to_owned(), source })
            }
            _ => Ok(()),
        },
    }
}

fn table(args: &Args, model: &Checkpoint, model_sha256: String) -> Result<SensitivityTable> {
    let mut stream = Stream::new(model, TEXT).into_diagnostic()?;
    let (asked, available) = (args.predictions.get(), stream.tokens.len().saturating_sub(1));
    if asked > available {
        return Err(SensitivityError::Predictions { asked, available }.into());
    }
    stream.truncate(asked);
    let threads = args.threads.or(available_parallelism().ok()).map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let workers = ThreadPoolBuilder::new().num_threads(threads).build().into_diagnostic()?;

    let candidates = measure::candidates(model);
    note(&format!("measuring {candidates} candidates over {asked} predictions, {threads} at a time"));
    // Hidden where stderr is no terminal.
    let bar = ProgressBar::new(candidates as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} candidates, {elapsed} elapsed, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let reference = measure::reference(model, &stream).into_diagnostic()?;
    bar.reset_eta();
    let tensors = workers.install(|| measure::measure(model, &reference, || bar.inc(1))).into_diagnostic();
    bar.finish_and_clear();
    Ok(SensitivityTable::new(model_sha256, sha256([TEXT.as_bytes()]), asked, reference.nats_per_token(), tensors?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::model::builtin;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Cli::try_parse_from([&["bench"], line].concat()).expect("valid").args
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        let json = |line: &[&str]| {
            let model = builtin::load().expect("built-in model");
            table(&args(line), &model, model.sha256()).expect("measured").to_json()
        };
        let one = json(&["--predictions", "3", "--threads", "1"]);
        assert_eq!(json(&["--predictions", "3", "--threads", "3"]), one);
        let table = SensitivityTable::parse(&one, Path::new("table")).expect("reads what it writes");
        assert_eq!((table.predictions, table.tensors.len()), (3, 29));
        assert_eq!(table.to_json(), one);
    }

    #[test]
    fn a_model_folder_is_the_same_model() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
        assert_eq!(Checkpoint::open(&folder).expect("loads").sha256(), builtin::sha256());
        assert!(Checkpoint::open(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn only_a_table_of_the_same_model_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("table.json");
        assert!(check_replaceable(&file, "model").is_ok());
        assert!(matches!(
            check_replaceable(&file.join("below"), "model"),
            Err(SensitivityError::Unwritable { .. } | SensitivityError::Other { .. })
        ));

        fs::write(&file, "notes").expect("writes");
        assert!(matches!(check_replaceable(&file, "model"), Err(SensitivityError::Other { .. })));
        let table = SensitivityTable::new("model".to_owned(), String::new(), 1, 1.0, Vec::new());
        fs::write(&file, table.to_json()).expect("writes");
        assert!(check_replaceable(&file, "model").is_ok());
        assert!(matches!(check_replaceable(&file, "another"), Err(SensitivityError::Other { .. })));
        assert!(matches!(check_replaceable(folder.path(), "model"), Err(SensitivityError::Other { .. })));
    }

    #[test]
    fn more_predictions_than_the_text_has_are_refused() {
        let model = builtin::load().expect("built-in model");
        let error = table(&args(&["--predictions", "10000000"]), &model, model.sha256()).expect_err("too many");
        assert!(error.to_string().contains("10000000"), "{error}");
        assert!(Cli::try_parse_from(["bench", "--predictions", "0"]).is_err());
    }
}
