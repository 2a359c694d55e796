//! The forward pass in the order of the paper: one token at a time, or a prompt in batches
//! ([`prefill`](super::prefill)).

use std::sync::Arc;

use septet_kernels::NonFinite;
use septet_kernels::ops::rope::RotaryTable;

use super::attention::Attending;
use super::error::Error;
use super::execution::Execution;
use super::kv_cache::KvCache;
use super::linear::{LinearSet, Role};
use super::parts::ModelParts;
use super::prefill::{Batch, NonFiniteColumn};
use super::profile::{Operation, Profile};
use super::projector::{BoundLinear, Projector};
use super::residual::Residual;

/// A model, a set of linear layers and an execution, with the buffers, the cache and the position of
/// one text. All buffers are allocated once.
pub struct Decoder {
    parts: Arc<ModelParts>,
    /// Distinct copies of the linear layers; tokens, and batches of a prompt, take them in turn.
    sets: Vec<LinearSet<BoundLinear>>,
    projector: Projector,
    rotary: Arc<RotaryTable>,
    cache: KvCache,
    /// Position of the next token.
    position: usize,
    /// How often a copy of the linear layers was read since the decoder was made.
    readings: usize,
    /// What reads batches of a prompt; nothing where prompts are read token by token.
    batch: Option<Batch>,
    /// (hidden)
    residual: Residual,
    /// (heads, head_dim)
    q: Vec<f32>,
    /// (kv_heads, head_dim)
    k: Vec<f32>,
    /// (kv_heads, head_dim)
    v: Vec<f32>,
    attending: Attending,
    /// (heads, head_dim)
    attended: Vec<f32>,
    /// (ffn)
    gate: Vec<f32>,
    /// (ffn)
    up: Vec<f32>,
    /// (vocab), or empty without a head
    logits: Vec<f32>,
}

impl Decoder {
    /// A decoder at position 0 with room for `positions` positions, at most the model's context.
    ///
    /// `sets` is one set of linear layers, or several equal ones at distinct addresses, of which
    /// each token, and each batch of a prompt, uses the next.
    ///
    /// # Errors
    ///
    /// When there is no set, the layers of one do not have the shapes of the configuration, or a
    /// kernel of the execution does not exist or run here.
    pub fn new(
        parts: Arc<ModelParts>,
        sets: Vec<LinearSet>,
        execution: Execution,
        positions: usize,
    ) -> Result<Self, Error> {
        let config = &parts.config;
        if sets.is_empty() {
            return Err(Error::Zero { what: "the number of copies of the linear layers", found: 0 });
        }
        sets.iter().try_for_each(|set| set.check(config))?;
        let bound = sets.iter().map(|set| set.try_map(|_, linear| BoundLinear::new(linear, &execution)));
        let bound = bound.collect::<Result<_, Error>>()?;
        let positions = positions.min(config.context);
        let rotary = Arc::new(RotaryTable::new(positions, &parts.frequencies));
        let batch = Batch::new(config, &sets, &execution, &rotary);
        let cache = KvCache::new(config, positions, execution.kv_cache);
        let attending = Attending::new(config, execution.pool.threads(), 1);
        let vocab = if sets[0].head.is_some() { config.vocab } else { 0 };
        Ok(Self {
            projector: Projector::new(execution, config.hidden, sets[0].iter()),
            rotary,
            cache,
            position: 0,
            readings: 0,
            batch,
            residual: Residual::new(config.hidden),
            q: vec![0.0; config.q_width()],
            k: vec![0.0; config.kv_width()],
            v: vec![0.0; config.kv_width()],
            attending,
            attended: vec![0.0; config.q_width()],
            gate: vec![0.0; config.ffn],
            up: vec![0.0; config.ffn],
            logits: vec![0.0; vocab],
            parts,
            sets: bound,
        })
    }

    /// Position of the next token.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions that the cache has room for.
    pub fn positions(&self) -> usize {
        self.cache.positions()
    }

    /// The residual stream (hidden) behind the last layer, after the last token.
    pub fn residual(&self) -> &[f32] {
        self.residual.values()
    }

    /// Keys and values of the positions so far.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// Positions of a prompt that are read at once: 1 where it is read token by token.
    pub fn prompt_batch(&self) -> usize {
        self.batch.as_ref().map_or(1, Batch::columns)
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.parts.config.vocab
    }

    /// Begins a new text.
    pub fn reset(&mut self) {
        self.rewind(0);
    }

    /// Goes back to `position`: what was read before it stays, and the next token is read there.
    ///
    /// # Panics
    ///
    /// When the text is not that long.
    pub fn rewind(&mut self, position: usize) {
        assert!(position <= self.position, "rewind to {position} of {}", self.position);
        self.position = position;
    }

    /// Where the time since the last call of this method went.
    pub fn take_profile(&mut self) -> Profile {
        self.projector.laps().take()
    }

