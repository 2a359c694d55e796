//! Student's t: an interval for a mean, from few values (Student, "The Probable Error of a Mean",
//! Biometrika 6(1), 1908).
//!
//! A percentile bootstrap is not used: over 5, 10 and 20 blocks its nominal 95 % interval covers
//! about 85, 89 and 92 %, where this one covers 95 %, contaminated blocks included.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::Interval;

/// Power at which the minimum detectable effect is stated.
pub const POWER: f64 = 0.8;

/// What a sample says about the mean that it was drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of values: of blocks.
    pub n: usize,
    pub mean: f64,
    /// Of the mean. One value does not bound it: both ends are infinite.
    pub interval: Interval,
    /// Two-sided probability of a mean at least this far from zero if the true mean is zero.
    pub p: f64,
    /// The standard deviation of the values, or of as many values with this error of their mean; infinite for one
    /// value, which says nothing of it.
    pub spread: f64,
    /// What [`detectable`] says of this size and spread. Infinite for one value.
    pub detectable: f64,
}

impl Estimate {
    /// The mean of `values` with an interval of coverage `confidence` (0.95). `None` without values.
    pub fn of(values: &[f64], confidence: f64) -> Option<Estimate> {
        let n = values.len();
        let mean = match n {
            0 => return None,
            _ => values.iter().sum::<f64>() / n as f64,
        };
        let freedom = (n - 1) as f64;
        if n == 1 {
            return Some(Estimate::unbounded(n, mean));
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / freedom / n as f64).sqrt();
        Some(Estimate::of_error(n, mean, error, freedom, confidence))
    }

    /// The estimate whose standard error `error` was found with `freedom` degrees of freedom.
    pub(super) fn of_error(n: usize, mean: f64, error: f64, freedom: f64, confidence: f64) -> Estimate {
        let critical = t_quantile(1.0 - (1.0 - confidence) / 2.0, freedom);
        Estimate {
            n,
            mean,
            interval: Interval { low: mean - critical * error, high: mean + critical * error },
            p: two_sided(mean, error, freedom),
            spread: error * (n as f64).sqrt(),
            detectable: (critical + t_quantile(POWER, freedom)) * error,
        }
    }

    /// An estimate from too few values to say how far it may be off.
    pub(super) fn unbounded(n: usize, mean: f64) -> Estimate {
        let interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };
        Estimate { n, mean, interval, p: 1.0, spread: f64::INFINITY, detectable: f64::INFINITY }
    }
}

/// The smallest true mean that `n` values (two or more) of this spread tell from zero with power
/// [`POWER`]: (t(1 − α/2) + t(power)) · s/√n, after Bloom, "Minimum Detectable Effects" (Evaluation Review
/// 19(5), 1995).
pub fn detectable(spread: f64, n: usize, confidence: f64) -> f64 {
    let freedom = (n - 1) as f64;
    let critical = t_quantile(1.0 - (1.0 - confidence) / 2.0, freedom);
    (critical + t_quantile(POWER, freedom)) * spread / (n as f64).sqrt()
}

/// The fewest values, two or more and at most `most`, of this spread whose [`detectable`] mean is `effect`
/// or less; nothing if `most` are too few.
pub fn values_needed(spread: f64, effect: f64, confidence: f64, most: usize) -> Option<usize> {
    (2..=most).find(|&n| detectable(spread, n, confidence) <= effect)
}

/// The quantile `q` of Student's t with this many degrees of freedom (at least one).
pub fn t_quantile(q: f64, freedom: f64) -> f64 {
    student(freedom).inverse_cdf(q)
}

/// P(|T| ≥ |mean| / error). Values without any spread are certain: 0, or 1 for a mean of zero.
fn two_sided(mean: f64, error: f64, freedom: f64) -> f64 {
    if mean == 0.0 {
        1.0
    } else if error == 0.0 {
        0.0
    } else {
        (2.0 * student(freedom).sf((mean / error).abs())).min(1.0)
    }
}

fn student(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("one degree of freedom or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    /// Quantiles as printed in every t table.
    #[test]
    fn published_quantiles() {
        for (q, freedom, expected) in [
            (0.975, 1.0, 12.706),
            (0.975, 4.0, 2.776),
            (0.975, 9.0, 2.262),
            (0.975, 19.0, 2.093),
            (0.975, 120.0, 1.980),
            (0.8, 9.0, 0.883),
            (0.995, 9.0, 3.250),
        ] {
            close(t_quantile(q, freedom), expected, 5e-4);
        }
    }

    /// Student's own example: the extra sleep of ten patients (columns 1 and 2 of his table).
    #[test]
    fn the_sleep_data_of_1908() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let gain: Vec<f64> = first.iter().zip(second).map(|(a, b)| b - a).collect();
        let estimate = Estimate::of(&gain, 0.95).expect("ten values");
        close(estimate.mean, 1.58, 1e-12);
        close(estimate.interval.low, 0.700_114_2, 1e-6);
        close(estimate.interval.high, 2.459_885_8, 1e-6);
        close(estimate.p, 0.002_832_89, 1e-7);
    }

    /// Section B8 of the protocol: 10 blocks with a spread of 2 % detect 2 %.
    #[test]
    fn detectable_effect_of_ten_blocks() {
        let unit = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let spread: Vec<f64> = unit.iter().map(|u| u * 0.02 * 0.9_f64.sqrt()).collect();
        let estimate = Estimate::of(&spread, 0.95).expect("ten values");
        close(estimate.detectable, (2.262 + 0.883) * 0.02 / 10.0_f64.sqrt(), 1e-5);
    }

    /// The table of section B8 of the protocol, for spreads of 1 and 2 % and α of 0.05: what 10, 20 and 50
    /// blocks detect, in percent; and back from the effect to the number.
    #[test]
    fn effects_and_numbers_of_blocks_are_inverse() {
        for (spread, n, percent) in
            [(0.01, 10, 1.0), (0.01, 20, 0.7), (0.01, 50, 0.4), (0.02, 10, 2.0), (0.02, 20, 1.3)]
        {
            let effect = detectable(spread, n, 0.95);
            close(100.0 * effect, percent, 0.05);
            assert_eq!(values_needed(spread, effect, 0.95, 1000), Some(n));
            assert_eq!(values_needed(spread, effect, 0.95, n - 1), None);
        }
        assert_eq!(values_needed(0.0, 0.01, 0.95, 1000), Some(2));
    }

    #[test]
    fn no_value_one_value_and_no_spread() {
        assert_eq!(Estimate::of(&[], 0.95), None);
        let one = Estimate::of(&[0.5], 0.95).expect("one value");
        assert!(!one.interval.is_bounded() && one.p == 1.0 && one.detectable.is_infinite());
        let same = Estimate::of(&[0.5; 4], 0.95).expect("four values");
        assert_eq!((same.interval.low, same.interval.high, same.p), (0.5, 0.5, 0.0));
        let zero = Estimate::of(&[0.0; 4], 0.95).expect("four values");
        assert_eq!((zero.mean, zero.p), (0.0, 1.0));
    }
}
