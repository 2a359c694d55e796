//! Everything that tables and figures print, computed once.
//!
//! An [`Analysis`] is a pure function of the manifest and the rows; it knows no file format and no
//! rendering. Order is that of the plan throughout, so that derived files are deterministic.

use std::collections::{BTreeMap, BTreeSet};

use polars::error::PolarsResult;
use septet_kernels::Level;

use super::amdahl::{AmdahlResult, amdahls};
use super::blocks::{BlockTable, Blocks, blocks, counted_sessions};
use super::ceilings::Ceilings;
use super::factorial::{FactorialResult, factorials};
use super::metric::{
    self, KERNEL_TIME, PREFILL_TIME, PREFILL_TOKENS_PER_S, TIME_TO_FIRST_TOKEN, TOKEN_TIME, TOKENS_PER_S, Whole,
};
use super::rivals::{AgainstRival, against_rivals};
use super::roofline::{Standing, caches, standing};
use super::scaling::{Scaling, scalings};
use super::weights::WeightsResult;
use crate::arm::KvCache;
use crate::plan::{Cell, Combination, Contrast, Design, DesignKind, Residency};
use crate::record::row::VECTOR_OPERATIONS;
use crate::record::{CeilingRow, CellFacts, CounterRow, FailureRow, Manifest, Sample, WeightsRow};
use crate::stats::Interval;
use crate::stats::combination::{Prediction, combination};
use crate::stats::contrast::{BlockTimes, Effect, contrast, log_ratios};
use crate::stats::holm::holm;
use crate::stats::summary::{median, median_interval};
use crate::stats::verdict::Verdict;

/// A DRAM-resident result is refused when its share of the measured roof lies above this: no
/// kernel reads faster than memory delivers, so the weights were not in DRAM or the clock is wrong.
pub const ROOF_LIMIT: f64 = 1.03;

/// One run, analysed.
pub struct Analysis {
    pub manifest: Manifest,
    pub counters: Vec<CounterRow>,
    pub ceilings: Ceilings,
    /// By workload and stored form, in the order of the run; none in runs from before they were recorded.
    pub weights: Vec<WeightsResult>,
    /// The kernels of matrix workloads, without A′, in the order of the plan; none where the run has no
    /// ceilings.
    pub standings: Vec<Standing>,
    /// One per cell, in the order of the plan.
    pub cells: Vec<CellResult>,
    /// By design, metric and step, in the order of the plan.
    pub contrasts: Vec<ContrastResult>,
    pub combinations: Vec<CombinationResult>,
    /// By design, metric and workload, in the order of the plan.
    pub factorials: Vec<FactorialResult>,
    /// Kernels beside the pipeline, by contrast, in the order of the plan.
    pub amdahls: Vec<AmdahlResult>,
    /// Arms on several numbers of threads, in the order of the plan.
    pub scalings: Vec<Scaling>,
    /// Cells beside kernels of other projects, in the order of the plan.
    pub rivals: Vec<AgainstRival>,
    /// What a calibration of the machine class of this run found, in a sentence.
    pub calibration: Option<String>,
    /// Tries at blocks that were disturbed and run again.
    pub requeued: usize,
}

/// One cell with its metrics.
pub struct CellResult {
    pub cell: Cell,
    pub facts: CellFacts,
    pub metrics: Vec<MetricResult>,
    /// From the kernel time; `None` where there is none.
    pub traffic: Option<Traffic>,
    pub status: CellStatus,
}

/// One metric of one cell over all blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricResult {
    pub metric: String,
    pub unit: String,
    /// Median over blocks of the medians of blocks.
    pub median: f64,
    /// Order-statistics interval of that median.
    pub interval: Interval,
    pub n_blocks: usize,
    /// Measured repetitions, and how many carry evidence of contamination.
    pub samples: usize,
    pub flagged: usize,
}

/// How fast a cell reads its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Weight bytes (codes, scales, padding) per second of kernel time, GB/s.
    pub gbps: f64,
    /// Share of the roof measured around each repetition, and its interval; `None` where no roof
    /// was measured.
    pub roof: Option<(f64, Interval)>,
    /// Repetitions whose roof moved by more than a tenth between before and after.
    pub brackets_apart: usize,
}

