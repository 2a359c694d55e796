//! A decoder that reads a prompt and continues it, or runs the layers of a shape on one vector again
//! and again. Without a key/value cache it reads the whole text for each token.

use std::time::Instant;

use super::{PromptRead, Run};
use crate::{
    arm::KvCache,
    model::{Decoder, profile::Operation, sampler::most_likely},
    runner::RunError,
};

/// A decoder and the token that it reads next.
pub struct Pipeline {
    decoder: Decoder,
    /// What is continued; nothing for a shape without a prompt.
    prompt: Vec<u32>,
    token: u32,
    /// The text so far, where nothing else is kept of it from token to token.
    text: Option<Vec<u32>>,
}

impl Pipeline {
    /// `decoder`, continuing `prompt`.
    pub fn new(decoder: Decoder, prompt: Vec<u32>, kv_cache: KvCache) -> Self {
        let text = || Vec::with_capacity(decoder.positions());
        let text = (kv_cache == KvCache::Recomputed).then(text);
        Self { decoder, prompt, token: 0, text }
    }
}

impl Run for Pipeline {
    fn rewind(&mut self) {
        self.decoder.reset();
        self.decoder.take_profile();
        if let Some(text) = &mut self.text {
            text.clear();
            text.extend(&self.prompt);
        }
    }

    /// The choice of the first token is not timed, and its products are not those of a token.
    fn read_prompt(&mut self) -> Result<Option<PromptRead>, RunError> {
        if self.prompt.is_empty() {
            return Ok(None);
        }
        let clock = Instant::now();
        let logits = self.decoder.prefill(&self.prompt)?;
        let ns = clock.elapsed().as_nanos() as u64;
        if !logits.is_empty() {
            self.token = most_likely(logits);
        }
        self.decoder.take_profile();
        Ok(Some(PromptRead { tokens: self.prompt.len(), ns }))
    }

    /// The choice of the next token is greedy, and not timed.
    fn token(&mut self) -> Result<u64, RunError> {
        let clock = Instant::now();
        let logits = match &mut self.text {
            None => self.decoder.forward(self.token)?,
            Some(text) => {
                text.push(self.token);
                self.decoder.reset();
                self.decoder.prefill(text)?
            }
        };
        let ns = clock.elapsed().as_nanos() as u64;
        if !logits.is_empty() {
            self.token = most_likely(logits);
        }
        Ok(ns)
    }

    fn take_kernel_ns(&mut self) -> u64 {
        self.decoder.take_profile().ns(Operation::Linear)
    }

    fn output(&self) -> &[f32] {
        self.decoder.residual()
    }
}
