//! `bench generate`: the complete pipeline continues a text, or answers a message. The text goes to stdout as it
//! is made, everything else to stderr.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use chrono::Utc;
use miette::{IntoDiagnostic, Result};
use septet_kernels::Level;
use thiserror::Error;

use super::Exit;
use super::output::note;
use super::weight_format::{self, WeightFormat, WeightFormatError};
use crate::model::kv_cache::CacheFormat;
use crate::model::profile::Operation;
use crate::model::{self, Checkpoint, Decoder, Execution, LinearSet, Sampler, Sampling, StopStrings};
use crate::pool::ThreadPool;

/// Weights that are worth a thread: a product of fewer is over before a sleeping thread wakes up.
const BYTES_PER_THREAD: usize = 4 << 20;

/// Continue a text with a trained model
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The text to continue, or with --chat the message to answer.
    prompt: String,
    /// A Hugging Face folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or hf:OWNER/NAME, which is
    /// fetched [default: the built-in model].
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Weights of the linear layers: f32, w4, w3p5, w3 or mixed [default: as a quantized model has them, else w3p5].
    #[arg(long)]
    format: Option<WeightFormat>,
    /// Numbers of the key/value cache: f32, f16 or int8.
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = CacheFormat::parse)]
    kv_cache: CacheFormat,
    /// Format the prompt as a message of a user with the model's chat template, and print the answer alone.
    #[arg(long)]
    chat: bool,
    /// What the chat's system message says [default: none, or that of the template].
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    system: Option<String>,
    /// Take the most likely token each time.
    #[arg(long, conflicts_with_all = [
        "repeat_penalty", "repeat_last_n", "top_k", "top_p", "min_p", "temperature", "seed",
    ])]
    greedy: bool,
    /// Divide positive logits of repeated tokens by this, and multiply negative ones; 1: off.
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Tokens are repeated that are among this many last ones, of the prompt too.
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    repeat_last_n: usize,
    /// Sample from this many most likely tokens; 0: from all.
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true)]
    top_k: usize,
    /// Of these, sample from the most likely ones that together have this probability; 1: from all.
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Of these, sample from those that have this share of the largest probability; 0: from all.
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Divide the logits of what is left by this.
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// The same seed gives the same text.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Stop where the text would contain this, which is not printed; may be repeated.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Stop after this many tokens, if the text or the context does not end before.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Threads of the linear layers [default: one for every 4 MiB of weights, at most all].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Why a text could not be continued.
#[derive(Debug, Error)]
enum GenerateError {
    /// The model, the prompt or an option is wrong: bad input.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The model has no weights in the format: bad input.
    #[error(transparent)]
    Format(#[from] WeightFormatError),
    /// Nothing can be written. A reader that went away is no error.
    #[error("can not write the text: {0}")]
    Output(#[from] io::Error),
}

/// Why a text ended.
#[derive(Clone, Copy)]
enum Ending {
    EndOfText,
    StopString,
    MaxTokens,
    ContextFull,
}

/// Continues the prompt on stdout. A reader that goes away ends the text and is no error.
pub fn run(args: &Args) -> Result<Exit> {
    match args.continue_text(&mut io::stdout().lock()) {
        Ok(()) => Ok(Exit::Pass),
        Err(GenerateError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Pass),
        Err(error @ GenerateError::Output(_)) => {
            note(&format!("error: {error}"));
            Ok(Exit::Partial)
        }
        Err(error @ (GenerateError::Model(_) | GenerateError::Format(_))) => Err(error).into_diagnostic(),
    }
}

impl Args {
    fn continue_text(&self, out: &mut impl Write) -> Result<(), GenerateError> {
        let mut stops = StopStrings::new(self.stop.clone())?;
        let model = Checkpoint::of(self.model.as_deref())?;
        let mut sampler = self.sampler(model.parts.config.vocab)?;
        let prompt = self.prompt(&model)?;
        let (linears, format) = weight_format::linears(&model, self.format)?;
        let threads = self.threads(linears.stored_bytes());
        let mut decoder = self.decoder(&model, linears, threads, prompt.len())?;
        let mut text = model.tokenizer.stream(&prompt)?;

        sampler.read(&prompt);
        let start = Instant::now();
        let mut token = sampler.sample(decoder.prefill(&prompt)?);
        let prefill = start.elapsed();
        decoder.take_profile();

        if !self.chat {
            write!(out, "{}", self.prompt)?;
            out.flush()?;
        }
        let start = Instant::now();
        let mut tokens = 0;
        let ending = loop {
            if tokens == self.max_tokens {
                break Ending::MaxTokens;
            }
            if model.parts.config.eos.contains(&token) {
                break Ending::EndOfText;
            }
            tokens += 1;
            let passed = stops.push(&text.push(token)?);
            write!(out, "{}", passed.text)?;
            out.flush()?;
            if passed.stopped {
                break Ending::StopString;
            }
            if decoder.position() == model.parts.config.context {
                break Ending::ContextFull;
            }
            if tokens < self.max_tokens {
                token = sampler.sample(decoder.forward(token)?);
            }
        };
        let decode = start.elapsed();
        let last = stops.push(&text.finish()?);
        writeln!(out, "{}{}", last.text, stops.finish())?;
        out.flush()?;
        let kernel_ns = decoder.take_profile().ns(Operation::Linear);
        let prompt = prompt.len();
        let summary = Summary { format, threads, prompt, prefill, tokens, decode, kernel_ns, ending };
        note(&summary.to_string());
        Ok(())
    }

    fn sampler(&self, vocab: usize) -> Result<Sampler, model::Error> {
        if self.greedy {
            return Ok(Sampler::Greedy);
        }
        let sampling = Sampling {
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            temperature: self.temperature,
            seed: self.seed,
        };
        Sampler::random(sampling, vocab)
    }

    /// The tokens that the model reads before it is asked for one.
    fn prompt(&self, model: &Checkpoint) -> Result<Vec<u32>, model::Error> {
        if self.chat {
            let text = model.chat.prompt(self.system.as_deref(), &self.prompt, Utc::now())?;
            model.tokenizer.encode_chat(&text)
        } else {
            model.tokenizer.encode_prompt(&self.prompt)
        }
    }

    /// The threads asked for, or as many as the weights are worth.
    fn threads(&self, weight_bytes: usize) -> usize {
        self.threads.unwrap_or_else(|| {
            let all = available_parallelism().map_or(1, usize::from);
            (weight_bytes / BYTES_PER_THREAD).clamp(1, all)
        })
    }

    /// A decoder with room for the prompt and the longest continuation.
    fn decoder(
        &self,
        model: &Checkpoint,
        linears: LinearSet,
        threads: usize,
        prompt: usize,
    ) -> Result<Decoder, model::Error> {
        if threads == 0 {
            return Err(model::Error::Zero { what: "the number of threads", found: 0 });
        }
        let pool = ThreadPool::new(threads).map_err(|cause| model::Error::Threads { threads, cause })?;
        let positions = prompt.saturating_add(self.max_tokens.max(1));
        let execution = Execution { kv_cache: self.kv_cache, ..Execution::fast(Arc::new(pool)).for_layout(&linears) };
        Decoder::new(Arc::clone(&model.parts), vec![linears], execution, positions)
    }
}

/// What the last line on stderr says.
struct Summary {
    format: String,
    threads: usize,
    prompt: usize,
    prefill: Duration,
    tokens: usize,
    decode: Duration,
    /// Share of `decode` in linear layers.
    kernel_ns: u64,
    ending: Ending,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let share = 100.0 * self.kernel_ns as f64 / (self.decode.as_nanos() as f64).max(1.0);
        let ending = match self.ending {
            Ending::EndOfText => "the text ended",
            Ending::StopString => "a stop string came",
            Ending::MaxTokens => "--max-tokens reached",
            Ending::ContextFull => "the context is full",
        };
        write!(
            f,
            "{} weights, {} threads; prefill: {} tokens, {:.0} tokens/s; text: {} tokens, {:.0} tokens/s, \
             {share:.0} % of the time in linear layers; {ending}",
            self.format,
            self.threads,
            self.prompt,
            rate(self.prompt, self.prefill),
            self.tokens,
            rate(self.tokens, self.decode),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        generate: Args,
    }

    fn args(line: &[&str]) -> Args {
        Cli::try_parse_from([&["bench"], line].concat()).expect("valid").generate
    }

    fn text(line: &[&str]) -> String {
        let mut out = Vec::new();
        args(line).continue_text(&mut out).expect("continues");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_output_is_the_prompt_and_its_continuation() {
        let reference: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../models/tiny/reference.json")).expect("JSON");
        for case in reference["prompts"].as_array().expect("prompts") {
            let string = |key: &str| case[key].as_str().expect("text");
            let prompt = string("text");
            let expected = string("greedy64_text").split("<|endoftext|>").next().unwrap_or_default();
            let text = text(&[prompt, "--greedy", "--format", "f32", "--max-tokens", "64"]);
            assert_eq!(text, format!("{prompt}{expected}\n"));
        }
    }

    #[test]
    fn seeds_repeat_whatever_the_threads() {
        let sample = |seed, threads| text(&["One day", "--seed", seed, "--threads", threads, "--max-tokens", "40"]);
        assert_eq!(sample("1", "1"), sample("1", "2"));
        assert_ne!(sample("1", "1"), sample("2", "1"));
    }

    /// The built-in model with a file `chat_template.jinja`.
    fn chat_model(template: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
            fs::copy(source.join(name), folder.path().join(name)).expect("copies");
        }
        fs::write(folder.path().join("chat_template.jinja"), template).expect("writes");
        folder
    }

    #[test]
    fn a_chat_prints_the_answer_alone() {
        let plain = text(&["Once upon a time", "--greedy", "--max-tokens", "20"]);
        let answer = plain.strip_prefix("Once upon a time").expect("begins with the prompt");
        // With and without the token that begins a text, which is there once in any case.
        for begin in ["", "{{ bos_token }}"] {
            let folder = chat_model(&format!("{begin}{{{{ messages[-1].content }}}} a time"));
            let model = folder.path().to_str().expect("UTF-8");
            let chat = &["Once upon", "--chat", "--model", model, "--greedy", "--max-tokens", "20"];
            assert_eq!(text(chat), answer, "{begin:?}");
            assert_eq!(text(&[chat, &["--system", "Hello."][..]].concat()), answer, "{begin:?}");
        }
    }

    #[test]
    fn a_stop_string_ends_the_text_wherever_tokens_end() {
        let line = ["Once upon a time", "--greedy", "--max-tokens", "40"];
        let whole = text(&line);
        let continuation = &whole["Once upon a time".len()..];
        for stop in ["irl na", "little girl named Lily. She", "time"] {
            let expected = match continuation.find(stop) {
                Some(at) => format!("Once upon a time{}\n", &continuation[..at]),
                None => whole.clone(),
            };
            assert_eq!(text(&[&line[..], &["--stop", stop]].concat()), expected, "{stop:?}");
        }
        let either = [&line[..], &["--stop", "Lily", "--stop", "little"]].concat();
        assert_eq!(text(&either), text(&[&line[..], &["--stop", "little"]].concat()));
        // What was held back is printed where the text ends before the stop string does.
        let end = whole.trim_end().chars().last().expect("some text");
        assert_eq!(text(&[&line[..], &["--stop", &format!("{end}#")]].concat()), whole);
    }

    #[test]
    fn the_best_of_one_is_greedy() {
        let greedy = text(&["One day", "--greedy", "--max-tokens", "30"]);
        assert_eq!(text(&["One day", "--top-k", "1", "--seed", "3", "--max-tokens", "30"]), greedy);
    }

    #[test]
    fn a_penalty_counts_the_prompt_too() {
        let prompt = "He saw a dog. She saw";
        let line = [prompt, "--top-k", "1", "--max-tokens", "1"];
        let next = |penalty: &[&str]| text(&[&line[..], penalty].concat());
        assert_eq!(next(&[]), format!("{prompt} a\n"));
        assert_ne!(next(&["--repeat-penalty", "100"]), next(&[]));
        assert_eq!(next(&["--repeat-penalty", "100", "--repeat-last-n", "0"]), next(&[]));
    }

    #[test]
    fn mistakes_are_bad_input() {
        let long = "word ".repeat(600);
        for line in [
            ["x", "--threads", "0"],
            ["x", "--top-p", "0"],
            ["x", "--min-p", "-1"],
            ["x", "--repeat-penalty", "0"],
            ["x", "--stop", ""],
            ["x", "--model", "/nowhere"],
            [&long, "--seed", "1"],
        ] {
            let result = args(&line).continue_text(&mut Vec::new());
            assert!(matches!(result, Err(GenerateError::Model(_))), "{line:?}");
        }
        let Err(error) = Cli::try_parse_from(["bench", "x", "--format", "w5"]) else { panic!("accepted w5") };
        assert!(error.to_string().contains("f32, w4"), "{error}");
        let Err(error) = args(&["x", "--chat"]).continue_text(&mut Vec::new()) else { panic!("answered") };
        assert!(error.to_string().contains("no chat template"), "{error}");
        assert!(Cli::try_parse_from(["bench", "x", "--system", "y"]).is_err());
        for option in ["--top-k", "--min-p", "--repeat-penalty", "--repeat-last-n"] {
            assert!(Cli::try_parse_from(["bench", "x", "--greedy", option, "1"]).is_err(), "{option}");
        }
    }
}