/// Whether the numbers of a cell may be used.
#[derive(Clone, Debug, PartialEq)]
pub enum CellStatus {
    Measured,
    /// Planned, without a single measured repetition: the run stopped before it.
    Missing,
    /// It failed its check, crashed, hung or computed something else; blocks from before, if any,
    /// prove nothing.
    Failed {
        reason: String,
    },
    /// Faster than memory, with the arithmetic.
    Refused {
        gbps: f64,
        share: f64,
        low: f64,
    },
}

impl std::fmt::Display for CellStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CellStatus::Measured => f.write_str("measured"),
            CellStatus::Missing => f.write_str("missing: no measured repetition"),
            CellStatus::Failed { reason } => write!(f, "failed: {reason}"),
            CellStatus::Refused { gbps, share, low } => write!(
                f,
                "refused: above roof: {gbps:.1} GB/s of weights / {:.1} GB/s of read bandwidth = {share:.2}, \
                 interval from {low:.2}, limit {ROOF_LIMIT}",
                gbps / share
            ),
        }
    }
}

/// One contrast in one metric.
#[derive(Clone, Debug)]
pub struct ContrastResult {
    /// Name and kind of the design that asks for it.
    pub design: String,
    pub kind: DesignKind,
    pub metric: String,
    pub contrast: Contrast,
    pub outcome: Outcome,
}

/// What became of a contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// No block has both arms.
    Missing,
    /// One of its cells failed; the numbers of the blocks before, if any, are kept for `contrasts.csv`.
    Failed(Option<Judged>),
    /// One of its cells is refused; the numbers are kept for `contrasts.csv`.
    Refused(Judged),
    Judged(Judged),
}

/// An effect with its place in the family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub effect: Effect,
    /// Holm over the design, workload and metric.
    pub p_adjusted: f64,
    pub verdict: Verdict,
}

impl Outcome {
    /// The numbers, left out or not.
    pub fn numbers(&self) -> Option<&Judged> {
        match self {
            Outcome::Missing => None,
            Outcome::Failed(judged) => judged.as_ref(),
            Outcome::Refused(judged) | Outcome::Judged(judged) => Some(judged),
        }
    }

    /// The numbers that a headline table may print.
    pub fn citable(&self) -> Option<&Judged> {
        match self {
            Outcome::Judged(judged) => Some(judged),
            Outcome::Missing | Outcome::Failed(_) | Outcome::Refused(_) => None,
        }
    }

    /// Whether headline tables leave it out, because one of its cells failed or is refused.
    pub fn is_left_out(&self) -> bool {
        matches!(self, Outcome::Failed(_) | Outcome::Refused(_))
    }

    /// The word for the verdict column.
    pub fn word(&self) -> String {
        match self {
            Outcome::Missing => "missing".to_owned(),
            Outcome::Failed(_) => "failed".to_owned(),
            Outcome::Refused(_) => "refused".to_owned(),
            Outcome::Judged(judged) => judged.verdict.to_string(),
        }
    }
}

/// The product of single effects beside the measured combination, in one metric.
#[derive(Clone, Debug)]
pub struct CombinationResult {
    pub design: String,
    pub title: String,
    pub metric: String,
    pub combination: Combination,
    /// `None` when no block has all cells, or one of them failed or is refused.
    pub prediction: Option<Prediction>,
}

impl Analysis {
    /// What the time of a token is in this run.
    pub fn whole(&self) -> Whole {
        Whole::of(&self.manifest.plan)
    }

