//! Where the memory of a process lies, left to chance.
//!
//! Linux moves the stack of each process by multiples of 16 bytes, and its heap by whole pages: within its page,
//! an allocation of a program lies at the same place in every process. Whether it crosses lines or shares one
//! with another is then no noise that more processes average out, but a difference between two programs that
//! compute the same (Mytkowicz and others, Producing Wrong Data Without Doing Anything Obviously Wrong!, ASPLOS 2009).

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    hint::black_box,
};

/// Allocations begin at multiples of this many bytes.
const STEP: usize = 16;

/// Steps of a page.
const STEPS: u64 = 4096 / STEP as u64;

/// Moves what this thread allocates from now on by a random part of a page, for as long as the process lives; not
/// allocations so large that the system gives them pages of their own.
pub fn scatter_heap() {
    let steps = RandomState::new().build_hasher().finish() % STEPS;
    black_box(Vec::<u8>::with_capacity(steps as usize * STEP)).leak();
}
