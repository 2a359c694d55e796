//! The mean over things that come in clusters, such as the predictions of a window of a text: those of one window
//! resemble each other, so windows are counted and not predictions.

use super::student::Estimate;

/// `Σ sum / Σ size` over clusters of `(sum, size)`, with an interval of coverage `confidence`: the ratio estimator, with
/// Student's t over clusters (Cochran, *Sampling Techniques*, 3rd edition, 1977, section 6.4). `None` where all
/// sizes are zero; one cluster alone does not bound it.
pub fn ratio(clusters: &[(f64, usize)], confidence: f64) -> Option<Estimate> {
    let n = clusters.iter().filter(|(_, size)| *size > 0).count();
    let size: f64 = clusters.iter().map(|(_, size)| *size as f64).sum();
    if size == 0.0 {
        return None;
    }
    let ratio = clusters.iter().map(|(sum, _)| sum).sum::<f64>() / size;
    if n == 1 {
        return Some(Estimate::unbounded(n, ratio));
    }
    let squares: f64 = clusters.iter().map(|(sum, size)| (sum - ratio * *size as f64).powi(2)).sum();
    let freedom = (n - 1) as f64;
    let error = (n as f64 * squares / freedom).sqrt() / size;
    Some(Estimate::of_error(n, ratio, error, freedom, confidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_one_size_are_values() {
        let values = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let (of_values, of_clusters) =
            (Estimate::of(&values, 0.95), ratio(&values.map(|value| (4.0 * value, 4)), 0.95));
        let (a, b) = (of_values.expect("values"), of_clusters.expect("clusters"));
        for (a, b) in [(a.mean, b.mean), (a.interval.low, b.interval.low), (a.interval.high, b.interval.high)] {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn larger_clusters_count_more() {
        // r = 12/6; residuals 1 - 2, 2 - 2·2, 9 - 3·2: squares 1, 4, 9; error = √(3·14/2)/6.
        let estimate = ratio(&[(1.0, 1), (2.0, 2), (9.0, 3)], 0.95).expect("clusters");
        assert_eq!((estimate.n, estimate.mean), (3, 2.0));
        let error = 21.0_f64.sqrt() / 6.0;
        assert!((estimate.interval.high - 2.0 - 4.302_652_729_9 * error).abs() < 1e-8, "{estimate:?}");
    }

    /// 95 of 100 intervals hold the mean of a population of unequal clusters.
    #[test]
    fn intervals_cover_what_they_say() {
        let mut random = septet_kernels::SplitMix64::new(5);
        let (mut covered, trials) = (0, 4000);
        for _ in 0..trials {
            let clusters: Vec<(f64, usize)> = (0..30)
                .map(|_| {
                    let size = 50 + (random.next() % 20) as usize;
                    (size as f64 * (3.0 + 0.5 * f64::from(random.normal_f32())), size)
                })
                .collect();
            covered += usize::from(ratio(&clusters, 0.95).expect("clusters").interval.contains(3.0));
        }
        let share = covered as f64 / f64::from(trials);
        assert!((share - 0.95).abs() < 0.01, "{share}");
    }

    #[test]
    fn none_and_one() {
        assert_eq!(ratio(&[], 0.95), None);
        assert_eq!(ratio(&[(0.0, 0)], 0.95), None);
        let one = ratio(&[(3.0, 2)], 0.95).expect("a cluster");
        assert!(one.mean == 1.5 && !one.interval.is_bounded());
        // What is empty is no cluster.
        assert_eq!(ratio(&[(3.0, 2), (0.0, 0)], 0.95), Some(one));
    }
}
