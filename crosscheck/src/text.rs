//! What both implementations read.

use septet_kernels::SplitMix64;

use crate::Spec;

/// Tokens that are read one at a time behind a prompt.
const FURTHER: usize = 8;

/// A prompt, and what follows it token by token. The tokens are random, not the favourites of a model: then
/// both sides read the same ones, however close two favourites are.
pub struct Text {
    pub prompt: Vec<u32>,
    pub further: Vec<u32>,
}

impl Text {
    /// A text for `spec` with a prompt of `length` tokens.
    pub fn random(spec: &Spec, length: usize) -> Self {
        let mut random = SplitMix64::new(spec.seed ^ length as u64);
        let mut tokens = |n| (0..n).map(|_| (random.next() % spec.vocab as u64) as u32).collect();
        Self { prompt: tokens(length), further: tokens(FURTHER) }
    }
}
