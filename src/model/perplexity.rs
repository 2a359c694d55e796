//! How good a model is, and how far a quantized one is from its `f32` original.
//!
//! Protocol: the stories of a text, each behind the token that begins a text, form one stream of tokens, which ends
//! with the token that ends a text where a model has one token for both. The stream is cut into [`Windows`]; each
//! begins with no context, and of each those predictions count that no window before it made. Windows back to back
//! are the protocol of the losses in `models/tiny/MODEL_CARD.md`; windows that overlap are the sliding window of
//! Hugging Face's "Perplexity of fixed-length models".

use std::sync::Arc;

use rayon::prelude::*;
use septet_kernels::ops::exp::{exp_f64, ln_f64};

use super::checkpoint::Checkpoint;
use super::decoder::Decoder;
use super::error::Error;
use super::execution::Execution;
use super::kv_cache::CacheFormat;
use super::linear::LinearSet;
use super::parts::ModelParts;
use super::prefill::BATCH;
use super::sampler::most_likely;
use crate::pool::ThreadPool;

/// A line between stories.
const SEPARATOR: &str = "<|endoftext|>";

/// The evaluation text of the repository: short stories that the built-in model never saw.
pub const TEXT: &str = include_str!("../../data/stories-eval.txt");

/// A text as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub tokens: Vec<u32>,
    /// A token that nothing predicts: it begins a text and ends none.
    opening: Option<u32>,
}

impl Stream {
    /// The stream of `text`, whose stories are separated by a line `<|endoftext|>`.
    ///
    /// # Errors
    ///
    /// When the tokenizer can not encode the text.
    pub fn new(model: &Checkpoint, text: &str) -> Result<Self, Error> {
        let (bos, eos) = (model.tokenizer.bos(), &model.parts.config.eos);
        let opening = bos.filter(|bos| !eos.contains(bos));
        let mut tokens = Vec::new();
        for story in text.split(SEPARATOR).map(|story| story.trim_matches('\n')) {
            if !story.trim().is_empty() {
                tokens.extend(bos);
                tokens.extend(model.tokenizer.encode(story)?);
            }
        }
        if opening.is_none() {
            tokens.extend(bos);
        }
        Ok(Self { tokens, opening })
    }

    /// Its first tokens, which make `predictions` predictions that count.
    pub fn truncate(&mut self, predictions: usize) {
        let counting = (1..self.tokens.len()).filter(|&at| Some(self.tokens[at]) != self.opening);
        let last = counting.take(predictions).last().unwrap_or(0);
        self.tokens.truncate(last + 1);
    }
}

/// How a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Predictions of a window, 1 or more.
    pub length: usize,
    /// How many predictions behind its predecessor's a window's begin: 1 to `length`.
    pub stride: usize,
}

/// Tokens that are read in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window<'a> {
    /// What is read: (length)
    tokens: &'a [u32],
    /// What is to be predicted behind each of them; nothing where it does not count.
    next: Vec<Option<u32>>,
}

impl Windows {
    /// 256 predictions, back to back.
    pub const BACK_TO_BACK: Self = Self { length: 256, stride: 256 };

    /// How many there are of a stream.
    pub fn count(self, stream: &Stream) -> usize {
        self.of(stream).len()
    }

    fn of(self, stream: &Stream) -> Vec<Window<'_>> {
        let Stream { tokens, opening } = stream;
        let predictions = tokens.len().saturating_sub(1);
        let mut scored = 0;
        let mut windows = Vec::new();
        for first in (0..predictions).step_by(self.stride) {
            let end = (first + self.length).min(predictions);
            let next =
                (first..end).map(|at| Some(tokens[at + 1]).filter(|next| at >= scored && Some(*next) != *opening));
            windows.push(Window { tokens: &tokens[first..end], next: next.collect() });
            scored = end;
            if end == predictions {
                break;
            }
        }
        windows
    }
}