    /// Analyses the rows of one run.
    ///
    /// # Errors
    ///
    /// If the data frame library fails, which well-typed rows do not cause.
    pub fn new(
        manifest: Manifest,
        samples: &[Sample],
        counters: Vec<CounterRow>,
        ceilings: &[CeilingRow],
        weights: &[WeightsRow],
        failures: &[FailureRow],
    ) -> PolarsResult<Analysis> {
        let sessions = counted_sessions(samples);
        let table = blocks(samples, &sessions, &manifest.facts)?;
        let ceilings = Ceilings::new(ceilings, &sessions);
        let weights = WeightsResult::of_run(weights, &sessions);
        let standings =
            if ceilings.is_empty() { Vec::new() } else { standings(&manifest, &table, &ceilings, &counters) };
        let plan = &manifest.plan;
        let cells: Vec<CellResult> = plan
            .cells
            .iter()
            .zip(&manifest.facts)
            .map(|(cell, facts)| {
                let residency = plan.workloads.iter().find(|w| w.name == cell.workload).map(|w| w.residency);
                let failure = failures.iter().find(|failure| failure.cell_id == cell.id);
                cell_result(cell, facts, residency, &table, failure, plan.protocol.confidence)
            })
            .collect();
        let study = Study { table: &table, manifest: &manifest, cells: &cells };
        let contrasts = plan.designs.iter().flat_map(|design| study.contrasts(design)).collect();
        let combinations = plan.designs.iter().flat_map(|design| study.combinations(design)).collect();
        let factorials = factorials(plan, &cells, &table);
        let amdahls = amdahls(plan, &cells, &table);
        let scalings = scalings(plan, &table, plan.protocol.confidence);
        let rivals = against_rivals(plan, &cells, &table);
        Ok(Analysis {
            counters,
            ceilings,
            weights,
            standings,
            cells,
            contrasts,
            combinations,
            factorials,
            amdahls,
            scalings,
            rivals,
            calibration: None,
            requeued: 0,
            manifest,
        })
    }

    /// The result of the cell with this id.
    pub fn cell(&self, id: &str) -> Option<&CellResult> {
        self.cells.iter().find(|result| result.cell.id == id)
    }

    /// Whether a cell has this metric: tables have no columns for what a run did not measure.
    pub fn has(&self, metric: &str) -> bool {
        self.cells.iter().any(|cell| cell.metric(metric).is_some())
    }

    /// The same contrast in one metric.
    pub fn outcome(&self, design: &str, contrast: &Contrast, metric: &str) -> Outcome {
        self.contrasts
            .iter()
            .find(|r| r.design == design && r.metric == metric && r.contrast == *contrast)
            .map_or(Outcome::Missing, |result| result.outcome)
    }

    /// Designs of one kind, in the order of the plan.
    pub fn designs(&self, kinds: &[DesignKind]) -> Vec<&Design> {
        self.manifest.plan.designs.iter().filter(|design| kinds.contains(&design.kind)).collect()
    }
}

impl CellResult {
    /// One metric of the cell, if it was measured.
    pub fn metric(&self, name: &str) -> Option<&MetricResult> {
        self.metrics.iter().find(|result| result.metric == name)
    }

    /// Stored bits for each weight, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.facts.bytes_per_unit as f64 / self.facts.weights_per_unit as f64
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.status, CellStatus::Refused { .. })
    }

    pub fn is_failed(&self) -> bool {
        matches!(self.status, CellStatus::Failed { .. })
    }

    /// Whether headline tables leave it out.
    pub fn is_left_out(&self) -> bool {
        self.is_failed() || self.is_refused()
    }
}

fn cell_result(
    cell: &Cell,
    facts: &CellFacts,
    residency: Option<Residency>,
    table: &BlockTable,
    failure: Option<&FailureRow>,
    confidence: f64,
) -> CellResult {
    let mut mine: Vec<(&str, &Blocks)> = table
        .iter()
        .filter(|((cell_id, _), _)| *cell_id == cell.id)
        .map(|((_, metric), blocks)| (metric.as_str(), blocks))
        .collect();
    mine.sort_by_key(|(metric, _)| metric::rank(metric));
    let mut metrics: Vec<MetricResult> =
        mine.iter().filter_map(|(metric, blocks)| metric_result(metric, blocks, confidence)).collect();
    let measured = |name: &str| metrics.iter().find(|result| result.metric == name);
    let prefill = measured(PREFILL_TIME);
    let derived = [
        measured(TOKEN_TIME).map(|time| per_second(TOKENS_PER_S, time)),
        prefill.map(|time| per_second(PREFILL_TOKENS_PER_S, time)),
        prefill.zip(facts.prompt_tokens).and_then(|(time, tokens)| time_to_first_token(time, tokens)),
    ];
    metrics.extend(derived.into_iter().flatten());
    // Without a key/value cache a token reads the weights as often as its text has batches.
    let once = cell.level(KvCache::AXIS) != Some(KvCache::Recomputed.name());
    let kernels = mine.iter().find(|(metric, _)| *metric == KERNEL_TIME && once);
    let traffic = kernels.and_then(|(_, blocks)| traffic(blocks, confidence));
    let read = traffic.and_then(|t| t.roof.map(|(share, interval)| (t.gbps, share, interval.low)));
    let status = match (failure, read) {
        (Some(failure), _) => CellStatus::Failed { reason: failure.reason.clone() },
        _ if metrics.is_empty() => CellStatus::Missing,
        (_, Some((gbps, share, low))) if residency == Some(Residency::Dram) && low > ROOF_LIMIT => {
            CellStatus::Refused { gbps, share, low }
        }
        _ => CellStatus::Measured,
    };
    CellResult { cell: cell.clone(), facts: facts.clone(), metrics, traffic, status }
}

