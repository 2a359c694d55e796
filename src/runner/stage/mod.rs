//! A workload, ready to run: its weights in every stored form that its arms need, shared by all of
//! them.

pub mod peer;
mod pipeline;
mod product;
pub mod stored;

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use rayon::prelude::*;
use septet_kernels::{PackedMatrix, Pages};
use septet_peers::Peer;

pub use self::product::Problem;
use self::{
    peer::PeerProduct,
    pipeline::Pipeline,
    product::Product,
    stored::{Stored, Stowed},
};
use super::{RunError, evidence::Evidence, machine, roof::Roof};
use crate::{
    arm::{Arm, KvCache},
    digest::sha256,
    model::{
        Checkpoint, Decoder, Execution, LinearSet, ModelParts, Role,
        shape::{self, Preset, ShapeModel},
    },
    pages::Mappings,
    plan::{Plan, Source, Workload},
    pool::ThreadPool,
    record::WeightsRow,
};

/// Fewest stored bits of a weight in any form of our own: `w3` with a scale for 128.
const FEWEST_BITS: f64 = 3.125;

/// What a workload multiplies.
enum Weights {
    /// The layers of a model, and the tokens that a trained one continues.
    Model { parts: Arc<ModelParts>, sets: Vec<Stowed<LinearSet>>, prompt: Vec<u32> },
    /// A matrix alone, also in the formats of other projects, and the seed of its vectors.
    Matrix { matrices: Vec<Stowed<Arc<PackedMatrix>>>, peers: Vec<Arc<septet_peers::Weights>>, seed: u64 },
}

/// An arm on its workload, to be repeated.
pub trait Run {
    /// Goes back to where a repetition begins; not timed.
    fn rewind(&mut self);
    /// Reads the prompt, if there is one.
    ///
    /// # Errors
    /// A value that is not finite.
    fn read_prompt(&mut self) -> Result<Option<PromptRead>, RunError> {
        Ok(None)
    }
    /// Runs one token, and says how many nanoseconds it took.
    ///
    /// # Errors
    /// A value that is not finite.
    fn token(&mut self) -> Result<u64, RunError>;
    /// Lets threads sleep that are not those of the stage's pool; not timed.
    fn rest(&mut self) {}
    /// Nanoseconds inside linear kernels since the prompt was read or the last call.
    fn take_kernel_ns(&mut self) -> u64;
    /// What the last token left: the same for arms that compute the same.
    fn output(&self) -> &[f32];
}

/// A workload with its weights.
pub struct Stage {
    source: Source,
    /// The forms that the weights are kept in.
    forms: Vec<Stored>,
    peers: Vec<Peer>,
    weights: Weights,
    /// Whether the weights were made for this workload, and not for the one before.
    fresh: bool,
    pool: Arc<ThreadPool>,
    /// Tokens of one repetition.
    tokens: usize,
    /// The copy that the next arm begins with: each goes on where the one before it stopped, so
    /// that no copy is read again before all others have been.
    next_copy: Cell<usize>,
}

/// How long it took to read a prompt, until the logits of its last token were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptRead {
    /// Tokens of the prompt.
    pub tokens: usize,
    pub ns: u64,
}

/// One repetition of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repetition {
    /// Of a workload with a prompt.
    pub prompt: Option<PromptRead>,
    /// Nanoseconds of each token.
    pub token_ns: Vec<u64>,
    /// Nanoseconds inside linear kernels, all tokens together.
    pub kernel_ns: u64,
    /// What the operating system did meanwhile.
    pub evidence: Evidence,
    /// Bits of what the last token left (the residual stream, or the product): the same for arms that
    /// compute the same.
    pub output: Vec<u32>,
}

