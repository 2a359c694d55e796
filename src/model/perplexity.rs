//! How good a model is, and how far a quantized one is from its `f32` original.
//!
//! Protocol: the stories of a text, each after the token that begins a text, form one stream of
//! tokens, which ends with that token. The stream is cut into back-to-back windows of
//! [`WINDOW`] predictions; each window starts with no context. This is the protocol of the losses in
//! `models/tiny/MODEL_CARD.md`.

use septet_kernels::ops::exp::{exp_f64, ln_f64};

use super::decoder::Decoder;
use super::error::Error;
use super::sampler::most_likely;
use super::tokenizer::Tokenizer;

/// Predictions in a window.
pub const WINDOW: usize = 256;

/// A line between stories.
const SEPARATOR: &str = "<|endoftext|>";

/// The evaluation text of the repository: short stories that the built-in model never saw.
pub const TEXT: &str = include_str!("../../data/stories-eval.txt");

/// A quantized model beside its reference, over the same predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean negative log likelihood of the next token, in nats.
    pub nats_per_token: f64,
    /// Perplexity divided by that of the reference: `exp` of the difference in nats.
    pub perplexity_ratio: f64,
    /// Mean Kullback-Leibler divergence from the reference's next-token distribution, in nats.
    pub mean_kld: f64,
    /// Share of predictions whose most likely token is that of the reference.
    pub top1_agreement: f64,
}

/// The reference and the candidates, over the same predictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub predictions: usize,
    /// Mean negative log likelihood of the reference, in nats.
    pub reference_nats: f64,
    /// One for each candidate.
    pub candidates: Vec<Quality>,
}

/// The stream of tokens of `text`, whose stories are separated by a line `<|endoftext|>`.
///
/// # Errors
///
/// When the tokenizer can not encode the text.
pub fn token_stream(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let bos = tokenizer.bos();
    let mut stream = Vec::from_iter(bos);
    for story in text.split(SEPARATOR).map(|story| story.trim_matches('\n')) {
        if !story.trim().is_empty() {
            stream.extend(tokenizer.encode(story)?);
            stream.extend(bos);
        }
    }
    Ok(stream)
}

/// Runs `reference` and all `candidates` over `stream`, window by window.
///
/// # Errors
///
/// When the stream has no prediction, and as [`Decoder::forward`].
pub fn evaluate(reference: &mut Decoder, candidates: &mut [Decoder], stream: &[u32]) -> Result<Evaluation, Error> {
    let predictions = predictions(stream)?;
    let mut reference_nats = 0.0;
    let mut sums = vec![Sums::default(); candidates.len()];
    for tokens in windows(stream) {
        let window = Window::new(reference, tokens)?;
        reference_nats = window.add_nats(reference_nats);
        for (candidate, sums) in candidates.iter_mut().zip(&mut sums) {
            sums.add(candidate, &window)?;
        }
    }
    let candidates = sums.iter().map(|sums| sums.quality(predictions, reference_nats)).collect();
    Ok(Evaluation { predictions, reference_nats: reference_nats / predictions as f64, candidates })
}

/// What a reference predicts over a whole stream, kept for candidates that run one after the other
/// or side by side: 8 bytes for each prediction and token of the vocabulary.
pub struct Reference<'a> {
    windows: Vec<Window<'a>>,
    predictions: usize,
    /// Negative log likelihood of all predictions, in nats.
    nats: f64,
}

impl<'a> Reference<'a> {
    /// Runs `decoder` over `stream`.
    ///
    /// # Errors
    ///
    /// When the stream has no prediction, and as [`Decoder::forward`].
    pub fn new(decoder: &mut Decoder, stream: &'a [u32]) -> Result<Self, Error> {
        let predictions = predictions(stream)?;
        let windows = windows(stream).map(|tokens| Window::new(decoder, tokens)).collect::<Result<Vec<_>, _>>()?;
        let nats = windows.iter().fold(0.0, |nats, window| window.add_nats(nats));
        Ok(Self { windows, predictions, nats })
    }

    /// Mean negative log likelihood of the next token, in nats.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.predictions as f64
    }

    /// Runs `candidate` over the same stream.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn compare(&self, candidate: &mut Decoder) -> Result<Quality, Error> {
        let mut sums = Sums::default();
        self.windows.iter().try_for_each(|window| sums.add(candidate, window))?;
        Ok(sums.quality(self.predictions, self.nats))
    }
}

