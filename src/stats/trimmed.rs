//! A mean without the values farthest out, for samples whose tails are long.
//!
//! Of sorted values a fifth is left out at each end. The error of the mean of the rest comes from the values in
//! which each that was left out is replaced by the nearest one that was not, with as many degrees of freedom as
//! values are left, less one (Tukey and McLaughlin, "Less Vulnerable Confidence and Significance Procedures for
//! Location Based on a Single Sample: Trimming/Winsorization 1", Sankhyā A 25(3), 1963). What is left out is fixed
//! by number before any value is seen, the same at both ends, and no value is called wrong.
//!
//! Between two programs it is the estimate for pairs: most pairs agree closely, and in a few, one process is slower
//! than the other for as long as it lives. Of a symmetric distribution it estimates the mean.

use super::student::Estimate;

/// Part of the values that is left out at each end.
const PART: f64 = 0.2;

impl Estimate {
    /// The trimmed mean of `values` with an interval of coverage `confidence` (0.95); of fewer than five values their
    /// mean. `None` without values.
    pub fn trimmed(values: &[f64], confidence: f64) -> Option<Estimate> {
        let n = values.len();
        let cut = (PART * n as f64) as usize;
        if cut == 0 {
            return Estimate::of(values, confidence);
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let left = &sorted[cut..n - cut];
        let mean = left.iter().sum::<f64>() / left.len() as f64;
        let (low, high) = (left[0], left[left.len() - 1]);
        let drawn_in: Vec<f64> = values.iter().map(|value| value.clamp(low, high)).collect();
        let center = drawn_in.iter().sum::<f64>() / n as f64;
        let squares: f64 = drawn_in.iter().map(|value| (value - center).powi(2)).sum();
        let freedom = (left.len() - 1) as f64;
        let error = (squares / (left.len() as f64 * freedom)).sqrt();
        Some(Estimate::of_error(n, mean, error, freedom, confidence))
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::SplitMix64;

    use super::*;

    /// By hand: 3 to 8 are left; 3 3 3 4 5 6 7 8 8 8 have squares of 42.5 around 5.5, and t(0.975, 5) is 2.570 582.
    #[test]
    fn ten_values_by_hand() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let estimate = Estimate::trimmed(&values, 0.95).unwrap();
        assert_eq!((estimate.n, estimate.mean), (10, 5.5));
        let half = 2.570_582 * (42.5_f64 / 30.0).sqrt();
        assert!(
            (estimate.interval.high - 5.5 - half).abs() < 1e-5 && (5.5 - estimate.interval.low - half).abs() < 1e-5
        );
    }

    #[test]
    fn values_far_out_count_as_the_farthest_that_are_left() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        let far = [-1e9, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1e12];
        assert_eq!(Estimate::trimmed(&values, 0.95), Estimate::trimmed(&far, 0.95));
    }

    #[test]
    fn few_values_are_not_trimmed() {
        for values in [&[][..], &[0.5], &[0.1, 0.2, 0.4, 9.0]] {
            assert_eq!(Estimate::trimmed(values, 0.95), Estimate::of(values, 0.95));
        }
        let same = Estimate::trimmed(&[0.0; 20], 0.95).unwrap();
        assert_eq!((same.mean, same.p), (0.0, 1.0));
    }

    /// Of normal values, and of those of which one in ten comes from a distribution that is ten times as wide.
    #[test]
    fn an_interval_covers_as_often_as_it_says() {
        for (n, wide) in [(16, 0.0), (16, 0.1), (20, 0.0), (20, 0.1)] {
            let mut random = SplitMix64::new(20_261_122);
            let trials = 20_000;
            let covered = (0..trials).filter(|_| {
                let values: Vec<f64> = (0..n)
                    .map(|_| {
                        let width =
                            if (random.next() >> 11) as f64 / (1_u64 << 53) as f64 >= wide { 1.0 } else { 10.0 };
                        width * f64::from(random.normal_f32())
                    })
                    .collect();
                let interval = Estimate::trimmed(&values, 0.95).unwrap().interval;
                interval.low <= 0.0 && 0.0 <= interval.high
            });
            let share = covered.count() as f64 / f64::from(trials);
            assert!((0.94..0.97).contains(&share), "{n} values, {wide} of them wide: {share}");
        }
    }
}
