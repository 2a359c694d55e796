//! The same product by a kernel of another project.

use std::{sync::Arc, time::Instant};

use septet_kernels::{Level, SplitMix64};
use septet_peers::{Peer, Product, Threads, Weights};

use super::{FEWEST_BITS, Run};
use crate::{affinity, runner::RunError};

/// Copies of a peer's weights that take as many bytes as `planned` copies of the smallest of our own
/// formats; more than one where those are.
pub fn copies(peer: Peer, planned: usize) -> usize {
    let as_many = (planned as f64 * FEWEST_BITS / peer.bits_per_weight()).ceil() as usize;
    as_many.max(planned.min(2))
}

/// A seeded matrix of `rows × cols` in the format of `peer`, in `copies` copies.
///
/// # Errors
/// A peer that cannot run here, or has no kernel for the shape.
pub fn weights(peer: Peer, rows: usize, cols: usize, copies: usize, seed: u64) -> Result<Arc<Weights>, RunError> {
    let row = |row: usize, out: &mut [f32]| {
        let mut random = SplitMix64::new(seed ^ (row as u64) << 32);
        out.fill_with(|| random.normal_f32());
    };
    Ok(Arc::new(Weights::new(peer, rows, cols, copies, &row)?))
}

/// The product of a peer: it quantizes activations itself, where it does, so that its kernel time is all
/// of its time.
pub struct PeerProduct {
    product: Product,
    copies: usize,
    /// The copy that each repetition begins with.
    first: usize,
    /// Products of this repetition so far.
    products: usize,
    /// (columns, cols)
    x: Vec<f32>,
    /// (columns, rows)
    out: Vec<f32>,
    kernel_ns: u64,
}

impl PeerProduct {
    /// The product of the copies of `weights` in turn, beginning with number `first`, with `columns`
    /// seeded vectors, on `threads` threads that are bound as those of our own pool.
    ///
    /// # Errors
    /// Threads that the peer cannot have.
    pub fn new(
        weights: &Arc<Weights>,
        first: usize,
        columns: usize,
        threads: usize,
        seed: u64,
    ) -> Result<Self, RunError> {
        let threads = affinity::placement(threads).map_or_else(|_| Threads::free(threads), Threads::bound);
        let mut random = SplitMix64::new(seed);
        Ok(Self {
            product: Product::new(weights, columns, &threads)?,
            copies: weights.copies(),
            first,
            products: 0,
            x: (0..columns * weights.cols()).map(|_| random.normal_f32()).collect(),
            out: vec![0.0; columns * weights.rows()],
            kernel_ns: 0,
        })
    }
}

impl Run for PeerProduct {
    fn rewind(&mut self) {
        self.products = 0;
        self.kernel_ns = 0;
    }

    fn token(&mut self) -> Result<u64, RunError> {
        let copy = (self.first + self.products) % self.copies;
        self.products += 1;
        let clock = Instant::now();
        self.product.run(copy, &self.x, &mut self.out)?;
        let ns = clock.elapsed().as_nanos() as u64;
        self.kernel_ns += ns;
        Ok(ns)
    }

    fn rest(&mut self) {
        self.product.rest();
    }

    fn take_kernel_ns(&mut self) -> u64 {
        std::mem::take(&mut self.kernel_ns)
    }

    fn output(&self) -> &[f32] {
        &self.out
    }
}

/// Why a peer must not be timed, if it is wrong or cannot run: its products against those of its own
/// weights in f64.
pub fn wrong(peer: Peer, threads: usize) -> Option<String> {
    septet_peers::check::check(peer, threads).err().map(|error| format!("{} fails its check: {error}", peer.name()))
}