/// Number of predictions in `stream`.
fn predictions(stream: &[u32]) -> Result<usize, Error> {
    match stream.len().saturating_sub(1) {
        0 => Err(Error::Zero { what: "the number of predictions in the evaluation text", found: 0 }),
        predictions => Ok(predictions),
    }
}

/// The tokens of each window: those that predict, and one more to be predicted.
fn windows(stream: &[u32]) -> impl Iterator<Item = &[u32]> {
    (0..stream.len().saturating_sub(1))
        .step_by(WINDOW)
        .map(|first| &stream[first..(first + WINDOW + 1).min(stream.len())])
}

/// What a reference predicts over one window.
struct Window<'a> {
    tokens: &'a [u32],
    /// (predictions, vocab)
    log_p: Vec<Vec<f64>>,
    /// (predictions): the most likely tokens
    best: Vec<u32>,
}

impl<'a> Window<'a> {
    fn new(reference: &mut Decoder, tokens: &'a [u32]) -> Result<Self, Error> {
        let (mut log_p, mut best) = (Vec::new(), Vec::new());
        reference.reset();
        for &token in &tokens[..tokens.len() - 1] {
            let logits = reference.forward(token)?;
            best.push(most_likely(logits));
            let mut logs = Vec::with_capacity(logits.len());
            log_softmax(logits, &mut logs);
            log_p.push(logs);
        }
        Ok(Self { tokens, log_p, best })
    }

    /// `nats` and the negative log likelihood of each next token, in their order.
    fn add_nats(&self, nats: f64) -> f64 {
        self.log_p.iter().zip(&self.tokens[1..]).fold(nats, |nats, (log_p, &next)| nats - log_p[next as usize])
    }
}

/// Running sums of one candidate.
#[derive(Clone, Copy, Default)]
struct Sums {
    nats: f64,
    kld: f64,
    agreements: usize,
}

impl Sums {
    /// Runs `candidate` over a window.
    fn add(&mut self, candidate: &mut Decoder, window: &Window) -> Result<(), Error> {
        let mut log_q = Vec::new();
        candidate.reset();
        for (pair, (log_p, &best)) in window.tokens.windows(2).zip(window.log_p.iter().zip(&window.best)) {
            let logits = candidate.forward(pair[0])?;
            self.agreements += usize::from(most_likely(logits) == best);
            log_softmax(logits, &mut log_q);
            self.nats -= log_q[pair[1] as usize];
            self.kld += divergence(log_p, &log_q);
        }
        Ok(())
    }

    fn quality(&self, predictions: usize, reference_nats: f64) -> Quality {
        let n = predictions as f64;
        Quality {
            nats_per_token: self.nats / n,
            perplexity_ratio: exp_f64((self.nats - reference_nats) / n),
            mean_kld: self.kld / n,
            top1_agreement: self.agreements as f64 / n,
        }
    }
}

/// Natural logarithms of the probabilities of `logits`, in `f64`.
fn log_softmax(logits: &[f32], out: &mut Vec<f64>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| exp_f64(f64::from(l - max))).sum();
    let log_sum = f64::from(max) + ln_f64(sum);
    out.clear();
    out.extend(logits.iter().map(|&l| f64::from(l) - log_sum));
}

/// `KL(p‖q) = Σ p·(ln p − ln q)`.
fn divergence(log_p: &[f64], log_q: &[f64]) -> f64 {
    log_p.iter().zip(log_q).map(|(p, q)| exp_f64(*p) * (p - q)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_and_divergence_of_known_distributions() {
        let (mut p, mut q) = (Vec::new(), Vec::new());
        log_softmax(&[0.0, 0.0], &mut p);
        log_softmax(&[3.0_f32.ln(), 0.0], &mut q);
        assert!((p[0] - 0.5_f64.ln()).abs() < 1e-12);
        assert!((q[0] - 0.75_f64.ln()).abs() < 1e-7);
        let exact = 0.5 * (0.5_f64 / 0.75).ln() + 0.5 * (0.5_f64 / 0.25).ln();
        assert!((divergence(&p, &q) - exact).abs() < 1e-7);
        assert_eq!(divergence(&p, &p), 0.0);
    }
}
