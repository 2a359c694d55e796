//! The difference of two means whose samples share nothing, not even their spread (Welch, "The
//! Generalization of `Student's' Problem when Several Different Population Variances are Involved",
//! Biometrika 34, 1947).

use super::student::Estimate;

/// Mean of `b` minus mean of `a`, with an interval of coverage `confidence`; `n` of the estimate is the
/// smaller number of values. `None` without values on one side; one value alone does not bound it.
pub fn difference(a: &[f64], b: &[f64], confidence: f64) -> Option<Estimate> {
    let n = a.len().min(b.len());
    if n == 0 {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let difference = mean(b) - mean(a);
    if n == 1 {
        return Some(Estimate::unbounded(n, difference));
    }
    // Squared standard error of a mean.
    let squared_error = |values: &[f64]| {
        let (mean, n) = (mean(values), values.len() as f64);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
    };
    let (of_a, of_b) = (squared_error(a), squared_error(b));
    let both = of_a + of_b;
    // Satterthwaite's degrees of freedom. Values without any spread leave them open, and do not need them.
    let freedom = match both > 0.0 {
        true => both.powi(2) / (of_a.powi(2) / (a.len() - 1) as f64 + of_b.powi(2) / (b.len() - 1) as f64),
        false => (n - 1) as f64,
    };
    Some(Estimate::of_error(n, difference, both.sqrt(), freedom, confidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    /// Student's sleep data taken as two groups, as `t.test(extra ~ group, data = sleep)` in R does:
    /// t = -1.8608, df = 17.776, p-value = 0.07939, interval -3.3654832 to 0.2054832.
    #[test]
    fn the_sleep_data_in_two_groups() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let estimate = difference(&first, &second, 0.95).expect("values");
        assert_eq!(estimate.n, 10);
        close(estimate.mean, 1.58, 1e-12);
        close(estimate.p, 0.079_394, 1e-6);
        close(estimate.interval.low, -0.205_483_2, 1e-6);
        close(estimate.interval.high, 3.365_483_2, 1e-6);
        let mirrored = difference(&second, &first, 0.95).expect("values");
        close(mirrored.interval.low, -estimate.interval.high, 1e-12);
    }

    #[test]
    fn none_one_and_no_spread() {
        assert_eq!(difference(&[], &[1.0], 0.95), None);
        let one = difference(&[1.0], &[2.0, 3.0], 0.95).expect("values");
        assert!(!one.interval.is_bounded() && one.p == 1.0 && one.n == 1);
        let same = difference(&[1.0; 3], &[1.0; 4], 0.95).expect("values");
        assert_eq!((same.mean, same.p, same.interval.low, same.interval.high), (0.0, 1.0, 0.0, 0.0));
        let apart = difference(&[1.0; 3], &[2.0; 3], 0.95).expect("values");
        assert_eq!((apart.p, apart.interval.low), (0.0, 1.0));
    }

    /// Unequal spreads and sizes: freedom lies between the smaller sample's and that of both.
    #[test]
    fn the_noisier_side_decides() {
        let quiet = [1.0, 1.001, 0.999, 1.0, 1.001, 0.999];
        let noisy = [1.0, 1.2, 0.8];
        let estimate = difference(&quiet, &noisy, 0.95).expect("values");
        let alone = Estimate::of(&noisy, 0.95).expect("values");
        let width = |estimate: &Estimate| estimate.interval.high - estimate.interval.low;
        close(width(&estimate) / width(&alone), 1.0, 1e-3);
    }
}
