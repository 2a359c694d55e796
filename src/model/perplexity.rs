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

/// Runs `reference` and all `candidates` over `stream` side by side.
///
/// # Errors
///
/// When the stream has no prediction, and as [`Decoder::forward`].
pub fn evaluate(reference: &mut Decoder, candidates: &mut [Decoder], stream: &[u32]) -> Result<Evaluation, Error> {
    let predictions = stream.len().saturating_sub(1);
    if predictions == 0 {
        return Err(Error::Zero { what: "the number of predictions in the evaluation text", found: 0 });
    }
    let mut reference_nats = 0.0;
    let mut sums = vec![Sums::default(); candidates.len()];
    let mut log_p = Vec::new();
    let mut log_q = Vec::new();
    for first in (0..predictions).step_by(WINDOW) {
        reference.reset();
        candidates.iter_mut().for_each(Decoder::reset);
        for pair in stream[first..(first + WINDOW + 1).min(stream.len())].windows(2) {
            let (token, next) = (pair[0], pair[1] as usize);
            let logits = reference.forward(token)?;
            let best = most_likely(logits);
            log_softmax(logits, &mut log_p);
            reference_nats -= log_p[next];
            for (candidate, sums) in candidates.iter_mut().zip(&mut sums) {
                let logits = candidate.forward(token)?;
                sums.agreements += usize::from(most_likely(logits) == best);
                log_softmax(logits, &mut log_q);
                sums.nats -= log_q[next];
                sums.kld += divergence(&log_p, &log_q);
            }
        }
    }
    let n = predictions as f64;
    let candidates = sums
        .iter()
        .map(|sums| Quality {
            nats_per_token: sums.nats / n,
            perplexity_ratio: exp_f64((sums.nats - reference_nats) / n),
            mean_kld: sums.kld / n,
            top1_agreement: sums.agreements as f64 / n,
        })
        .collect();
    Ok(Evaluation { predictions, reference_nats: reference_nats / n, candidates })
}

/// Running sums of one candidate.
#[derive(Clone, Copy, Default)]
struct Sums {
    nats: f64,
    kld: f64,
    agreements: usize,
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