    /// Processes a prompt and returns the logits (vocab) that follow it; none without a head.
    ///
    /// # Errors
    ///
    /// When the prompt is empty or leaves no room for a token, and as [`Decoder::forward`].
    pub fn prefill(&mut self, prompt: &[u32]) -> Result<&[f32], Error> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let context = self.positions();
        if self.position + prompt.len() >= context {
            return Err(Error::PromptTooLong { tokens: prompt.len(), context });
        }
        for tokens in prompt.chunks(self.prompt_batch()) {
            self.advance_all(tokens)?;
        }
        self.logits(self.position - 1)
    }

    /// Processes `tokens`, no more than a batch, through the layers and stops before the head.
    fn advance_all(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let Self { parts, sets, projector, cache, residual, batch, position, .. } = self;
        let Some(batch) = batch else {
            return tokens.iter().try_for_each(|&token| self.advance(token));
        };
        let vocab = parts.config.vocab;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        projector.laps().begin();
        let read = batch.layers(parts, self.readings % sets.len(), projector, cache, *position, tokens);
        read.map_err(|NonFiniteColumn(column)| Error::NonFinite {
            what: "an activation",
            position: *position + column,
        })?;
        residual.set(batch.stream(tokens.len() - 1));
        self.position += tokens.len();
        self.readings += 1;
        Ok(())
    }

    /// Processes `token` and returns the logits (vocab) of what follows; none without a head.
    ///
    /// # Errors
    ///
    /// When the token is not in the vocabulary, the context is full, or a value is not finite.
    pub fn forward(&mut self, token: u32) -> Result<&[f32], Error> {
        self.advance(token)?;
        self.logits(self.position - 1)
    }

    /// Processes `tokens` and calls `each` with the number of each of them, from 0, and the logits (vocab) of what
    /// follows it; the bits are those of [`Decoder::forward`].
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn forward_all(&mut self, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        let most = self.prompt_batch();
        for (batch, tokens) in tokens.chunks(most).enumerate() {
            let (position, context) = (self.position, self.positions());
            if tokens.len() > context - position {
                return Err(Error::ContextFull { position: context, context });
            }
            self.advance_all(tokens)?;
            for column in 0..tokens.len() {
                if let Some(batch) = &self.batch {
                    self.residual.set(batch.stream(column));
                }
                each(batch * most + column, self.logits(position + column)?);
            }
        }
        Ok(())
    }

    /// The logits (vocab) behind the residual stream, which is that of the token at `position`, with the head of the
    /// copy that was read last.
    fn logits(&mut self, position: usize) -> Result<&[f32], Error> {
        let set = (self.readings - 1) % self.sets.len();
        self.projector.laps().begin();
        if let Some(head) = &self.sets[set].head {
            let operand = self.projector.normed(&self.residual, &self.parts.final_norm, self.parts.config.norm_eps);
            let stored = self.projector.store(head, operand, &mut self.logits);
            stored.map_err(|_| Error::NonFinite { what: "an activation", position })?;
            if !self.logits.iter().all(|logit| logit.is_finite()) {
                return Err(Error::NonFinite { what: "a logit", position });
            }
            self.projector.laps().end(Operation::Other);
        }
        Ok(&self.logits)
    }

    /// Processes `token` through the layers and stops before the head.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn advance(&mut self, token: u32) -> Result<(), Error> {
        if self.position == self.positions() && self.parts.wraps {
            self.reset();
        }
        let (position, context, vocab) = (self.position, self.positions(), self.parts.config.vocab);
        if position >= context {
            return Err(Error::ContextFull { position, context });
        }
        if token as usize >= vocab {
            return Err(Error::Token { token, vocab });
        }
        self.layers(token).map_err(|_| Error::NonFinite { what: "an activation", position })?;
        self.position += 1;
        self.readings += 1;
        Ok(())
    }

    /// The layers of the model, from the embedding of `token` to the residual stream behind the
    /// last one.
    fn layers(&mut self, token: u32) -> Result<(), NonFinite> {
        let Self { parts, sets, projector, rotary, cache, residual, q, k, v, attending, attended, gate, up, .. } = self;
        let (config, position, eps) = (&parts.config, self.position, parts.config.norm_eps);
        let set = &sets[self.readings % sets.len()];

        projector.laps().begin();
        residual.embed(&parts.embedding, token)?;
        projector.laps().end(Operation::Other);
        for (layer, (norms, linears)) in parts.norms.iter().zip(&set.layers).enumerate() {
            // x += O · attention(Q·norm(x), K·norm(x), V·norm(x))
            let operand = projector.normed(residual, &norms.attention, eps);
            let outputs = [(&linears[Role::Q], &mut q[..]), (&linears[Role::K], k), (&linears[Role::V], v)];
            projector.store_all(operand, outputs)?;
            if let Some(biases) = parts.biases.get(layer) {
                biases.add(q, k, v);
            }
            rotary.rotate(position, q);
            rotary.rotate(position, k);
            cache.store(layer, position, k, v)?;
            projector.laps().end(Operation::Cache);
            attending.attend(config, projector.pool(), (cache, layer), position, q, attended);
            projector.laps().end(Operation::Attention);
            let operand = projector.plain(attended);
            projector.add(&linears[Role::O], operand, residual)?;

            // x += Down · (silu(Gate·norm(x)) · (Up·norm(x)))
            let operand = projector.normed(residual, &norms.ffn, eps);
            projector.store_gated(operand, (&linears[Role::Gate], gate), (&linears[Role::Up], up))?;
            let operand = projector.plain(gate);
            projector.add(&linears[Role::Down], operand, residual)?;
        }
        Ok(())
    }
}
