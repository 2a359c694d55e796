//! Repetitions of one test.

use std::time::Instant;

use septet_kernels::SplitMix64;

use super::Test;
use super::ceilings::{Ceilings, Now};
use crate::model::profile::Profile;
use crate::model::{Decoder, Error, LinearSet};
use crate::pool::ThreadPool;
use crate::stats::summary::{median, quantile};

/// One repetition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Until the logits behind the prompt were there; nothing without a prompt.
    pub prompt_ns: Option<u64>,
    /// Of each token of the text.
    pub token_ns: Vec<u64>,
    /// Means of the ceilings before and after.
    pub ceilings: Now,
}

impl Sample {
    /// Of the prompt and the text.
    pub fn total_ns(&self) -> u64 {
        self.prompt_ns.unwrap_or(0) + self.token_ns.iter().sum::<u64>()
    }
}

/// How a test is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub repetitions: usize,
    /// Whether there is a repetition before them that does not count.
    pub warm_up: bool,
    /// Of the tokens.
    pub seed: u64,
}

/// The linear layers that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Weights, head included.
    pub weights: usize,
    /// Weights without the head, which a prompt needs but once.
    pub of_layers: usize,
    /// Bytes of all of them, with scales and padding.
    pub stored_bytes: usize,
}

impl Layers {
    /// What `set` holds.
    pub fn of(set: &LinearSet) -> Self {
        let head = set.head.as_ref().map_or(0, |head| head.rows() * head.cols());
        let weights = set.weights();
        Self { weights, of_layers: weights - head, stored_bytes: set.stored_bytes() }
    }
}

/// All repetitions of one test.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    pub test: Test,
    pub samples: Vec<Sample>,
    /// Where the time of all repetitions went.
    pub profile: Profile,
    pub layers: Layers,
    /// Bytes that a token of the text reads: weights, head included, and keys and values at the middle of the text.
    pub token_bytes: f64,
}

/// Repeats `test` on `decoder`, which runs `layers`.
///
/// # Errors
///
/// When the test does not fit the cache, or a value is not finite.
pub fn measure(
    decoder: &mut Decoder,
    layers: Layers,
    test: Test,
    protocol: Protocol,
    (ceilings, pool): (&mut Ceilings, &ThreadPool),
) -> Result<Measurement, Error> {
    let Protocol { repetitions, warm_up, seed } = protocol;
    let vocab = decoder.vocab();
    let mut random = SplitMix64::new(seed);
    let mut tokens = |n: usize| -> Vec<u32> { (0..n).map(|_| (random.next() % vocab as u64) as u32).collect() };
    let (depth, prompt, text) = (tokens(test.depth), tokens(test.prompt), tokens(test.text));
    decoder.reset();
    if !depth.is_empty() {
        decoder.prefill(&depth)?;
    }
    let run = |decoder: &mut Decoder| -> Result<(Option<u64>, Vec<u64>), Error> {
        decoder.rewind(depth.len());
        let mut prompt_ns = None;
        if !prompt.is_empty() {
            let clock = Instant::now();
            decoder.prefill(&prompt)?;
            prompt_ns = Some(clock.elapsed().as_nanos() as u64);
        }
        let token = |&token: &u32| {
            let clock = Instant::now();
            decoder.forward(token)?;
            Ok(clock.elapsed().as_nanos() as u64)
        };
        Ok((prompt_ns, text.iter().map(token).collect::<Result<_, Error>>()?))
    };
    if warm_up {
        run(decoder)?;
    }
    let mut profile = Profile::default();
    let mut samples = Vec::with_capacity(repetitions);
    let mut before = ceilings.measure(pool);
    for _ in 0..repetitions {
        // Ceilings leave nothing of a model in the caches. A token brings back what stays there.
        decoder.rewind(depth.len());
        decoder.advance(0)?;
        decoder.take_profile();
        let (prompt_ns, token_ns) = run(decoder)?;
        profile = profile.plus(&decoder.take_profile());
        let after = ceilings.measure(pool);
        samples.push(Sample { prompt_ns, token_ns, ceilings: before.between(after) });
        before = after;
    }
    let positions = (test.depth + test.prompt) as f64 + (test.text + 1) as f64 / 2.0;
    Ok(Measurement {
        test,
        samples,
        profile,
        layers,
        token_bytes: layers.stored_bytes as f64 + positions * decoder.cache().position_bytes() as f64,
    })
}

impl Measurement {
    /// Tokens a second in each repetition: of prompt and text together.
    pub fn tokens_per_s(&self) -> Vec<f64> {
        let tokens = (self.test.prompt + self.test.text) as f64;
        self.samples.iter().map(|sample| tokens / sample.total_ns() as f64 * 1e9).collect()
    }

    /// Median time to the logits behind the prompt, in nanoseconds; nothing without a prompt.
    pub fn time_to_first_token(&self) -> Option<f64> {
        median(&self.samples.iter().filter_map(|sample| sample.prompt_ns).map(|ns| ns as f64).collect::<Vec<_>>())
    }

    /// A quantile of the times of all tokens of the text, in nanoseconds; nothing without a text.
    pub fn token_latency(&self, q: f64) -> Option<f64> {
        let all = self.samples.iter().flat_map(|sample| &sample.token_ns);
        quantile(&all.map(|&ns| ns as f64).collect::<Vec<_>>(), q)
    }

    /// Median share of the read bandwidth around a repetition at which its text read weights, keys and values.
    pub fn roof_share(&self) -> Option<f64> {
        let share = |sample: &Sample| {
            let bytes = self.token_bytes * sample.token_ns.len() as f64;
            let ns = sample.token_ns.iter().sum::<u64>() as f64;
            sample.ceilings.roof.filter(|_| ns > 0.0).map(|roof| bytes / ns / roof)
        };
        median(&self.samples.iter().filter_map(share).collect::<Vec<_>>())
    }

    /// Median share of the int8 peak around a repetition at which its prompt was multiplied with the layers.
    pub fn peak_share(&self) -> Option<f64> {
        let share = |sample: &Sample| {
            let products = self.layers.of_layers as f64 * self.test.prompt as f64;
            Some(products / sample.prompt_ns? as f64 / sample.ceilings.peak?)
        };
        median(&self.samples.iter().filter_map(share).collect::<Vec<_>>())
    }
}
