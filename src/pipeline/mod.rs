//! How fast a whole model is: prompts and texts of given lengths, as llama-bench measures them. `bench pipeline`.
//!
//! A *test* reads a prompt of P tokens (`pp512`), writes a text of N (`tg128`), or both, one after the other
//! (`pp512+tg128`), with D tokens in the cache before (`@ d4096`). It is repeated in one process, one model after
//! another: a look at a machine, and no comparison of arms, which is what [`runner`](crate::runner) makes.

pub mod ceilings;
pub mod measure;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use ceilings::Ceilings;
pub use measure::{Layers, Measurement, Protocol, Sample, measure};

/// What is run once: tokens before it in the cache, tokens of its prompt, tokens of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    pub depth: usize,
    pub prompt: usize,
    pub text: usize,
}

impl Test {
    /// Positions of a cache that the test needs: a prompt leaves room for a token behind it.
    pub fn positions(self) -> usize {
        self.depth.saturating_add(self.prompt).saturating_add(self.text.max(1))
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.text) {
            (prompt, 0) => write!(f, "pp{prompt}"),
            (0, text) => write!(f, "tg{text}"),
            (prompt, text) => write!(f, "pp{prompt}+tg{text}"),
        }?;
        if self.depth == 0 { Ok(()) } else { write!(f, " @ d{}", self.depth) }
    }
}

/// A prompt and a text behind it: `512,128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptAndText {
    pub prompt: usize,
    pub text: usize,
}

/// Not two numbers.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is no pair of lengths; expected the tokens of a prompt and of a text, such as 512,128, neither of them 0"
)]
pub struct NoPair(String);

impl FromStr for PromptAndText {
    type Err = NoPair;

    fn from_str(text: &str) -> Result<Self, NoPair> {
        let length = |text: &str| text.trim().parse().ok().filter(|&length| length > 0);
        let pair = text.split_once(',').and_then(|(prompt, text)| Some((length(prompt)?, length(text)?)));
        pair.map(|(prompt, text)| Self { prompt, text }).ok_or_else(|| NoPair(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_in_llama_bench() {
        let name = |depth, prompt, text| Test { depth, prompt, text }.to_string();
        assert_eq!(name(0, 512, 0), "pp512");
        assert_eq!(name(0, 0, 128), "tg128");
        assert_eq!(name(4096, 512, 128), "pp512+tg128 @ d4096");
    }

    #[test]
    fn pairs_are_two_lengths() {
        assert_eq!("512,128".parse(), Ok(PromptAndText { prompt: 512, text: 128 }));
        for wrong in ["512", "512,", "0,1", "1,0", "a,b", "1,2,3", "-1,2"] {
            assert_eq!(wrong.parse::<PromptAndText>(), Err(NoPair(wrong.to_owned())));
        }
    }
}
