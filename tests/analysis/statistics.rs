//! Properties of the statistics on random data: coverage, order, symmetry.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use septet::stats::contrast::{BlockTimes, contrast};
use septet::stats::holm::holm;
use septet::stats::student::Estimate;
use septet::stats::summary::{median, median_interval, quantile};

use crate::synthetic::gaussian;

const TRIALS: usize = 4000;

fn draw(random: &mut Pcg64, n: usize) -> Vec<f64> {
    (0..n).map(|_| gaussian(random)).collect()
}

/// Five standard errors of a share of about 95 % over [`TRIALS`].
fn near(share: f64, expected: f64) {
    assert!((share - expected).abs() < 0.017, "{share} is not {expected}");
}

#[test]
fn t_intervals_cover_as_often_as_they_say() {
    let mut random = Pcg64::seed_from_u64(1);
    for n in [3, 5, 10, 20] {
        let covered = (0..TRIALS)
            .filter_map(|_| Estimate::of(&draw(&mut random, n), 0.95))
            .filter(|estimate| estimate.interval.contains(0.0))
            .count();
        near(covered as f64 / TRIALS as f64, 0.95);
    }
}

/// The interval excludes zero exactly when p is below one minus its coverage.
#[test]
fn intervals_and_p_values_agree() {
    let mut random = Pcg64::seed_from_u64(2);
    for n in [2, 3, 10, 30] {
        for _ in 0..500 {
            let shifted: Vec<f64> = draw(&mut random, n).iter().map(|value| value + 0.5).collect();
            let estimate = Estimate::of(&shifted, 0.95).expect("values");
            assert_eq!(estimate.interval.contains(0.0), estimate.p >= 0.05, "{estimate:?}");
        }
    }
}

/// A true effect as large as the minimum detectable one is found about as often as promised.
#[test]
fn detectable_effects_are_detected() {
    let mut random = Pcg64::seed_from_u64(3);
    let n = 20;
    let unit = Estimate::of(&draw(&mut random, 100_000), 0.95).expect("values");
    assert!(unit.mean.abs() < 0.02);
    // (t(0.975, 19) + t(0.8, 19)) / √20 at a spread of one.
    let effect = (2.093 + 0.861) / 20.0_f64.sqrt();
    let found = (0..TRIALS)
        .filter(|_| {
            let values: Vec<f64> = draw(&mut random, n).iter().map(|value| value + effect).collect();
            Estimate::of(&values, 0.95).is_some_and(|estimate| estimate.p < 0.05)
        })
        .count();
    assert!((0.77..0.85).contains(&(found as f64 / TRIALS as f64)), "{found} of {TRIALS}");
}

#[test]
fn median_intervals_cover_at_least_as_often_as_they_say() {
    let mut random = Pcg64::seed_from_u64(4);
    for n in [6, 10, 20] {
        let covered = (0..TRIALS)
            .filter_map(|_| median_interval(&draw(&mut random, n), 0.95))
            .filter(|interval| interval.contains(0.0))
            .count();
        assert!(covered as f64 / TRIALS as f64 > 0.95 - 0.017, "{covered} of {TRIALS} at n = {n}");
    }
}

#[test]
fn quantiles_rise_and_medians_lie_in_their_intervals() {
    let mut random = Pcg64::seed_from_u64(5);
    for n in 1..40 {
        let values = draw(&mut random, n);
        let quantiles: Vec<f64> = (0..=20).filter_map(|k| quantile(&values, f64::from(k) / 20.0)).collect();
        assert!(quantiles.len() == 21 && quantiles.is_sorted());
        let interval = median_interval(&values, 0.95).expect("values");
        assert!(median(&values).is_some_and(|median| interval.contains(median)));
    }
}

/// Adjusted values keep the order of the raw ones, never fall below them, and never exceed
/// Bonferroni's.
#[test]
fn holm_lies_between_no_correction_and_bonferroni() {
    let mut random = Pcg64::seed_from_u64(6);
    for n in 1..30 {
        let p: Vec<f64> = draw(&mut random, n).iter().map(|value| (-value.abs()).exp()).collect();
        let adjusted = holm(&p);
        for (raw, corrected) in p.iter().zip(&adjusted) {
            assert!(raw <= corrected && *corrected <= (raw * n as f64).min(1.0) + 1e-12);
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
        assert!(order.windows(2).all(|pair| adjusted[pair[0]] <= adjusted[pair[1]]));
    }
}

/// Units do not matter, and the order of blocks does not either.
#[test]
fn contrasts_ignore_units() {
    let mut random = Pcg64::seed_from_u64(7);
    let mut times =
        || -> BlockTimes { (0..12).zip(draw(&mut random, 12)).map(|(b, x)| (b, (0.1 * x).exp())).collect() };
    let (arm, reference) = (times(), times());
    let scaled =
        |times: &BlockTimes| -> BlockTimes { times.iter().map(|(block, time)| (*block, 1e6 * time)).collect() };
    let one = contrast(&arm, &reference, 0.95).expect("blocks");
    let two = contrast(&scaled(&arm), &scaled(&reference), 0.95).expect("blocks");
    assert!((one.ratio - two.ratio).abs() < 1e-12 && (one.p - two.p).abs() < 1e-9);
}