impl Repetition {
    /// Time of its prompt and all its tokens.
    pub fn seconds(&self) -> f64 {
        let prompt = self.prompt.map_or(0, |prompt| prompt.ns);
        (prompt + self.token_ns.iter().sum::<u64>()) as f64 / 1e9
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
        let (forms, peers) = (Stored::of_all(arms), peers(arms));
        let wanted = forms.clone();
        let tokens = workload.tokens as usize;
        let weights = match &workload.source {
            Source::Trained { model, prompt } => {
                let checkpoint = Checkpoint::of(model.as_deref())?;
                let prompt = checkpoint.tokenizer.encode_prompt(prompt)?;
                let context = checkpoint.parts.config.context;
                let behind = usize::from(arms.iter().any(|arm| arm.kv_cache == KvCache::Recomputed));
                if prompt.len() + tokens + behind > context {
                    let (workload, prompt) = (workload.name.clone(), prompt.len());
                    let most = context.saturating_sub(prompt + behind);
                    return Err(RunError::Context { workload, prompt, tokens, context, most });
                }
                let stored = |stored: Stored| {
                    let (set, packing) = checkpoint.stored_and_timed(stored.storage(&checkpoint.parts.config)?)?;
                    Ok(Stowed::moved(stored, vec![set], packing))
                };
                let sets = wanted.into_par_iter().map(stored).collect::<Result<_, RunError>>()?;
                Weights::Model { parts: checkpoint.parts, sets, prompt }
            }
            Source::Shape { preset, layers, copies: planned, seed } => {
                let preset: Preset = preset.parse()?;
                let copies = copies.unwrap_or(*planned);
                let config = preset.config(*layers);
                let model = |stored: Stored| {
                    let model = ShapeModel::new(&preset, *layers, copies, *seed, stored.storage(&config)?)?;
                    Ok(Stowed::moved(stored, model.sets, model.packing))
                };
                let sets = wanted.into_par_iter().map(model).collect::<Result<_, RunError>>()?;
                let (parts, prompt) = shape_text(&preset, *layers, *seed, workload);
                Weights::Model { parts, sets, prompt }
            }
            &Source::Matrix { rows, cols, copies: planned, seed, .. } => {
                let copies = copies.unwrap_or(planned);
                let matrices = product::matrices(&wanted, rows, cols, copies, seed)?;
                let of_peer = |&peer| peer::weights(peer, rows, cols, peer::copies(peer, copies), seed);
                let peers = peers.iter().map(of_peer).collect::<Result<_, RunError>>()?;
                Weights::Matrix { matrices, peers, seed }
            }
        };
        // Threads start when there is something for them to do, and the caller is bound when the threads
        // that made the weights exist: they would inherit its one CPU.
        let pool = ThreadPool::bound(workload.threads).map(Arc::new).map_err(RunError::Threads)?;
        let source = workload.source.clone();
        Ok(Self { source, forms, peers, weights, fresh: true, pool, tokens, next_copy: Cell::new(0) })
    }

