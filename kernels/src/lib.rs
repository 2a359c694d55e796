//! Kernels for 3-, 3.5- and 4-bit weights on CPUs: matrix times vector, every optimization an axis,
//! and matrix times many vectors ([`gemm`]).
//!
//! A [`Format`] says which numbers exist, a [`Layout`] how their codes lie in memory, an [`Unpack`]
//! strategy how fields become integers, an [`Isa`] which vector operations there are, and
//! [`Unroll`] how many accumulators are in flight. A *kernel* is one point of that product,
//! compiled by monomorphization and erased to a function pointer ([`registry`]). [`Prefetch`],
//! [`Blocking`], [`Shape`], epilogue ([`Output`]) and [`Granularity`] of scales are data. Every kernel on every
//! instruction set gives the bits of [`reference::gemv`].
//!
//! ```
//! use septet_kernels::*;
//! let weights: Vec<f32> = (0..64 * 256).map(|i| (i as f32).sin()).collect();
//! let matrix = QuantizedMatrix::quantize(&weights, 64, 256, Format::W3p5, Granularity::Group128)?;
//! let packed = PackedMatrix::pack(&matrix, Layout::Dense)?;
//! let x = vec![0.5; 256];
//! let mut operand = Activations::with_capacity(256);
//! operand.quantize(&x, packed.segment())?;
//!
//! let variant = "gemv/w3p5/dense/bit_parallel/u4/scalar".parse()?;
//! let kernel = registry::find(variant).expect("scalar kernels are always compiled").bind()?;
//! let mut y = vec![0.0; 64];
//! kernel.gemv(GemvJob {
//!     weights: &packed,
//!     activations: &operand,
//!     tiles: 0..1,
//!     output: Output::Store(&mut y),
//!     prefetch: Prefetch::None,
//!     scratch: &mut Scratch::default(),
//! });
//! assert_eq!(y, reference::gemv(&matrix, &x));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code, missing_docs)]

mod activations;
mod block;
pub mod check;
mod error;
pub mod format;
pub mod gemm;
mod gemv;
mod granularity;
#[allow(unsafe_code)]
mod isa;
pub mod layout;
mod level;
pub mod ops;
mod packed;
mod pages;
mod quantized;
mod random;
pub mod reference;
pub mod registry;
pub mod roof;
mod scale;
mod scale_search;
mod shape;
pub mod unpack;
mod variant;

pub use activations::Activations;
pub use error::{Missing, NonFinite, QuantizeError, UncompiledShape};
pub use format::Format;
pub use gemm::{ActivationBatch, GemmJob};
pub use gemv::{Blocking, GemvJob, Output, PREFETCH_DISTANCE, Prefetch, Scratch, TILE_BUFFER};
pub use granularity::{Granularity, MAX_SEGMENT, TILE_ROWS};
pub use isa::Isa;
pub use layout::Layout;
pub use level::{Level, UnknownLevel};
pub use packed::{PackedMatrix, PackedShape, SharedBytes};
pub use pages::{HUGE_PAGE, PagedBytes, Pages};
pub use quantized::QuantizedMatrix;
pub use random::SplitMix64;
pub use registry::{BoundKernel, Kernel};
pub use shape::{COMPILED_COLS, Shape};
pub use unpack::Unpack;
pub use variant::{ParseVariantError, Unroll, Variant};
