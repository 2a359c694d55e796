//! Before the first sample: which arms may be timed, what they compute, how good their output is.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Display,
};

use rayon::prelude::*;
use septet_kernels::{
    Blocking, Format, Granularity, Isa, Layout, Pages, Prefetch, Shape, Unpack, Unroll, Variant,
    check::{self, Cases, Outcome},
    gemm::{self, check::GemmCases},
    registry,
};
use septet_peers::Peer;

use super::{
    RunError,
    stage::{self, Problem, Stage, output_sha256, stored::Stored},
};
use crate::{
    arm::{ActivationUse, Arm, ArmFormat, Epilogue, KvCache, Prefill, Regions},
    model::{
        Checkpoint, LinearSet,
        kv_cache::CacheFormat,
        perplexity::{self, Evaluation, Models, Stream, Windows},
    },
    plan::{Plan, Residency, Source, Workload},
    record::{CellFacts, Quality},
};

/// How the evaluation text is cut.
const WINDOWS: Windows = Windows::BACK_TO_BACK;

/// Predictions of a quality evaluation in a quick run; all of the text otherwise.
const QUICK_PREDICTIONS: usize = 1024;

/// What is known before the first sample.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// In the order of the plan's cells.
    pub facts: Vec<CellFacts>,
    /// Cells that must not be timed, with the reason.
    pub failed: BTreeMap<String, String>,
}

/// Checks every kernel and every arm of `plan`, and evaluates every format. After `enough_seconds` of measured
/// time a cell needs no further repetition, since the slowest arms are the steadiest; a repetition that takes as
/// long needs no warm-up before it, since what was cold is a small part.
///
/// # Errors
/// A workload that cannot be built.
pub fn run(plan: &Plan, enough_seconds: f64, say: &dyn Fn(&str)) -> Result<Preflight, RunError> {
    let arms = plan.cells.iter().map(|cell| Arm::from_factors(&cell.factors)).collect::<Result<Vec<_>, _>>()?;
    let seed = plan.protocol.seed;
    say("checking kernels against the reference");
    let wrong_peers = wrong_peers(plan, &arms);
    let (wrong, wrong_batched) = (wrong_kernels(&arms, seed), wrong_prompt_kernels(&arms, seed));
    let mut facts = BTreeMap::new();
    let mut failed = BTreeMap::new();
    let mut products = Products::default();
    for workload in &plan.workloads {
        say(&format!("checking the arms of {}", workload.name));
        let cells: Vec<(&str, &Arm)> = plan
            .cells
            .iter()
            .zip(&arms)
            .filter(|(cell, _)| cell.workload == workload.name)
            .map(|(cell, arm)| (cell.id.as_str(), arm))
            .collect();
        if cells.is_empty() {
            continue;
        }
        let workload_arms: Vec<Arm> = cells.iter().map(|(_, arm)| **arm).collect();
        // Before the stage binds this thread.
        products.add(workload, &workload_arms)?;
        let references: BTreeSet<Arm> =
            workload_arms.iter().filter(|arm| products.of(workload, arm).is_none()).map(reference_of).collect();
        let all: Vec<Arm> = workload_arms.iter().copied().chain(references.iter().copied()).collect();
        let stage = Stage::new(workload, &all, Some(1))?;
        let mut outputs = BTreeMap::new();
        for reference in references {
            outputs.insert(reference, stage.repeat(&mut *stage.arm(&reference, 1)?)?.output);
        }
        let quality = quality_of(workload, &workload_arms, plan.protocol.quick, say)?;
        for (id, arm) in cells {
            let of_token = arm.formats().into_iter().find_map(|format| wrong.get(&arm.variant(format)));
            let of_prompt = || arm.prompt_kernels().into_iter().find_map(|kernel| wrong_batched.get(&kernel));
            let of_peer = || arm.peer.and_then(|peer| wrong_peers.get(&peer));
            if let Some(reason) = of_token.or_else(of_prompt).or_else(of_peer) {
                failed.insert(id.to_owned(), reason.clone());
            }
            let (expected, by) = match products.of(workload, arm) {
                Some(product) => (product, "the reference product of its codes".to_owned()),
                None => (&outputs[&reference_of(arm)], reference_of(arm).to_string()),
            };
            let (bit_equal, seconds, prompt) = match stage.repeat(&mut *stage.arm(arm, 1)?) {
                Ok(repetition) => (repetition.output == *expected, repetition.seconds(), repetition.prompt),
                Err(error) => {
                    failed.entry(id.to_owned()).or_insert(error.to_string());
                    (false, enough_seconds, None)
                }
            };
            if !bit_equal {
                failed.entry(id.to_owned()).or_insert(format!("output differs from {by}"));
            }
            let enough = enough_seconds / seconds;
            let (weights, bytes) = stage.weights_and_bytes(arm);
            let units = workload.units_of_a_token();
            let measured = quality.get(&quality_key(arm)).cloned().unwrap_or_default();
            let facts_of_cell = CellFacts {
                cell_id: id.to_owned(),
                weights_per_unit: (weights / units) as u64,
                bytes_per_unit: (bytes / units) as u64,
                prompt_tokens: prompt.map(|prompt| prompt.tokens as u32),
                output_sha256: output_sha256(expected),
                warm_up: enough > 1.0 || workload.residency == Residency::Dram,
                repetitions: enough.ceil().clamp(1.0, f64::from(workload.repetitions)) as u32,
                quality: Quality { bit_equal: arm.peer.is_none().then_some(bit_equal), ..measured },
            };
            facts.insert(id.to_owned(), facts_of_cell);
        }
    }
    let facts = plan.cells.iter().filter_map(|cell| facts.remove(&cell.id)).collect();
    Ok(Preflight { facts, failed })
}

