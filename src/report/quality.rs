//! How good a model is in several formats, as a table and as JSON: `bench perplexity`.

use septet_kernels::ops::exp::exp_f64;
use serde::Serialize;

use super::grid::Grid;
use super::text;
use crate::model::perplexity::{Evaluation, Score, WindowScores};
use crate::stats::{Interval, clusters};

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// What was evaluated.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// SHA-256 of the weights.
    pub model_sha256: String,
    /// SHA-256 of the text.
    pub text_sha256: String,
    pub window: usize,
    pub stride: usize,
    /// Format of the candidates' key/value cache.
    pub kv_cache: String,
    pub confidence: f64,
}

/// One format of the model.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub weights: String,
    /// Scales and padding of the linear layers included.
    pub bits_per_weight: f64,
}

/// Everything that is told of an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct QualityReport {
    schema: u32,
    #[serde(flatten)]
    subject: Subject,
    predictions: usize,
    /// The reference in `f32` first, if there is one.
    models: Vec<ModelQuality>,
    /// Sums over the predictions of each window, in the order of the text.
    windows: Vec<WindowSums>,
}

/// A model over all predictions; of a reference, nothing is compared.
#[derive(Clone, Debug, Serialize)]
struct ModelQuality {
    weights: String,
    bits_per_weight: f64,
    perplexity: Bounded,
    /// Divided by that of the reference.
    perplexity_ratio: Option<Bounded>,
    /// Mean Kullback-Leibler divergence from the reference, in nats.
    kld: Option<Bounded>,
    /// Share of predictions whose most likely token is that of the reference.
    top1_agreement: Option<Bounded>,
}

/// A value with its interval over windows; one window bounds nothing.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bounded {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
}

/// What the intervals come from.
#[derive(Clone, Debug, Serialize)]
struct WindowSums {
    predictions: usize,
    /// One for each model.
    nats: Vec<f64>,
    /// One for each model that is compared.
    kld: Vec<f64>,
    agreements: Vec<usize>,
}

impl QualityReport {
    /// A report of `candidates`, in the order in which they were evaluated. A reference is in f32. Windows that overlap
    /// make few predictions each and share a context: as many in a row as a window is long are one cluster.
    pub fn new(subject: Subject, candidates: &[Candidate], evaluation: &Evaluation) -> Self {
        let confidence = subject.confidence;
        let clusters = |sum: &dyn Fn(&Scores) -> f64, at: usize| -> Vec<(f64, usize)> {
            let of = |window: &WindowScores| {
                let scores = Scores { reference: window.reference, candidate: window.candidates[at] };
                (sum(&scores), scores.candidate.predictions)
            };
            let windows: Vec<(f64, usize)> = evaluation.windows.iter().map(of).collect();
            let together = subject.window.div_ceil(subject.stride);
            let both = |a: (f64, usize), b: &(f64, usize)| (a.0 + b.0, a.1 + b.1);
            windows.chunks(together).map(|chunk| chunk.iter().fold((0.0, 0), both)).collect()
        };
        let bounded = |clusters: &[(f64, usize)], through: fn(f64) -> f64| Bounded::new(clusters, confidence, through);
        let compared = evaluation.windows.iter().all(|window| window.reference.is_some());
        let mut models = Vec::new();
        if compared {
            let of = |scores: &Scores| scores.reference.map_or(0.0, |reference| reference.nats);
            models.push(ModelQuality {
                weights: "f32".to_owned(),
                bits_per_weight: 32.0,
                perplexity: bounded(&clusters(&of, 0), exp_f64),
                perplexity_ratio: None,
                kld: None,
                top1_agreement: None,
            });
        }
        for (at, Candidate { weights, bits_per_weight }) in candidates.iter().enumerate() {
            let against =
                |sum: &dyn Fn(&Scores) -> f64, through| compared.then(|| bounded(&clusters(sum, at), through));
            models.push(ModelQuality {
                weights: weights.clone(),
                bits_per_weight: *bits_per_weight,
                perplexity: bounded(&clusters(&|scores| scores.candidate.nats, at), exp_f64),
                perplexity_ratio: against(&|scores| scores.more_nats(), exp_f64),
                kld: against(&|scores| scores.candidate.kld, |kld| kld.max(0.0)),
                top1_agreement: against(&|scores| scores.candidate.agreements as f64, |share| share.clamp(0.0, 1.0)),
            });
        }
        let windows = evaluation.windows.iter().map(|window| {
            let models = window.reference.iter().chain(&window.candidates);
            let compared = || window.candidates.iter().filter(|_| compared);
            WindowSums {
                predictions: window.candidates[0].predictions,
                nats: models.map(|score| score.nats).collect(),
                kld: compared().map(|score| score.kld).collect(),
                agreements: compared().map(|score| score.agreements).collect(),
            }
        });
        let (schema, predictions) = (SCHEMA, evaluation.predictions());
        Self { schema, predictions, models, windows: windows.collect(), subject }
    }

