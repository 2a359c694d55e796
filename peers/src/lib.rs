//! The matrix products of other projects, behind one interface, to be timed in one process with the
//! kernels of septet.
//!
//! A [`Peer`] is a kernel of another project together with the format of its weights. [`Weights`]
//! are a matrix in that format, in several copies at distinct addresses; a [`Product`] multiplies
//! them with a number of columns on a number of threads, thousands of times.
//!
//! ```
//! use std::sync::Arc;
//! use septet_peers::{Level, Peer, Product, Threads, Weights};
//!
//! for &peer in Peer::ALL {
//!     if let Err(reason) = peer.available() {
//!         println!("{peer} is left out: {reason}");
//!         continue;
//!     }
//!     let (rows, cols, copies, columns) = (64, 256, 2, 3);
//!     let row = |row: usize, out: &mut [f32]| out.fill(row as f32 / 64.0);
//!     let weights = Arc::new(Weights::new(peer, rows, cols, copies, &row)?);
//!     let mut product = Product::new(&weights, columns, &Threads::free(2))?;
//!     let (x, mut out) = (vec![0.5; columns * cols], vec![0.0; columns * rows]);
//!     for copy in 0..copies {
//!         product.run(copy, &x, &mut out)?;
//!     }
//!     product.rest();
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Peers take f32 activations and give f32 results. Those that quantize activations do so inside of
//! every product, as in their own programs, so it is a part of their time.
//!
//! Each library is a feature of its own (`ggml`, `gemm`, `openblas`), and `unsafe` is in one module
//! for each. Without its feature a peer is still listed, and [`Peer::available`] says why it cannot
//! run.

#![deny(unsafe_code, missing_docs)]

#[cfg(feature = "gemm")]
mod affinity;
pub mod check;
#[cfg(any(feature = "gemm", feature = "openblas"))]
mod dense;
mod error;
mod facts;
#[cfg(feature = "gemm")]
mod gemm;
#[cfg(feature = "ggml")]
mod ggml;
mod library;
#[cfg(feature = "openblas")]
mod openblas;
mod peer;
mod product;
mod weights;

pub use septet_kernels::Level;

pub use self::{
    error::Error,
    facts::facts,
    peer::{Activations, Peer},
    product::{MAX_THREADS, Product, Threads},
    weights::{DISTINCT_ROWS, Weights},
};