/// Sums over the predictions of a window that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub predictions: usize,
    /// Negative log likelihood of the next token, in nats.
    pub nats: f64,
    /// Kullback-Leibler divergence from the reference's next-token distribution, in nats.
    pub kld: f64,
    /// Predictions whose most likely token is that of the reference.
    pub agreements: usize,
}

/// What models made of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowScores {
    /// Its own divergence is zero. Nothing where there is no reference.
    pub reference: Option<Score>,
    /// One for each candidate; without a reference, divergences are zero.
    pub candidates: Vec<Score>,
}

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

impl Quality {
    /// Of sums over all windows.
    fn new(candidate: Score, reference: Score) -> Self {
        let n = candidate.predictions as f64;
        Self {
            nats_per_token: candidate.nats / n,
            perplexity_ratio: exp_f64((candidate.nats - reference.nats) / n),
            mean_kld: candidate.kld / n,
            top1_agreement: candidate.agreements as f64 / n,
        }
    }
}

/// The models of one worker: each reads every window of the worker.
pub struct Models {
    pub reference: Option<Decoder>,
    pub candidates: Vec<Decoder>,
}

/// What a reference and candidates make of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// In the order of the stream.
    pub windows: Vec<WindowScores>,
}

impl Evaluation {
    /// Runs the models of `make` over `stream`, some windows on each worker of the current rayon pool; `done` is
    /// called after each window. The workers do not change the result.
    ///
    /// # Errors
    ///
    /// When the stream has no prediction, as `make`, and as [`Decoder::forward`].
    pub fn new(
        stream: &Stream,
        windows: Windows,
        make: impl Fn() -> Result<Models, Error> + Sync,
        done: impl Fn() + Sync,
    ) -> Result<Self, Error> {
        let windows = windows.of(stream);
        check_any(&windows)?;
        let workers = rayon::current_num_threads().min(windows.len());
        let of_worker = |worker: usize| -> Result<Vec<WindowScores>, Error> {
            let mut models = make()?;
            let mine = windows.iter().skip(worker).step_by(workers);
            mine.map(|window| {
                let scores = models.score(window)?;
                done();
                Ok(scores)
            })
            .collect()
        };
        let parts = (0..workers).into_par_iter().with_max_len(1).map(of_worker).collect::<Result<Vec<_>, Error>>()?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let windows = (0..windows.len()).filter_map(|window| parts[window % workers].next()).collect();
        Ok(Self { windows })
    }

    /// Predictions that count.
    pub fn predictions(&self) -> usize {
        self.sum(|window| window.candidates.first().copied().or(window.reference)).predictions
    }

    /// Mean negative log likelihood of the reference, in nats; not a number without one.
    pub fn reference_nats(&self) -> f64 {
        let sum = self.sum(|window| window.reference);
        sum.nats / sum.predictions as f64
    }

    /// How good candidate `at` is.
    pub fn quality(&self, at: usize) -> Quality {
        Quality::new(self.sum(|window| Some(window.candidates[at])), self.sum(|window| window.reference))
    }

    fn sum(&self, score: impl Fn(&WindowScores) -> Option<Score>) -> Score {
        self.windows.iter().filter_map(score).fold(Score::default(), Score::plus)
    }
}

impl Models {
    /// Models of the calling thread alone, which share their weights with those of other threads. Candidates have caches
    /// of their own formats, the reference one in f32.
    ///
    /// # Errors
    ///
    /// When no thread can be started, and as [`Decoder::new`].
    pub fn alone(
        parts: &Arc<ModelParts>,
        reference: Option<&LinearSet>,
        candidates: &[(LinearSet, CacheFormat)],
        windows: Windows,
    ) -> Result<Self, Error> {
        let pool = ThreadPool::new(1).map_err(|cause| Error::Threads { threads: 1, cause })?;
        let pool = Arc::new(pool);
        let decoder = |set: &LinearSet, kv_cache| {
            let execution = Execution { kv_cache, ..Execution::fast(Arc::clone(&pool)).for_layout(set) };
            Decoder::new(Arc::clone(parts), vec![set.clone()], execution, windows.length)
        };
        Ok(Self {
            reference: reference.map(|set| decoder(set, CacheFormat::F32)).transpose()?,
            candidates: candidates.iter().map(|(set, kv_cache)| decoder(set, *kv_cache)).collect::<Result<_, _>>()?,
        })
    }

