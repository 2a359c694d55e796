//! Where the time of a token, or of a prompt, goes.
//!
//! The thread that runs a decoder reads a clock at the end of each operation, and what passed since it did so before
//! belongs to that operation. So the parts add up to the whole but for a copy of the residual stream, and a token has one
//! reading for each operation.
//! What a kernel does in registers, such as unpacking its weights, is one operation with it.

use std::time::Instant;

/// A part of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Products of linear layers, with unpacking, scales and what is fused with the store.
    Linear,
    /// Quantization of their operands, with the norm where it is fused with it.
    Quantize,
    /// Norms that are passes of their own.
    Norm,
    /// Biases, rotation, and storing keys and values.
    Cache,
    /// Scores, softmax and the mean of values.
    Attention,
    /// SwiGLU where it is a pass of its own.
    Gate,
    /// Adding to the residual stream where that is a pass of its own.
    Residual,
    /// Embeddings, and the check of logits.
    Other,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 8] = [
        Self::Linear,
        Self::Quantize,
        Self::Norm,
        Self::Cache,
        Self::Attention,
        Self::Gate,
        Self::Residual,
        Self::Other,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "matrix products",
            Self::Quantize => "quantize operands",
            Self::Norm => "norms",
            Self::Cache => "rotate and cache",
            Self::Attention => "attention",
            Self::Gate => "SwiGLU",
            Self::Residual => "residual",
            Self::Other => "other",
        }
    }
}

/// Nanoseconds of each operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile([u64; Operation::ALL.len()]);

impl Profile {
    /// Of one operation.
    pub fn ns(&self, operation: Operation) -> u64 {
        self.0[operation as usize]
    }

    /// Of all operations.
    pub fn total_ns(&self) -> u64 {
        self.0.iter().sum()
    }

    /// With the nanoseconds of `other`.
    pub fn plus(mut self, other: &Self) -> Self {
        for (ns, other) in self.0.iter_mut().zip(&other.0) {
            *ns += other;
        }
        self
    }
}

/// A clock that is read at the end of each operation.
pub(super) struct Laps {
    last: Instant,
    profile: Profile,
}

impl Laps {
    pub fn new() -> Self {
        Self { last: Instant::now(), profile: Profile::default() }
    }

    /// An operation begins now; what came before belongs to none.
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// An operation ends now, and the next one begins.
    pub fn end(&mut self, operation: Operation) {
        let now = Instant::now();
        self.profile.0[operation as usize] += (now - self.last).as_nanos() as u64;
        self.last = now;
    }

    /// What was added up since the last call.
    pub fn take(&mut self) -> Profile {
        std::mem::take(&mut self.profile)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn parts_add_up_and_start_again() {
        let mut laps = Laps::new();
        laps.begin();
        let started = Instant::now();
        thread::sleep(Duration::from_millis(2));
        laps.end(Operation::Attention);
        laps.end(Operation::Gate);
        thread::sleep(Duration::from_millis(2));
        laps.begin();
        laps.end(Operation::Other);
        let (profile, elapsed) = (laps.take(), started.elapsed().as_nanos() as u64);
        assert!(profile.ns(Operation::Attention) >= 2_000_000 && profile.ns(Operation::Linear) == 0);
        // What lies between an end and a beginning belongs to none.
        assert!(profile.total_ns() + 2_000_000 <= elapsed + 1);
        assert_eq!(profile.plus(&profile).total_ns(), 2 * profile.total_ns());
        assert_eq!(laps.take(), Profile::default());
    }
}