/// What products of matrices alone must be, once for all arms and workloads of the same problem, whatever
/// their threads: on one thread, with a kernel that is as slow as its reference, many columns would take
/// minutes for each.
#[derive(Default)]
struct Products(BTreeMap<Problem, Vec<u32>>);

impl Products {
    /// Computes those of `arms` on `workload` that are not here.
    fn add(&mut self, workload: &Workload, arms: &[Arm]) -> Result<(), RunError> {
        for problem in arms.iter().filter_map(|arm| stage::problem(workload, arm)) {
            if let Entry::Vacant(place) = self.0.entry(problem) {
                place.insert(problem.expected()?.iter().map(|value| value.to_bits()).collect());
            }
        }
        Ok(())
    }

    /// The output that `arm` must leave on `workload`, if it is a product of our own.
    fn of(&self, workload: &Workload, arm: &Arm) -> Option<&Vec<u32>> {
        self.0.get(&stage::problem(workload, arm)?)
    }
}

/// What arms of a model are compared with: the plainest arm of the same format, granularity and format of keys and
/// values that is not `branch`, with another unpacking, no unrolling, and no data option switched on. A peer is its
/// own: it must compute the same each time, and has been checked against its own weights.
fn reference_of(arm: &Arm) -> Arm {
    if arm.peer.is_some() {
        return *arm;
    }
    Arm {
        layout: Layout::Dense,
        unpack: Unpack::Select,
        unroll: Unroll::U1,
        isa: Isa::Scalar,
        prefetch: Prefetch::None,
        blocking: Blocking::Full,
        shape: Shape::Runtime,
        epilogue: Epilogue::Separate,
        activations: ActivationUse::Requantize,
        prefill: Prefill::Token,
        regions: Regions::Each,
        pages: Pages::System,
        kv_cache: KvCache::Kept(arm.kv_cache.format()),
        ..*arm
    }
}

/// The peers of `arms` that fail their check, with what they got wrong.
fn wrong_peers(plan: &Plan, arms: &[Arm]) -> BTreeMap<Peer, String> {
    let peers: BTreeSet<Peer> = arms.iter().filter_map(|arm| arm.peer).collect();
    let threads = plan.workloads.iter().map(|workload| workload.threads).max().unwrap_or(1);
    peers.into_iter().filter_map(|peer| Some((peer, stage::peer::wrong(peer, threads)?))).collect()
}

