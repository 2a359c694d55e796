//! Exponential and logarithm, from polynomials of our own.
//!
//! [`exp`] is the hot one, in `f32`: `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, a polynomial for
//! `exp(r)`, and `2ⁿ` put into the exponent bits. [`exp_f64`] and [`ln_f64`] serve tables and
//! statistics, where clarity and accuracy matter and speed does not.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// Adding and subtracting 1.5·2²³ rounds an `f32` below 2²² to the nearest integer, ties to even.
const ROUND_F32: f32 = 12_582_912.0;
/// The same for `f64`, with 1.5·2⁵².
pub(super) const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// `ln 2` in two parts; the product of the first with an integer below 2⁹ is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// The same for `f64` and integers below 2²⁰ (fdlibm `e_exp.c`).
const LN_2_HIGH_F64: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW_F64: f64 = 1.908_214_929_270_587_7e-10;

/// Minimax coefficients of `(exp(r) − 1 − r) / r²` on `|r| ≤ ln 2 / 2`, highest power first
/// (Cephes `expf`, Moshier 1992).
const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// Above this, `exp` overflows to infinity.
const LARGEST: f32 = 88.722_83;
/// Below this, the result would be subnormal and is flushed to zero.
const SMALLEST: f32 = -87.336_54;

/// `eˣ` with a relative error below 2⁻²²; zero instead of a subnormal, NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(SMALLEST, LARGEST);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND_F32;
    let n = shifted - ROUND_F32;
    let r = (clamped - n * LN_2_HIGH) - n * LN_2_LOW;
    let polynomial = EXP[1..].iter().fold(EXP[0], |p, c| p * r + c);
    let mantissa = (polynomial * (r * r) + r) + 1.0;
    // The last bits of `shifted` are n: a conversion of n would also have to saturate.
    let n = shifted.to_bits().wrapping_sub(ROUND_F32.to_bits()) as i32;
    // n reaches 128, one more than the exponent of a finite f32: two factors keep both in range.
    let value = (mantissa * power_of_two(n >> 1)) * power_of_two(n - (n >> 1));
    if x > LARGEST {
        f32::INFINITY
    } else if x < SMALLEST {
        0.0
    } else {
        value
    }
}

/// `2ⁿ` for `n` in −126…127; some number for any other `n`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `eˣ` for |x| ≤ 700 with a relative error below 10⁻¹⁵; beyond, 0 or infinity.
pub fn exp_f64(x: f64) -> f64 {
    if x > 700.0 {
        return f64::INFINITY;
    }
    if x < -700.0 {
        return 0.0;
    }
    let n = (x * LOG2_E + ROUND_F64) - ROUND_F64;
    let r = (x - n * LN_2_HIGH_F64) - n * LN_2_LOW_F64;
    // Taylor in Horner form: the first term left out is below 0.35¹⁵ / 15! ≈ 10⁻¹⁹.
    let mantissa = (1..=14).rev().fold(1.0, |p, k| 1.0 + p * r / f64::from(k));
    mantissa * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// `ln x` of a positive normal number, with an absolute error below 10⁻¹⁵·(1 + |ln x|).
pub fn ln_f64(x: f64) -> f64 {
    let mut exponent = ((x.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((x.to_bits() & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2·atanh t with t = (m − 1)/(m + 1), |t| ≤ 0.172: t²³ / 23 < 10⁻¹⁸.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = (0..11).rev().fold(0.0, |p, k| p * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * t * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_its_bound_of_f64() {
        let mut worst = 0.0_f64;
        for i in -873_000..=887_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2.0_f64.powi(-22), "worst relative error {worst:e}");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(LARGEST).is_finite() && exp(SMALLEST) >= f32::MIN_POSITIVE);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn wide_exp_and_ln_are_within_their_bounds() {
        for i in -6900..=6900 {
            let x = f64::from(i) * 0.1;
            assert!((exp_f64(x) / x.exp() - 1.0).abs() < 1e-15, "exp({x})");
        }
        for i in 1..10_000 {
            let x = f64::from(i) * 0.37;
            let error = (ln_f64(x) - x.ln()).abs();
            assert!(error <= 1e-15 * (1.0 + x.ln().abs()), "ln({x}): {error:e}");
        }
        assert_eq!(ln_f64(1.0), 0.0);
    }
}