    /// A chunk at a time, so that no more of the reference's distributions are kept than a batch has.
    fn score(&mut self, window: &Window) -> Result<WindowScores, Error> {
        let mut scores = WindowScores { reference: None, candidates: vec![Score::default(); self.candidates.len()] };
        self.reference.iter_mut().chain(&mut self.candidates).for_each(Decoder::reset);
        for (tokens, next) in window.tokens.chunks(BATCH).zip(window.next.chunks(BATCH)) {
            let predicted = self.reference.as_mut().map(|model| Predicted::new(model, tokens, next)).transpose()?;
            if let Some(predicted) = &predicted {
                scores.reference = Some(scores.reference.unwrap_or_default().plus(predicted.score(next)));
            }
            for (model, score) in self.candidates.iter_mut().zip(&mut scores.candidates) {
                *score = score.plus(compared(model, tokens, next, predicted.as_ref())?);
            }
        }
        Ok(scores)
    }
}

/// What a reference predicts over a whole stream, kept for candidates that run one after the other
/// or side by side: 8 bytes for each prediction and token of the vocabulary.
pub struct Reference<'a> {
    windows: Vec<(Window<'a>, Predicted)>,
    score: Score,
}

impl<'a> Reference<'a> {
    /// Runs `decoder` over `stream`.
    ///
    /// # Errors
    ///
    /// When the stream has no prediction, and as [`Decoder::forward`].
    pub fn new(decoder: &mut Decoder, stream: &'a Stream, windows: Windows) -> Result<Self, Error> {
        let windows = windows.of(stream);
        check_any(&windows)?;
        let predicted = |window: Window<'a>| {
            decoder.reset();
            let predicted = Predicted::new(decoder, window.tokens, &window.next)?;
            Ok((window, predicted))
        };
        let windows = windows.into_iter().map(predicted).collect::<Result<Vec<_>, Error>>()?;
        let scores = windows.iter().map(|(window, predicted)| predicted.score(&window.next));
        Ok(Self { score: scores.fold(Score::default(), Score::plus), windows })
    }

    /// Mean negative log likelihood of the next token, in nats.
    pub fn nats_per_token(&self) -> f64 {
        self.score.nats / self.score.predictions as f64
    }

    /// Runs `candidate` over the same stream.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn compare(&self, candidate: &mut Decoder) -> Result<Quality, Error> {
        let mut score = Score::default();
        for (window, predicted) in &self.windows {
            candidate.reset();
            score = score.plus(compared(candidate, window.tokens, &window.next, Some(predicted))?);
        }
        Ok(Quality::new(score, self.score))
    }
}

/// What a reference predicts behind tokens in a row.
struct Predicted {
    /// Logarithms of probabilities (vocab) and the most likely token, of each prediction that counts.
    distributions: Vec<(Vec<f64>, u32)>,
}

impl Predicted {
    fn new(reference: &mut Decoder, tokens: &[u32], next: &[Option<u32>]) -> Result<Self, Error> {
        let mut distributions = Vec::new();
        reference.forward_all(tokens, |at, logits| {
            if next[at].is_some() {
                let mut log_p = Vec::with_capacity(logits.len());
                log_softmax(logits, &mut log_p);
                distributions.push((log_p, most_likely(logits)));
            }
        })?;
        Ok(Self { distributions })
    }

    /// The score of the reference itself.
    fn score(&self, next: &[Option<u32>]) -> Score {
        let of = |(&next, (log_p, _)): (&u32, &(Vec<f64>, u32))| Score {
            predictions: 1,
            nats: -log_p[next as usize],
            kld: 0.0,
            agreements: 1,
        };
        next.iter().flatten().zip(&self.distributions).map(of).fold(Score::default(), Score::plus)
    }
}

