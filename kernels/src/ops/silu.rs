//! The SwiGLU activation: `silu(g)·u` with `silu(g) = g / (1 + exp(−g))`.

use super::exp::exp;

/// Overwrites each gate with `(g / (1 + exp(−g)))·u`.
///
/// # Panics
///
/// When the lengths differ.
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up of unequal lengths");
    for (g, u) in gate.iter_mut().zip(up) {
        *g = (*g / (1.0 + exp(-*g))) * u;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64() {
        let gates: Vec<f32> = (-400..400).map(|i| i as f32 * 0.05).collect();
        let ups: Vec<f32> = gates.iter().map(|g| 0.7 - g).collect();
        let mut got = gates.clone();
        swiglu(&mut got, &ups);
        for ((got, g), u) in got.iter().zip(&gates).zip(&ups) {
            let (g, u) = (f64::from(*g), f64::from(*u));
            let exact = g / (1.0 + (-g).exp()) * u;
            assert!((f64::from(*got) - exact).abs() <= 1e-6 * (1e-3 + exact.abs()));
        }
    }

    #[test]
    fn is_finite_at_the_extremes() {
        let mut gate = [-1e30, -100.0, 0.0, 100.0];
        swiglu(&mut gate, &[1.0; 4]);
        assert_eq!(gate, [-0.0, -0.0, 0.0, 100.0]);
    }
}
