//! How far a share of few trials can be trusted, and whether two outcomes come equally often.

use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

use super::Interval;

/// The exact interval for the probability of what happened `found` times in `trials` (Clopper and
/// Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
/// Biometrika 26(4), 1934): quantiles of beta distributions. It covers with probability `confidence`
/// (0.95) or more, whatever the true probability. Without trials nothing is known: 0 to 1.
///
/// `found` is at most `trials`.
pub fn clopper_pearson(found: usize, trials: usize, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    let (k, n) = (found as f64, trials as f64);
    let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).expect("positive shapes").inverse_cdf(q);
    Interval {
        low: if found == 0 { 0.0 } else { quantile(k, n - k + 1.0, tail) },
        high: if found >= trials { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - tail) },
    }
}

/// Two-sided p of the sign test: of `trials` differences `positive` are above zero, which would be
/// half of them if arm and reference were the same. Exact, from the binomial distribution.
pub fn sign_test(positive: usize, trials: usize) -> f64 {
    let rarer = positive.min(trials - positive) as u64;
    let binomial = Binomial::new(0.5, trials as u64).expect("a probability");
    (2.0 * binomial.cdf(rarer)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    /// Computed apart from this program and without the beta function: the probability at which the
    /// sum of the binomial tail itself is 0.025, by bisection.
    #[test]
    fn intervals_are_where_the_tails_of_the_binomial_are_half_of_alpha() {
        for (found, trials, low, high) in [
            (7, 150, 0.018_965_569_634_6, 0.093_785_864_987_8),
            (10, 100, 0.049_004_689_221_5, 0.176_222_597_740_0),
            (1, 20, 0.001_265_089_497_9, 0.248_732_762_772_0),
            (160, 200, 0.737_773_635_410_4, 0.853_105_511_784_1),
            (150, 150, 0.975_707_402_833_9, 1.0),
        ] {
            let interval = clopper_pearson(found, trials, 0.95);
            close(interval.low, low);
            close(interval.high, high);
        }
    }

    /// 10 of 100 as in printed tables (4.90 %, 17.62 %); none in n trials has the closed form
    /// 1 − (α/2)^(1/n).
    #[test]
    fn published_and_closed_forms() {
        let ten = clopper_pearson(10, 100, 0.95);
        assert_eq!(format!("{:.4} {:.4}", ten.low, ten.high), "0.0490 0.1762");
        for trials in [1, 6, 60, 200, 4000] {
            let none = clopper_pearson(0, trials, 0.95);
            close(none.low, 0.0);
            close(none.high, 1.0 - 0.025_f64.powf(1.0 / trials as f64));
            let all = clopper_pearson(trials, trials, 0.95);
            close(all.low, 0.025_f64.powf(1.0 / trials as f64));
            close(all.high, 1.0);
        }
        assert_eq!(clopper_pearson(0, 0, 0.95), Interval { low: 0.0, high: 1.0 });
    }

    /// Sums of binomial coefficients over powers of two, as exact fractions.
    #[test]
    fn sign_tests_are_sums_of_binomial_coefficients() {
        for (positive, trials, p) in [
            (8, 10, 112.0 / 1024.0),
            (5, 10, 1.0),
            (0, 6, 2.0 / 64.0),
            (60, 100, 0.056_887_933_641),
            (88, 150, 0.040_868_493_866),
        ] {
            close(sign_test(positive, trials), p);
            close(sign_test(trials - positive, trials), p);
        }
        close(sign_test(0, 0), 1.0);
    }
}