    /// As [`Stage::new`], with the weights of the stage before if they are the same in the same forms.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn after(before: Option<Self>, workload: &Workload, arms: &[Arm]) -> Result<Self, RunError> {
        match before {
            Some(before)
                if before.source.same_weights(&workload.source)
                    && before.forms == Stored::of_all(arms)
                    && before.peers == peers(arms) =>
            {
                let Self { forms, peers, weights, pool, next_copy, .. } = before;
                let source = workload.source.clone();
                let weights = match (&source, weights) {
                    // The same layers may read another prompt.
                    (Source::Shape { preset, layers, seed, .. }, Weights::Model { sets, .. }) => {
                        let (parts, prompt) = shape_text(&preset.parse()?, *layers, *seed, workload);
                        Weights::Model { parts, sets, prompt }
                    }
                    (_, weights) => weights,
                };
                // Its caller is bound until it is gone.
                drop(pool);
                let pool = ThreadPool::bound(workload.threads).map(Arc::new).map_err(RunError::Threads)?;
                let tokens = workload.tokens as usize;
                Ok(Self { source, forms, peers, weights, fresh: false, pool, tokens, next_copy })
            }
            // Weights that are not used again make room first.
            other => {
                drop(other);
                Self::new(workload, arms, None)
            }
        }
    }

    /// The threads that run the workload.
    pub fn pool(&self) -> &ThreadPool {
        &self.pool
    }

    /// How the weights lie in memory now that they are written, a row for each form of our own.
    pub fn weights_rows(&self, workload: &Workload) -> Vec<WeightsRow> {
        let mappings = Mappings::now();
        match &self.weights {
            Weights::Model { sets, .. } => {
                sets.iter().map(|set| set.row(workload, mappings.as_ref(), self.fresh)).collect()
            }
            Weights::Matrix { matrices, .. } => {
                matrices.iter().map(|matrix| matrix.row(workload, mappings.as_ref(), self.fresh)).collect()
            }
        }
    }

    /// The pages that the fastest read may lie in: those of the system, and huge ones where arms have them.
    pub fn roof_pages(&self) -> &'static [Pages] {
        roof_pages(&self.forms)
    }

    /// The weights of an arm: weights and stored bytes that one token uses.
    pub fn weights_and_bytes(&self, arm: &Arm) -> (usize, usize) {
        match &self.weights {
            Weights::Model { sets, .. } => {
                let set = &of(sets, arm)[0];
                (set.weights(), set.stored_bytes())
            }
            Weights::Matrix { peers, .. } if arm.peer.is_some() => {
                let weights = of_peer(peers, arm);
                (weights.rows() * weights.cols(), weights.stored_bytes())
            }
            Weights::Matrix { matrices, .. } => {
                let matrix = &of(matrices, arm)[0];
                (matrix.rows() * matrix.cols(), matrix.stored_bytes())
            }
        }
    }

    /// `arm` on this workload, for `repetitions` repetitions.
    ///
    /// # Errors
    /// No kernel for the arm on this CPU.
    pub fn arm(&self, arm: &Arm, repetitions: usize) -> Result<Box<dyn Run>, RunError> {
        let first = self.next_copy.get();
        let go_on_behind = |readings: usize| self.next_copy.set(first + repetitions * readings);
        Ok(match &self.weights {
            Weights::Model { parts, sets, prompt } => {
                // A text that is read again leaves room for a token behind it, as a prompt does.
                let positions = if prompt.is_empty() { usize::MAX } else { prompt.len() + self.tokens + 1 };
                let copies = rotated(of(sets, arm), first);
                let execution = Execution::of(arm, Arc::clone(&self.pool));
                let decoder = Decoder::new(Arc::clone(parts), copies, execution, positions)?;
                let read = |tokens: usize| tokens.div_ceil(decoder.prompt_batch());
                go_on_behind(match arm.kv_cache {
                    KvCache::Kept(_) => read(prompt.len()) + self.tokens,
                    KvCache::Recomputed => (0..=self.tokens).map(|token| read(prompt.len() + token)).sum(),
                });
                Box::new(Pipeline::new(decoder, prompt.clone(), arm.kv_cache))
            }
            &Weights::Matrix { ref matrices, ref peers, seed } => {
                // Each repetition reads the copies of the warm-up again, which a host may have taken away since
                // they were made; the next arm begins behind them.
                self.next_copy.set(first + self.tokens);
                let columns = self.source.columns();
                if arm.peer.is_some() {
                    Box::new(PeerProduct::new(of_peer(peers, arm), first, columns, self.pool.threads(), seed)?)
                } else {
                    let copies = rotated(of(matrices, arm), first);
                    Box::new(Product::new(copies, columns, arm, Arc::clone(&self.pool), seed)?)
                }
            }
        })
    }

    /// Lets the threads sleep until the next repetition: another process has its turn.
    pub fn rest(&self) {
        self.pool.rest();
    }

    /// Runs `arm` once over the workload's prompt and tokens, each token timed on its own.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn repeat(&self, arm: &mut dyn Run) -> Result<Repetition, RunError> {
        arm.rewind();
        let before = Evidence::now();
        let repetition = self.timed(arm)?;
        Ok(Repetition { evidence: Evidence::now().since(before), ..repetition })
    }

    /// As [`Stage::repeat`], without evidence, which takes longer to read than a short repetition.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn repeat_alone(&self, arm: &mut dyn Run) -> Result<Repetition, RunError> {
        arm.rewind();
        self.timed(arm)
    }

    fn timed(&self, arm: &mut dyn Run) -> Result<Repetition, RunError> {
        let prompt = arm.read_prompt()?;
        let token_ns = (0..self.tokens).map(|_| arm.token()).collect::<Result<_, _>>()?;
        arm.rest();
        let output = arm.output().iter().map(|value| value.to_bits()).collect();
        Ok(Repetition { prompt, token_ns, kernel_ns: arm.take_kernel_ns(), evidence: Evidence::default(), output })
    }
}

/// What `arm` multiplies on a workload of a matrix alone, unless it is a peer.
pub fn problem(workload: &Workload, arm: &Arm) -> Option<Problem> {
    match workload.source {
        Source::Matrix { rows, cols, columns, seed, .. } if arm.peer.is_none() => {
            Some(Problem { format: arm.format, granularity: arm.granularity, rows, cols, columns, seed })
        }
        _ => None,
    }
}

/// Everything of a shape but its linear layers, and the prompt that `workload` reads.
fn shape_text(preset: &Preset, layers: usize, seed: u64, workload: &Workload) -> (Arc<ModelParts>, Vec<u32>) {
    let prompt: Vec<u32> = (0..workload.prompt_tokens.unwrap_or(0)).collect();
    let parts = shape::parts(preset, layers, seed, prompt.len(), workload.tokens as usize);
    (Arc::new(parts), prompt)
}