/// The value of a counter of a cell, if it has one.
pub fn counter(counters: &[CounterRow], cell_id: &str, name: &str) -> Option<f64> {
    counters.iter().find(|row| row.cell_id == cell_id && row.counter == name).and_then(|row| row.value)
}

fn standings(manifest: &Manifest, table: &BlockTable, ceilings: &Ceilings, counters: &[CounterRow]) -> Vec<Standing> {
    let plan = &manifest.plan;
    let caches = manifest.environment.get("caches").map(|fact| caches(fact)).unwrap_or_default();
    let of_cell = |(cell, facts): (&Cell, &CellFacts)| {
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload)?;
        let blocks = table.get(&(cell.id.clone(), KERNEL_TIME.to_owned()))?;
        let vector_operations = counter(counters, &cell.id, VECTOR_OPERATIONS);
        standing((cell, facts, workload), blocks, ceilings, vector_operations, &caches, plan.protocol.confidence)
    };
    let cells = plan.cells.iter().zip(&manifest.facts).filter(|(cell, _)| cell.null_of.is_none());
    cells.filter_map(of_cell).collect()
}

fn metric_result(metric: &str, blocks: &Blocks, confidence: f64) -> Option<MetricResult> {
    let times: Vec<f64> = blocks.times.values().copied().collect();
    Some(MetricResult {
        metric: metric.to_owned(),
        unit: blocks.unit.clone(),
        median: median(&times)?,
        interval: median_interval(&times, confidence)?,
        n_blocks: times.len(),
        samples: blocks.samples,
        flagged: blocks.flagged,
    })
}

/// The time to the logits of the first token behind a prompt of `tokens` tokens; nothing for a shape,
/// which is no whole model.
fn time_to_first_token(time: &MetricResult, tokens: u32) -> Option<MetricResult> {
    let tokens = f64::from(tokens);
    (time.unit == "ns/token").then(|| MetricResult {
        metric: TIME_TO_FIRST_TOKEN.to_owned(),
        unit: "ns".to_owned(),
        median: tokens * time.median,
        interval: Interval { low: tokens * time.interval.low, high: tokens * time.interval.high },
        ..time.clone()
    })
}

/// Units per second from ns per unit: the median and its ends are inverted, so low and high swap.
fn per_second(metric: &str, time: &MetricResult) -> MetricResult {
    MetricResult {
        metric: metric.to_owned(),
        unit: format!("{}/s", time.unit.trim_start_matches("ns/")),
        median: 1e9 / time.median,
        interval: Interval { low: 1e9 / time.interval.high, high: 1e9 / time.interval.low },
        ..time.clone()
    }
}

fn traffic(blocks: &Blocks, confidence: f64) -> Option<Traffic> {
    let speeds: Vec<f64> = blocks.gbps.values().copied().collect();
    let shares: Vec<f64> = blocks.roof_share.values().copied().collect();
    Some(Traffic {
        gbps: median(&speeds)?,
        roof: median(&shares).zip(median_interval(&shares, confidence)),
        brackets_apart: blocks.brackets_apart,
    })
}

