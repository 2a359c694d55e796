//! Canonical `f32` operations: everything in a decoder that is not a quantized product.
//!
//! Each operation has one documented order of rounding, so that its bits do not depend on the
//! instruction set, on the number of threads or on which variant of a kernel ran before it:
//!
//! - reductions run in **sixteen virtual lanes** folded by a fixed tree (see [`lanes`]), which a
//!   compiler can map to registers of any width without changing a bit;
//! - sums over a residual stream fold [`lanes::TILE`]-element tiles in ascending order, so that a
//!   kernel that owns whole tiles can contribute its part;
//! - there is no fused multiply-add, and `exp`, `sin`, `cos` and `ln` are our own polynomials, never
//!   the platform's.

pub mod exp;
pub mod lanes;
pub mod linear;
pub mod norm;
pub mod rope;
pub mod silu;
pub mod softmax;
pub mod trig;