/// The score of `candidate` over `tokens`, compared with what a reference predicted there.
fn compared(
    candidate: &mut Decoder,
    tokens: &[u32],
    next: &[Option<u32>],
    reference: Option<&Predicted>,
) -> Result<Score, Error> {
    let (mut score, mut log_q) = (Score::default(), Vec::new());
    let mut references = reference.map(|predicted| predicted.distributions.iter());
    candidate.forward_all(tokens, |at, logits| {
        if let Some(next) = next[at] {
            log_softmax(logits, &mut log_q);
            let reference = references.as_mut().and_then(Iterator::next);
            score = score.plus(Score {
                predictions: 1,
                nats: -log_q[next as usize],
                kld: reference.map_or(0.0, |(log_p, _)| divergence(log_p, &log_q)),
                agreements: reference.map_or(0, |(_, best)| usize::from(most_likely(logits) == *best)),
            });
        }
    })?;
    Ok(score)
}

impl Score {
    /// Both, one after the other.
    fn plus(self, other: Self) -> Self {
        Self {
            predictions: self.predictions + other.predictions,
            nats: self.nats + other.nats,
            kld: self.kld + other.kld,
            agreements: self.agreements + other.agreements,
        }
    }
}

/// A stream without a prediction says nothing of a model.
fn check_any(windows: &[Window]) -> Result<(), Error> {
    match windows.iter().flat_map(|window| &window.next).any(Option::is_some) {
        true => Ok(()),
        false => Err(Error::Zero { what: "the number of predictions in the evaluation text", found: 0 }),
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

    /// (tokens, those to be predicted) of each window.
    fn cut(length: usize, stride: usize, tokens: u32, opening: Option<u32>) -> Vec<(Vec<u32>, Vec<u32>)> {
        let stream = Stream { tokens: (0..tokens).collect(), opening };
        let windows = Windows { length, stride }.of(&stream);
        windows.iter().map(|window| (window.tokens.to_vec(), window.next.iter().flatten().copied().collect())).collect()
    }

    #[test]
    fn a_stream_is_cut_where_as_many_predictions_count() {
        let cut = |predictions, opening| {
            let mut stream = Stream { tokens: vec![9, 1, 2, 9, 3, 4], opening };
            stream.truncate(predictions);
            stream.tokens.len()
        };
        assert_eq!([0, 1, 3, 5, usize::MAX].map(|predictions| cut(predictions, None)), [1, 2, 4, 6, 6]);
        assert_eq!([0, 2, 3, 4, usize::MAX].map(|predictions| cut(predictions, Some(9))), [1, 3, 5, 6, 6]);
    }

    #[test]
    fn every_prediction_counts_once_with_as_much_context_as_windows_leave() {
        let pair = |tokens: &[u32], next: &[u32]| (tokens.to_vec(), next.to_vec());
        assert_eq!(cut(3, 3, 6, None), [pair(&[0, 1, 2], &[1, 2, 3]), pair(&[3, 4], &[4, 5])]);
        assert_eq!(
            cut(4, 2, 8, None),
            [pair(&[0, 1, 2, 3], &[1, 2, 3, 4]), pair(&[2, 3, 4, 5], &[5, 6]), pair(&[4, 5, 6], &[7]),]
        );
        // A window that reaches the end is the last one.
        assert_eq!(cut(4, 1, 5, None), [pair(&[0, 1, 2, 3], &[1, 2, 3, 4])]);
        assert_eq!(cut(9, 9, 4, Some(2)), [pair(&[0, 1, 2], &[1, 3])]);
        assert_eq!((cut(4, 4, 1, None), cut(4, 4, 0, None)), (vec![], vec![]));
        for (length, stride) in [(1, 1), (5, 2), (7, 7), (30, 4), (8, 1)] {
            let predicted: Vec<u32> = cut(length, stride, 40, None).into_iter().flat_map(|(_, next)| next).collect();
            assert_eq!(predicted, (1..40).collect::<Vec<_>>(), "{length}, {stride}");
        }
    }
}
