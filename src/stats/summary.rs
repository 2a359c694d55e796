//! Medians and quantiles, and how far a median can be trusted.

use super::Interval;

/// The quantile `q` in 0…1 by linear interpolation between order statistics: definition 7 of
/// Hyndman and Fan, "Sample Quantiles in Statistical Packages" (The American Statistician 50(4),
/// 1996). `None` without values.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let sorted = sorted(values);
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    Some(sorted[below] + (position - below as f64) * (sorted[above] - sorted[below]))
}

/// The middle value, or the mean of the two middle ones. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// An interval for the median of the population: the narrowest symmetric pair of order statistics
/// that covers it with probability `confidence` or more, whatever the distribution (Hahn and
/// Meeker, "Statistical Intervals", 1991, section 5.2). Speed on a shared host is often bimodal;
/// there an interval of the mean need not even contain the median.
///
/// With fewer than six values no pair reaches 95 %: then it is the whole range, which covers less.
/// `None` without values.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let sorted = sorted(values);
    let n = sorted.len();
    let last = n.checked_sub(1)?;
    // Values beyond each end of the pair; P(miss on one side) = P(Binomial(n, 1/2) <= beyond).
    let mut beyond = 0;
    let mut mass = 0.5_f64.powi(n as i32);
    let mut tail = mass;
    loop {
        mass *= (n - beyond) as f64 / (beyond + 1) as f64;
        tail += mass;
        if 1.0 - 2.0 * tail < confidence || 2 * (beyond + 1) > last {
            break;
        }
        beyond += 1;
    }
    Some(Interval { low: sorted[beyond], high: sorted[last - beyond] })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_definition_seven() {
        let values = [40.0, 15.0, 50.0, 20.0, 35.0];
        assert_eq!(quantile(&values, 0.4), Some(29.0));
        assert_eq!(quantile(&values, 0.0), Some(15.0));
        assert_eq!(quantile(&values, 1.0), Some(50.0));
    }

    #[test]
    fn medians_of_odd_even_one_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    /// Ranks from the table of the sign test: 95 % intervals are (1, 6), (2, 9), (6, 15), (10, 21).
    #[test]
    fn order_statistics_of_the_published_table() {
        for (n, low, high) in [(6, 1.0, 6.0), (10, 2.0, 9.0), (20, 6.0, 15.0), (30, 10.0, 21.0)] {
            let ranks: Vec<f64> = (1..=n).map(f64::from).collect();
            assert_eq!(median_interval(&ranks, 0.95), Some(Interval { low, high }), "n = {n}");
        }
    }

    #[test]
    fn too_few_blocks_give_the_whole_range() {
        assert_eq!(median_interval(&[], 0.95), None);
        let one = Interval { low: 5.0, high: 5.0 };
        assert_eq!(median_interval(&[5.0], 0.95), Some(one));
        let range = Interval { low: 1.0, high: 5.0 };
        assert_eq!(median_interval(&[3.0, 1.0, 5.0, 2.0], 0.95), Some(range));
    }
}
