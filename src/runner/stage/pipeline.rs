//! A decoder that continues a text, or runs the layers of a shape on one vector again and again.

use std::time::Instant;

use super::Run;
use crate::{
    model::{Decoder, sampler::most_likely},
    runner::RunError,
};

/// A decoder and the token that it reads next.
pub struct Pipeline {
    decoder: Decoder,
    /// What a trained model continues; nothing for a shape.
    prompt: Vec<u32>,
    token: u32,
}

impl Pipeline {
    /// `decoder`, continuing `prompt`.
    pub fn new(decoder: Decoder, prompt: Vec<u32>) -> Self {
        Self { decoder, prompt, token: 0 }
    }
}

impl Run for Pipeline {
    /// A trained model reads its prompt.
    fn rewind(&mut self) -> Result<(), RunError> {
        self.decoder.reset();
        if !self.prompt.is_empty() {
            self.token = most_likely(self.decoder.prefill(&self.prompt)?);
        }
        self.decoder.take_spans();
        Ok(())
    }

    /// The choice of the next token is greedy, and not timed.
    fn token(&mut self) -> Result<u64, RunError> {
        let clock = Instant::now();
        let logits = self.decoder.forward(self.token)?;
        let ns = clock.elapsed().as_nanos() as u64;
        if !logits.is_empty() {
            self.token = most_likely(logits);
        }
        Ok(ns)
    }

    fn take_kernel_ns(&mut self) -> u64 {
        self.decoder.take_spans().kernel_ns
    }

    fn output(&self) -> &[f32] {
        self.decoder.residual()
    }
}
