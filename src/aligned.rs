//! Numbers that begin where a cache line does.

use std::ops::{Deref, DerefMut};

/// Bytes of a line, or a multiple of them, on any CPU that kernels are for.
const LINE: usize = 64;

/// Zeros at the beginning of a line: parts of several threads that are cut at whole lines share none. What a
/// line is shared by, its writers wait for, and an ordinary allocation begins at any sixteenth byte of one.
pub struct LineAligned {
    memory: Vec<f32>,
    start: usize,
    length: usize,
}

impl LineAligned {
    pub fn zeroed(length: usize) -> Self {
        let most = LINE / size_of::<f32>();
        let memory = vec![0.0; length + most];
        // A system that does not tell where it lies gets an ordinary beginning.
        let start = memory.as_ptr().align_offset(LINE).min(most);
        Self { memory, start, length }
    }
}

impl Deref for LineAligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.length]
    }
}

impl DerefMut for LineAligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_begins_at_a_line() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let mut numbers = LineAligned::zeroed(length);
            assert_eq!((numbers.len(), numbers.as_ptr() as usize % LINE), (length, 0));
            numbers.fill(1.0);
            assert!(numbers.iter().all(|number| *number == 1.0));
        }
    }
}