/// The pages that a roof over weights in these forms is read from.
fn roof_pages(forms: &[Stored]) -> &'static [Pages] {
    let huge = forms.iter().any(|form| form.pages == Pages::Huge);
    if huge { &[Pages::System, Pages::Huge] } else { &[Pages::System] }
}

/// The peers among `arms`, each once.
fn peers(arms: &[Arm]) -> Vec<Peer> {
    let peers: BTreeSet<Peer> = arms.iter().filter_map(|arm| arm.peer).collect();
    peers.into_iter().collect()
}

/// The weights of the peer that `arm` is.
fn of_peer<'a>(peers: &'a [Arc<septet_peers::Weights>], arm: &Arm) -> &'a Arc<septet_peers::Weights> {
    let found = peers.iter().find(|weights| Some(weights.peer()) == arm.peer);
    found.expect("`Stage::new` was given this arm")
}

/// The copies in the form that `arm` uses.
fn of<'a, T>(copies: &'a [Stowed<T>], arm: &Arm) -> &'a [T] {
    let stored = Stored::from(arm);
    let found = copies.iter().find(|copies| copies.stored == stored);
    &found.expect("`Stage::new` was given this arm").copies
}

/// The copies, beginning with number `first`, counted round and round.
fn rotated<T: Clone>(copies: &[T], first: usize) -> Vec<T> {
    let mut copies = copies.to_vec();
    let count = copies.len();
    copies.rotate_left(first % count);
    copies
}

/// Bytes of all copies of a workload's seeded weights in every stored form that its cells need, of what
/// a prompt takes, and of the buffer that measures the roof.
///
/// # Errors
/// A preset that does not exist.
pub fn memory(plan: &Plan, workload: &Workload) -> Result<usize, RunError> {
    let (weights, matrices, planned, text) = match &workload.source {
        Source::Trained { .. } => return Ok(0),
        Source::Shape { preset, layers, copies, .. } => {
            let preset: Preset = preset.parse()?;
            let prompt = workload.prompt_tokens.unwrap_or(0) as usize;
            // Embeddings, and keys and values, in f32; a cache that wraps is small.
            let values = prompt * (preset.hidden + 2 * layers * preset.kv_heads * preset.head_dim);
            (preset.weights() * layers, layers * Role::ALL.len(), copies, values * size_of::<f32>())
        }
        Source::Matrix { rows, cols, copies, .. } => (rows * cols, 1, copies, 0),
    };
    let cells = plan.cells.iter().filter(|cell| cell.workload == workload.name);
    let arms = cells.map(|cell| Arm::from_factors(&cell.factors)).collect::<Result<Vec<_>, _>>()?;
    // No form of our own takes more than a byte for a pair and an f16 scale for 32 weights.
    let forms = Stored::of_all(&arms);
    let own = *planned as f64 * forms.len() as f64 * 4.5;
    let slack: usize = forms.iter().map(|form| form.slack(*planned * matrices)).sum();
    let of_peer = |peer: Peer| peer::copies(peer, *planned) as f64 * peer.bits_per_weight();
    let bits = own + peers(&arms).into_iter().map(of_peer).sum::<f64>();
    let bytes = (weights as f64 * bits / 8.0) as usize;
    let roof = roof_pages(&forms).len() * Roof::buffer_bytes(workload.residency, 0, machine::last_level_cache());
    Ok(bytes + slack + text + roof)
}

/// Copies of so many weights that exceed the last-level cache four times, and `at_least` bytes, in every
/// stored form; at least four.
pub fn copies(weights: usize, at_least: usize) -> usize {
    let bytes = weights as f64 * FEWEST_BITS / 8.0;
    let rotation = (4 * machine::last_level_cache()).max(at_least);
    (rotation as f64 / bytes).ceil().max(4.0) as usize
}

/// SHA-256 over the weights of every trained model of the plan.
///
/// # Errors
/// Files that cannot be read.
pub fn model_hash(plan: &Plan) -> Result<String, RunError> {
    let mut hashes = Vec::new();
    for workload in &plan.workloads {
        if let Source::Trained { model, .. } = &workload.source {
            hashes.push(Checkpoint::of(model.as_deref())?.sha256());
        }
    }
    Ok(if hashes.is_empty() { "seeded weights only".to_owned() } else { hashes.join("+") })
}