/// The kernels of `arms` that fail the check, with what they got wrong.
fn wrong_kernels(arms: &[Arm], seed: u64) -> BTreeMap<Variant, String> {
    let variants: BTreeSet<Variant> =
        arms.iter().flat_map(|arm| arm.formats().into_iter().map(|format| arm.variant(format))).collect();
    let formats: BTreeSet<Format> = variants.iter().map(|variant| variant.format).collect();
    let cases: BTreeMap<Format, Cases> = formats.into_iter().map(|format| (format, Cases::new(format, seed))).collect();
    let wrong = |variant: &Variant| {
        let outcome = check::check(registry::find(*variant)?, &cases[&variant.format]);
        Some((*variant, reason(variant, outcome, seed)?))
    };
    variants.par_iter().filter_map(wrong).collect()
}

/// The kernels for many columns of `arms` that fail the check, with what they got wrong.
fn wrong_prompt_kernels(arms: &[Arm], seed: u64) -> BTreeMap<gemm::Variant, String> {
    let variants: BTreeSet<gemm::Variant> = arms.iter().flat_map(Arm::prompt_kernels).collect();
    let wrong = |variant: &gemm::Variant| {
        let outcome = gemm::check::check(gemm::find(*variant)?, &GemmCases::new(variant.format, seed));
        Some((*variant, reason(variant, outcome, seed)?))
    };
    variants.par_iter().filter_map(wrong).collect()
}

/// Why a kernel with this outcome of its check must not be timed, if it must not.
fn reason(variant: &impl Display, outcome: Outcome, seed: u64) -> Option<String> {
    match outcome {
        Outcome::Equal { .. } => None,
        Outcome::Skipped(reason) => Some(reason),
        Outcome::Failed(mismatch) => Some(format!("{variant} fails its check with seed {seed}: {mismatch:?}")),
    }
}

/// What the quality of an arm depends on.
type QualityKey = (ArmFormat, Granularity, CacheFormat);

fn quality_key(arm: &Arm) -> QualityKey {
    (arm.format, arm.granularity, arm.kv_cache.format())
}

/// Perplexity and divergence of each format of a trained model, from f32, on the evaluation text.
fn quality_of(
    workload: &Workload,
    arms: &[Arm],
    quick: bool,
    say: &dyn Fn(&str),
) -> Result<BTreeMap<QualityKey, Quality>, RunError> {
    let Source::Trained { model, .. } = &workload.source else { return Ok(BTreeMap::new()) };
    let keys: BTreeSet<QualityKey> = arms.iter().map(quality_key).collect();
    say("evaluating the quality of each format");
    let checkpoint = Checkpoint::of(model.as_deref())?;
    let mut stream = Stream::new(&checkpoint, perplexity::TEXT)?;
    if quick {
        stream.truncate(QUICK_PREDICTIONS);
    }
    let reference = checkpoint.linears()?;
    let candidate = |&(format, granularity, kv_cache): &QualityKey| -> Result<(LinearSet, CacheFormat), RunError> {
        let stored = Stored { format, granularity, layout: Layout::Dense, pages: Pages::System };
        Ok((checkpoint.stored(stored.storage(&checkpoint.parts.config)?)?, kv_cache))
    };
    let candidates = keys.iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
    let models = || Models::alone(&checkpoint.parts, Some(&reference), &candidates, WINDOWS);
    let evaluation = Evaluation::new(&stream, WINDOWS, models, || {})?;
    Ok(keys.into_iter().enumerate().map(|(at, key)| (key, quality(&evaluation, at))).collect())
}

/// The quality of candidate `at`.
fn quality(evaluation: &Evaluation, at: usize) -> Quality {
    let quality = evaluation.quality(at);
    Quality {
        bit_equal: None,
        perplexity_ratio: Some(quality.perplexity_ratio),
        kld: Some(quality.mean_kld),
        top1_agreement: Some(quality.top1_agreement),
    }
}