/// What contrasts are computed from.
struct Study<'a> {
    table: &'a BlockTable,
    manifest: &'a Manifest,
    cells: &'a [CellResult],
}

impl Study<'_> {
    /// Raw metrics, in the order of reports.
    fn metrics(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.table.keys().map(|(_, metric)| metric.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|metric| metric::rank(metric));
        names
    }

    fn times(&self, cell_id: &str, metric: &str) -> BlockTimes {
        let key = (cell_id.to_owned(), metric.to_owned());
        self.table.get(&key).map(|blocks| blocks.times.clone()).unwrap_or_default()
    }

    fn contrasts(&self, design: &Design) -> Vec<ContrastResult> {
        self.metrics().into_iter().flat_map(|metric| self.judge(design, metric)).collect()
    }

    /// All contrasts of a design in one metric; each workload is a family of its own.
    fn judge(&self, design: &Design, metric: &str) -> Vec<ContrastResult> {
        let protocol = &self.manifest.plan.protocol;
        let effects: Vec<Option<Effect>> = design
            .contrasts
            .iter()
            .map(|c| contrast(&self.times(&c.arm, metric), &self.times(&c.reference, metric), protocol.confidence))
            .collect();
        let mut families: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
        for (index, (contrast, effect)) in design.contrasts.iter().zip(&effects).enumerate() {
            if let Some(effect) = effect {
                families.entry(&contrast.workload).or_default().push((index, effect.p));
            }
        }
        let mut adjusted: BTreeMap<usize, f64> = BTreeMap::new();
        for family in families.values() {
            let p: Vec<f64> = family.iter().map(|(_, p)| *p).collect();
            adjusted.extend(family.iter().map(|(index, _)| *index).zip(holm(&p)));
        }
        let alpha = 1.0 - protocol.confidence;
        let outcome = |index: usize, contrast: &Contrast| {
            let judged = effects[index].zip(adjusted.get(&index)).map(|(effect, &p_adjusted)| {
                let verdict = Verdict::of(effect.interval, p_adjusted, protocol.margin, alpha);
                Judged { effect, p_adjusted, verdict }
            });
            match judged {
                _ if self.either(contrast, CellResult::is_failed) => Outcome::Failed(judged),
                None => Outcome::Missing,
                Some(judged) if self.either(contrast, CellResult::is_refused) => Outcome::Refused(judged),
                Some(judged) => Outcome::Judged(judged),
            }
        };
        design
            .contrasts
            .iter()
            .enumerate()
            .map(|(index, contrast)| ContrastResult {
                design: design.name.clone(),
                kind: design.kind,
                metric: metric.to_owned(),
                contrast: contrast.clone(),
                outcome: outcome(index, contrast),
            })
            .collect()
    }

    fn combinations(&self, design: &Design) -> Vec<CombinationResult> {
        let logs =
            |c: &Contrast, metric: &str| log_ratios(&self.times(&c.arm, metric), &self.times(&c.reference, metric));
        let predict = |wanted: &Combination, metric: &str| {
            if wanted.singles.iter().chain([&wanted.measured]).any(|c| self.either(c, CellResult::is_left_out)) {
                return None;
            }
            let singles: Vec<BTreeMap<u32, f64>> = wanted.singles.iter().map(|c| logs(c, metric)).collect();
            let measured = logs(&wanted.measured, metric);
            combination(&singles, &measured, self.manifest.plan.protocol.confidence)
        };
        self.metrics()
            .into_iter()
            .flat_map(|metric| design.combinations.iter().map(move |wanted| (metric, wanted)))
            .map(|(metric, wanted)| CombinationResult {
                design: design.name.clone(),
                title: design.title.clone(),
                metric: metric.to_owned(),
                combination: wanted.clone(),
                prediction: predict(wanted, metric),
            })
            .collect()
    }

    /// Whether one of the two cells of a contrast is such.
    fn either(&self, contrast: &Contrast, is_such: fn(&CellResult) -> bool) -> bool {
        let ids = [&contrast.arm, &contrast.reference];
        self.cells.iter().any(|result| ids.contains(&&result.cell.id) && is_such(result))
    }
}
