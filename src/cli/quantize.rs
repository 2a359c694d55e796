//! `bench quantize`: writes a checkpoint whose linear layers are packed codes, which opens in the time that it
//! takes to map it.

use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use miette::{IntoDiagnostic, Result};
use septet_kernels::{Layout, Level};

use super::Exit;
use super::output::print;
use super::weight_format::{WeightFormat, WeightFormatError};
use crate::model::Checkpoint;

/// Write a model with quantized linear layers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or hf:OWNER/NAME, which is
    /// fetched [default: the built-in model].
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Weights of the linear layers: w4, w3p5, w3 or mixed.
    #[arg(long, default_value = "w3p5")]
    format: WeightFormat,
    /// How codes lie in memory: rows16, which CPUs with vectors are fastest with, or dense.
    #[arg(long, default_value = "rows16", value_parser = Layout::parse)]
    layout: Layout,
    /// The folder to write, new or empty.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Quantizes the model and says what came of it.
pub fn run(args: &Args) -> Result<Exit> {
    print(&args.written().into_diagnostic()?)?;
    Ok(Exit::Pass)
}

impl Args {
    fn written(&self) -> Result<String, WeightFormatError> {
        let model = Checkpoint::of(self.model.as_deref())?;
        let storage = self.format.storage(&model.parts.config, self.layout)?;
        let clock = Instant::now();
        let bar = ProgressBar::new(0).with_style(
            ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {eta} left").expect("a valid template"),
        );
        let manifest = model.write_quantized(&self.output, storage, |written, total| {
            bar.set_length(total as u64);
            bar.set_position(written as u64);
        })?;
        let bytes = bar.length().unwrap_or_default();
        bar.finish_and_clear();
        Ok(format!(
            "{}: {} linear layers in {}, {:.3} bits a weight, {:.3} with embedding and norms; {:.1} MB in {:.1} s\n",
            self.output.display(),
            manifest.linears.len(),
            self.format,
            manifest.bits_per_weight,
            manifest.bits_per_weight_overall,
            bytes as f64 / 1e6,
            clock.elapsed().as_secs_f64(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::model::Error;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        quantize: Args,
    }

    #[test]
    fn every_format_is_written_and_said() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (format, bits) in [("w4", "4.125"), ("w3p5", "3.625"), ("w3", "3.125"), ("mixed", "3.3")] {
            let output = folder.path().join(format).display().to_string();
            let line = ["bench", "--format", format, "-o", &output];
            let text = Cli::try_parse_from(line).expect("valid").quantize.written().expect("writes");
            assert!(text.contains(&format!("29 linear layers in {format}, {bits}")), "{text}");
        }
        let output = folder.path().join("f32").display().to_string();
        let args = Cli::try_parse_from(["bench", "--format", "f32", "-o", &output]).expect("known").quantize;
        assert!(matches!(args.written(), Err(WeightFormatError::Model(Error::NotQuantized { .. }))));
        assert!(!folder.path().join("f32").exists());
    }
}