    /// The table, with what it was measured on.
    pub fn grid(&self) -> Grid {
        let headings = ["Weights", "Bits/weight >", "Perplexity >", "Perplexity, ratio >", "KLD, nats >", "Top-1 >"];
        let mut grid = Grid::new("Quality of each format", &headings);
        for model in &self.models {
            grid.push([
                model.weights.as_str().into(),
                format!("{:.3}", model.bits_per_weight).into(),
                model.perplexity.text(3).into(),
                text::or_none(model.perplexity_ratio, |ratio| ratio.text(4)).into(),
                text::or_none(model.kld, Bounded::significant).into(),
                text::or_none(model.top1_agreement, |share| share.text(4)).into(),
            ]);
        }
        let Subject { window, stride, kv_cache, confidence, .. } = &self.subject;
        let windows = self.windows.len();
        let context = match window - stride {
            0 => "with no context at its beginning".to_owned(),
            before => format!("each prediction but those of the first behind {before} tokens or more"),
        };
        grid.notes.push(format!(
            "{} predictions in {windows} window{} of {window}, {stride} apart, {context}; keys and values in {kv_cache}.",
            self.predictions,
            if windows == 1 { "" } else { "s" },
        ));
        grid.notes.push(format!(
            "{} intervals over windows, overlapping ones together (ratio estimator, Student's t). Windows of one text are \
             no random sample of texts.",
            text::percent(*confidence)
        ));
        if self.models.iter().any(|model| model.kld.is_some()) {
            grid.notes
                .push("Ratio, divergence (KLD) and agreement (top-1) compare with f32, window by window.".to_owned());
        }
        grid
    }
}

/// What models made of one window.
struct Scores {
    reference: Option<Score>,
    candidate: Score,
}

impl Scores {
    /// Nats of the candidate beyond those of the reference.
    fn more_nats(&self) -> f64 {
        self.candidate.nats - self.reference.map_or(0.0, |reference| reference.nats)
    }
}

impl Bounded {
    /// The mean of clusters, and the ends of its interval, through an increasing function.
    fn new(clusters: &[(f64, usize)], confidence: f64, through: fn(f64) -> f64) -> Self {
        let Some(estimate) = clusters::ratio(clusters, confidence) else {
            return Self { value: f64::NAN, low: None, high: None };
        };
        let bounded = |end: f64| estimate.interval.is_bounded().then(|| through(end));
        Self {
            value: through(estimate.mean),
            low: bounded(estimate.interval.low),
            high: bounded(estimate.interval.high),
        }
    }

    /// With three significant digits.
    fn significant(self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => text::with_interval((self.value, Interval { low, high })),
            _ => format!("{} [{}]", text::significant(self.value), text::NONE),
        }
    }

    fn text(self, digits: usize) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{:.digits$} [{low:.digits$}, {high:.digits$}]", self.value),
            _ => format!("{:.digits$} [{}]", self.value, text::NONE),
        }
    }
}
