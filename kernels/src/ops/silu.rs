//! The SwiGLU activation: `silu(g)·u` with `silu(g) = g / (1 + exp(−g))`.

use super::exp::exp;
use crate::isa::portable::{self, Portable};

/// Overwrites each gate with `(g / (1 + exp(−g)))·u`, with a relative error below 2⁻²¹ where
/// |g| ≤ 87 and nothing is subnormal; beyond, within `2⁻¹¹⁸·|u|` of a value as small as that.
///
/// # Panics
///
/// When the lengths differ.
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up of unequal lengths");
    portable::run(&mut Swiglu { gate, up });
}

pub(super) struct Swiglu<'a> {
    pub(super) gate: &'a mut [f32],
    pub(super) up: &'a [f32],
}

impl Portable for Swiglu<'_> {
    #[inline(always)]
    fn run(&mut self) {
        swiglu_here(self.gate, self.up);
    }
}

/// [`swiglu`] with the instructions of the caller. A function, because its arguments are known not
/// to overlap.
#[inline(always)]
fn swiglu_here(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = (*g / (1.0 + exp(-*g))) * u;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swiglu_is_within_its_bound_of_f64() {
        let gates: Vec<f32> = (-87_000..=87_000).map(|i| i as f32 * 1e-3).collect();
        let ups: Vec<f32> = gates.iter().map(|g| 0.7 - g).collect();
        let mut got = gates.clone();
        swiglu(&mut got, &ups);
        for ((got, g), u) in got.iter().zip(&gates).zip(&ups) {
            let (g, u) = (f64::from(*g), f64::from(*u));
            let exact = g / (1.0 + (-g).exp()) * u;
            let error = (f64::from(*got) - exact).abs();
            assert!(error <= 2.0_f64.powi(-21) * exact.abs(), "silu({g})·{u}: error {error:e}");
        }
        let mut far = [-87.3, -88.0, -88.5, -89.0, -100.0, -1e30];
        let exact = far.map(|g| f64::from(g) / (1.0 + f64::from(-g).exp()) * 3.0);
        swiglu(&mut far, &[3.0; 6]);
        for (got, exact) in far.iter().zip(exact) {
            assert!((f64::from(*got) - exact).abs() <= 3.0 * 2.0_f64.powi(-118));
        }
    }

    #[test]
    fn is_finite_at_the_extremes() {
        let mut gate = [-1e30, -100.0, 0.0, 100.0];
        swiglu(&mut gate, &[1.0; 4]);
        assert_eq!(gate, [-0.0, -0.0, 0.0, 100.0]);
    }
}
