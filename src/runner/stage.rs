//! A workload, ready to run: its weights in every stored form that its arms need, shared by all of
//! them.

use std::{cell::Cell, path::Path, sync::Arc, time::Instant};

use rayon::prelude::*;
use septet_kernels::{Format, Granularity, Layout};

use super::{RunError, evidence::Evidence, machine, roof::Roof};
use crate::{
    arm::{Arm, ArmFormat},
    digest::sha256,
    mixed::MixedFormats,
    model::{
        Checkpoint, Config, Decoder, Error as ModelError, Execution, LinearSet, ModelParts, Place, Storage, builtin,
        sampler::most_likely,
        shape::{Preset, ShapeModel},
        weights,
    },
    plan::{Plan, Source, Workload},
    pool::ThreadPool,
};

/// What the stored weights of arms may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub format: ArmFormat,
    pub granularity: Granularity,
    pub layout: Layout,
}

impl From<&Arm> for Stored {
    fn from(arm: &Arm) -> Self {
        Self { format: arm.format, granularity: arm.granularity, layout: arm.layout }
    }
}

/// A workload with its weights.
pub struct Stage {
    parts: Arc<ModelParts>,
    /// Equal copies of the weights at distinct addresses, for each stored form.
    sets: Vec<(Stored, Vec<LinearSet>)>,
    pool: Arc<ThreadPool>,
    /// Tokens that a trained model continues; none for a shape.
    prompt: Vec<u32>,
    /// Tokens of one repetition.
    tokens: usize,
    /// The copy that the next decoder begins with: each goes on where the one before it stopped, so
    /// that no copy is read again before all others have been.
    next_copy: Cell<usize>,
}

/// One repetition of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repetition {
    /// Nanoseconds of each token.
    pub token_ns: Vec<u64>,
    /// Nanoseconds inside linear kernels, all tokens together.
    pub kernel_ns: u64,
    /// What the operating system did meanwhile.
    pub evidence: Evidence,
    /// Bits of the residual stream that the last token left: the same for arms that compute the
    /// same.
    pub output: Vec<u32>,
}

impl Repetition {
    /// Time of all its tokens.
    pub fn seconds(&self) -> f64 {
        self.token_ns.iter().sum::<u64>() as f64 / 1e9
    }
}

/// SHA-256 of a repetition's output.
pub fn output_sha256(output: &[u32]) -> String {
    let bytes: Vec<u8> = output.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    sha256([bytes.as_slice()])
}

impl Stage {
    /// Loads or makes the weights of `workload` in the forms that `arms` need; a shape in `copies`
    /// copies, or as many as planned.
    ///
    /// # Errors
    /// A model that cannot be loaded or quantized, or no sensitivity table for a mixed arm.
    pub fn new(workload: &Workload, arms: &[Arm], copies: Option<usize>) -> Result<Self, RunError> {
        let mut wanted: Vec<Stored> = arms.iter().map(Stored::from).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let pool = || ThreadPool::new(workload.threads).map(Arc::new).map_err(RunError::Threads);
        let tokens = workload.tokens as usize;
        match &workload.source {
            Source::Trained { model, prompt } => {
                let checkpoint = load(model.as_deref())?;
                let prompt = checkpoint.tokenizer.encode_prompt(prompt)?;
                let context = checkpoint.parts.config.context;
                if prompt.len() + tokens > context {
                    let (workload, prompt) = (workload.name.clone(), prompt.len());
                    return Err(RunError::Context { workload, prompt, tokens, context });
                }
                let stored = |stored: Stored| {
                    let storage = storage(stored, &checkpoint.parts.config)?;
                    Ok((stored, vec![checkpoint.linears.stored(storage)?]))
                };
                let sets = wanted.into_par_iter().map(stored).collect::<Result<_, RunError>>()?;
                Ok(Self { parts: checkpoint.parts, sets, pool: pool()?, prompt, tokens, next_copy: Cell::new(0) })
            }
            Source::Shape { preset, layers, copies: planned, seed } => {
                let preset: Preset = preset.parse()?;
                let copies = copies.unwrap_or(*planned);
                let config = preset.config(*layers);
                let model = |stored: Stored| {
                    let storage = storage(stored, &config)?;
                    Ok((stored, ShapeModel::new(&preset, *layers, copies, *seed, storage)?))
                };
                let models = wanted.into_par_iter().map(model).collect::<Result<Vec<_>, RunError>>()?;
                let parts = models.first().map(|(_, model)| Arc::clone(&model.parts)).ok_or(RunError::NothingToRun)?;
                let sets = models.into_iter().map(|(stored, model)| (stored, model.sets)).collect();
                Ok(Self { parts, sets, pool: pool()?, prompt: Vec::new(), tokens, next_copy: Cell::new(0) })
            }
        }
    }

    /// The threads that run the workload.
    pub fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    /// The weights of an arm: weights and stored bytes that one token uses.
    pub fn weights_and_bytes(&self, arm: &Arm) -> (usize, usize) {
        let set = &self.sets_of(arm)[0];
        (set.weights(), set.stored_bytes())
    }

