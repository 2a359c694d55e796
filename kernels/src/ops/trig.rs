//! Sine and cosine in `f64`, for rotary tables.
//!
//! The angle is reduced by multiples of π/2, held in three parts so that positions in the millions
//! keep full accuracy; Taylor polynomials cover the remaining |r| ≤ π/4.

use std::f64::consts::FRAC_2_PI;

use super::exp::ROUND_F64;

/// π/2 in three parts; the products of the first two with an integer below 2²⁰ are exact
/// (fdlibm `e_rem_pio2.c`).
const FRAC_PI_2_PARTS: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];

/// `(sin x, cos x)` for |x| ≤ 10⁶, with an absolute error below 10⁻¹⁵.
pub fn sin_cos(x: f64) -> (f64, f64) {
    let quarter = (x * FRAC_2_PI + ROUND_F64) - ROUND_F64;
    let r = FRAC_PI_2_PARTS.iter().fold(x, |r, part| r - quarter * part);
    let (sin, cos) = (sin_near_zero(r), cos_near_zero(r));
    match (quarter as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// `r − r³/3! + r⁵/5! − …` to r¹⁷: the next term is below 0.79¹⁹ / 19! ≈ 10⁻¹⁹.
fn sin_near_zero(r: f64) -> f64 {
    let square = r * r;
    r * (1..=8).rev().fold(1.0, |p, k| 1.0 - p * square / f64::from(2 * k * (2 * k + 1)))
}

/// `1 − r²/2! + r⁴/4! − …` to r¹⁸.
fn cos_near_zero(r: f64) -> f64 {
    let square = r * r;
    (1..=9).rev().fold(1.0, |p, k| 1.0 - p * square / f64::from(2 * k * (2 * k - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64_at_positions_up_to_a_million() {
        for i in 0..200_000 {
            let x = f64::from(i) * 5.000_37 - 3.0;
            let (sin, cos) = sin_cos(x);
            assert!((sin - x.sin()).abs() < 1e-15, "sin({x})");
            assert!((cos - x.cos()).abs() < 1e-15, "cos({x})");
        }
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
    }
}
