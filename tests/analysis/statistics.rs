//! Properties of the statistics on random data: coverage, order, symmetry.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use septet::stats::contrast::{BlockTimes, Effect, contrast};
use septet::stats::factorial::{effect, factorial, terms};
use septet::stats::holm::holm;
use septet::stats::shapley::shapley;
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

/// Two arms with a noise of their own over a drift that their block shares: 95 % ± 1 % of the intervals
/// hold the true ratio. A standard error of these shares is 0.15 %.
#[test]
fn intervals_of_contrasts_cover_the_true_ratio() {
    const CONTRASTS: usize = 20_000;
    let mut random = Pcg64::seed_from_u64(8);
    let truth = 1.17;
    for n in [5, 10, 20] {
        let mut covered = 0;
        for _ in 0..CONTRASTS {
            let (mut arm, mut reference) = (BlockTimes::new(), BlockTimes::new());
            for block in 0..n {
                let drift = (0.2 * gaussian(&mut random)).exp();
                arm.insert(block, drift * (0.02 * gaussian(&mut random)).exp());
                reference.insert(block, truth * drift * (0.03 * gaussian(&mut random)).exp());
            }
            let effect = contrast(&arm, &reference, 0.95).expect("blocks");
            covered += usize::from(effect.interval.contains(truth));
        }
        let share = covered as f64 / CONTRASTS as f64;
        assert!((share - 0.95).abs() < 0.01, "{share} at {n} blocks");
    }
}

/// All intervals of a family hold their truths at once in 95 % of runs or more, of main effects and
/// interactions as well as of contributions, which depend on one another; by themselves they would not.
#[test]
fn simultaneous_intervals_cover_together() {
    const FACTORS: usize = 3;
    let mut random = Pcg64::seed_from_u64(9);
    let truth: Vec<f64> = draw(&mut random, 1 << FACTORS);
    let (effects, contributions) =
        (terms(FACTORS).into_iter().map(|term| effect(&truth, term)).collect::<Vec<_>>(), shapley(&truth));
    let holds = |found: Effect, truth: f64| found.interval.contains(truth.exp());
    let [mut terms_hold, mut contributions_hold, mut alone_hold] = [0, 0, 0];
    for _ in 0..TRIALS {
        let block = |random: &mut Pcg64| -> Vec<f64> {
            let drift = gaussian(random);
            truth.iter().map(|value| value + drift + 0.1 * gaussian(random)).collect()
        };
        let blocks: Vec<Vec<f64>> = (0..10).map(|_| block(&mut random)).collect();
        let found = factorial(&blocks, 0.95).expect("blocks");
        terms_hold += usize::from(found.terms.iter().zip(&effects).all(|((_, joint), t)| holds(joint.effect, *t)));
        let all = found.contributions.iter().zip(&contributions).all(|(joint, t)| holds(joint.effect, *t));
        contributions_hold += usize::from(all);
        let alone = terms(FACTORS).into_iter().zip(&effects).all(|(term, t)| {
            let logs: Vec<f64> = blocks.iter().map(|responses| effect(responses, term)).collect();
            holds(Effect::of_logs(&logs, 0.95).expect("blocks"), *t)
        });
        alone_hold += usize::from(alone);
    }
    // Three standard errors of a share of 95 %.
    for covered in [terms_hold, contributions_hold] {
        assert!(covered as f64 / TRIALS as f64 > 0.95 - 0.0104, "{covered} of {TRIALS}");
    }
    assert!((alone_hold as f64) < 0.85 * TRIALS as f64, "{alone_hold} of {TRIALS} without correction");
}

/// Where nothing has an effect, Holm's p finds one in at most 5 % of runs.
#[test]
fn families_without_effects_are_rarely_rejected() {
    let mut random = Pcg64::seed_from_u64(10);
    let mut rejected = 0;
    for _ in 0..TRIALS {
        let blocks: Vec<Vec<f64>> = (0..10).map(|_| draw(&mut random, 8)).collect();
        let found = factorial(&blocks, 0.95).expect("blocks");
        rejected += usize::from(found.terms.iter().any(|(_, joint)| joint.p_adjusted < 0.05));
    }
    assert!((rejected as f64) < (0.05 + 0.0104) * TRIALS as f64 && rejected > 0, "{rejected} of {TRIALS}");
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