    /// A decoder that runs `arm` for `repetitions` repetitions.
    ///
    /// # Errors
    /// No kernel for the arm on this CPU.
    pub fn decoder(&self, arm: &Arm, repetitions: usize) -> Result<Decoder, RunError> {
        let execution = Execution::of(arm, Arc::clone(&self.pool));
        let positions = if self.prompt.is_empty() { usize::MAX } else { self.prompt.len() + self.tokens };
        let mut copies = self.sets_of(arm).to_vec();
        let first = self.next_copy.get();
        let count = copies.len();
        copies.rotate_left(first % count);
        self.next_copy.set(first + repetitions * self.tokens);
        Ok(Decoder::new(Arc::clone(&self.parts), copies, execution, positions)?)
    }

    /// Runs `decoder` once over the workload's tokens, each timed on its own. A trained model first
    /// reads the prompt, untimed, and then continues it greedily.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn repeat(&self, decoder: &mut Decoder) -> Result<Repetition, RunError> {
        decoder.reset();
        let mut token = if self.prompt.is_empty() { 0 } else { most_likely(decoder.prefill(&self.prompt)?) };
        decoder.take_spans();
        let before = Evidence::now();
        let mut token_ns = Vec::with_capacity(self.tokens);
        for _ in 0..self.tokens {
            let clock = Instant::now();
            let logits = decoder.forward(token)?;
            token_ns.push(clock.elapsed().as_nanos() as u64);
            if !logits.is_empty() {
                token = most_likely(logits);
            }
        }
        let evidence = Evidence::now().since(before);
        let output = decoder.residual().iter().map(|value| value.to_bits()).collect();
        Ok(Repetition { token_ns, kernel_ns: decoder.take_spans().kernel_ns, evidence, output })
    }

    fn sets_of(&self, arm: &Arm) -> &[LinearSet] {
        let stored = Stored::from(arm);
        let (_, sets) = self.sets.iter().find(|(have, _)| *have == stored).expect("`Stage::new` was given this arm");
        sets
    }
}

/// Bytes of all copies of a shape workload in every stored form that its cells need, and of the
/// buffer that measures its roof.
///
/// # Errors
/// A preset that does not exist.
pub fn memory(plan: &Plan, workload: &Workload) -> Result<usize, RunError> {
    let Source::Shape { preset, layers, copies, .. } = &workload.source else { return Ok(0) };
    let weights = preset.parse::<Preset>()?.weights() * layers;
    let cells = plan.cells.iter().filter(|cell| cell.workload == workload.name);
    let mut stored = Vec::new();
    for cell in cells {
        let form = Stored::from(&Arm::from_factors(&cell.factors)?);
        if !stored.contains(&form) {
            stored.push(form);
        }
    }
    // No stored form takes more than a byte for a pair and an f16 scale for 32 weights.
    let bytes = weights as f64 * *copies as f64 * stored.len() as f64 * 4.5 / 8.0;
    Ok(bytes as usize + Roof::buffer_bytes(workload.residency, 0, machine::last_level_cache()))
}

/// Copies of a shape that exceed the last-level cache four times in every stored form, at least four.
pub fn copies(weights: usize, fewest_bits: f64) -> usize {
    let bytes = weights as f64 * fewest_bits / 8.0;
    ((4 * machine::last_level_cache()) as f64 / bytes).ceil().max(4.0) as usize
}

/// SHA-256 over the weights of every trained model of the plan.
///
/// # Errors
/// Files that cannot be read.
pub fn model_hash(plan: &Plan) -> Result<String, RunError> {
    let mut hashes = Vec::new();
    for workload in &plan.workloads {
        if let Source::Trained { model, .. } = &workload.source {
            hashes.push(model_sha256(model.as_deref())?);
        }
    }
    Ok(if hashes.is_empty() { "seeded weights only".to_owned() } else { hashes.join("+") })
}

/// SHA-256 of the weights of a trained model.
///
/// # Errors
/// Files that cannot be read.
fn model_sha256(model: Option<&str>) -> Result<String, ModelError> {
    let Some(folder) = model else { return Ok(builtin::sha256()) };
    Ok(weights::sha256(&weights::read_shards(Path::new(folder))?))
}

/// A trained model: the folder, or the built-in one.
///
/// # Errors
/// A model that cannot be loaded.
pub fn load(model: Option<&str>) -> Result<Checkpoint, ModelError> {
    model.map_or_else(builtin::load, |folder| Checkpoint::load(Path::new(folder)))
}

/// How each linear layer of a model of this configuration is kept.
///
/// # Errors
/// No sensitivity table to choose mixed formats by.
pub fn storage(stored: Stored, config: &Config) -> Result<impl Fn(Place) -> Storage, RunError> {
    let Stored { granularity, layout, format } = stored;
    let format_at: Box<dyn Fn(Place) -> Format + Send + Sync> = match format {
        ArmFormat::Uniform(format) => Box::new(move |_| format),
        ArmFormat::Mixed => {
            let mixed = MixedFormats::for_model(config)?;
            Box::new(move |place| mixed.format(place))
        }
    };
    Ok(move |place| Storage::Quantized { format: format_at(place), layout, granularity })
}
