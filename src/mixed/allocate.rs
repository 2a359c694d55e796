//! A format for each tensor at a budget of bytes: a multiple-choice knapsack.
//!
//! Minimize the sum of the tensors' divergences, subject to the sum of their bytes. The objective
//! is a model, not a measurement: it assumes that the divergences of single tensors *add up*. That
//! holds for small errors, where a divergence is a quadratic form of independent perturbations
//! (the linearity theorem of HIGGS, arXiv:2411.17525); HAWQ-V3 (arXiv:2011.10680) allocates bits on
//! the same assumption by integer programming, and llama.cpp's pull request 15550 types of tensors
//! by a Lagrangian. What a choice of formats really costs must be measured on the whole model.
//!
//! Solved greedily: each tensor starts in its smallest format, and upgrades along the lower convex
//! hulls of (bytes, divergence) are taken in order of divergence saved for each byte, if they still
//! fit. That is the Lagrangian solution, rounded to the budget: it loses at most what the first
//! upgrade that did not fit would have saved. More budget never raises the sum: where a larger
//! budget first admits an upgrade that the smaller one does not, that upgrade alone saves at least
//! as much as all that the smaller budget still has room for.

use septet_kernels::Format;

/// One way to store a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub format: Format,
    pub bytes: usize,
    /// Divergence of the model when only this tensor is stored so.
    pub kld: f64,
}

/// A step of one tensor along its hull.
struct Upgrade {
    tensor: usize,
    /// Index in the hull of what it becomes.
    to: usize,
    bytes: usize,
    /// Divergence saved for each byte.
    saving: f64,
}

/// The smallest number of bytes that `tensors` can be stored in.
pub fn least_bytes(tensors: &[Vec<Choice>]) -> usize {
    tensors.iter().filter_map(|choices| choices.iter().map(|choice| choice.bytes).min()).sum()
}

/// One of each tensor's choices, together at most `budget` bytes; `None` if even the smallest are
/// more, or a tensor has no choice.
pub fn allocate(tensors: &[Vec<Choice>], budget: usize) -> Option<Vec<Choice>> {
    let hulls: Vec<Vec<Choice>> = tensors.iter().map(|choices| hull(choices)).collect();
    let mut chosen = hulls.iter().map(|hull| hull.first().map(|_| 0)).collect::<Option<Vec<usize>>>()?;
    let mut left = budget.checked_sub(least_bytes(tensors))?;

    let steps = |(tensor, hull): (usize, &Vec<Choice>)| {
        let step = |(i, pair): (usize, &[Choice])| Upgrade {
            tensor,
            to: i + 1,
            bytes: pair[1].bytes - pair[0].bytes,
            saving: saving(pair[0], pair[1]),
        };
        hull.windows(2).enumerate().map(step).collect::<Vec<_>>()
    };
    let mut upgrades: Vec<Upgrade> = hulls.iter().enumerate().flat_map(steps).collect();
    // Stable: among equals, the earlier tensor first.
    upgrades.sort_by(|a, b| b.saving.total_cmp(&a.saving));
    for Upgrade { tensor, to, bytes, .. } in upgrades {
        // Not to be reached if the step before did not fit.
        if chosen[tensor] + 1 == to && bytes <= left {
            chosen[tensor] = to;
            left -= bytes;
        }
    }
    Some(hulls.iter().zip(chosen).map(|(hull, choice)| hull[choice]).collect())
}

/// The choices that some price of a byte makes best: ever more bytes, ever less divergence, ever
/// smaller savings.
fn hull(choices: &[Choice]) -> Vec<Choice> {
    let mut sorted = choices.to_vec();
    sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.kld.total_cmp(&b.kld)));
    let mut hull: Vec<Choice> = Vec::with_capacity(sorted.len());
    for next in sorted {
        if hull.last().is_some_and(|last| last.kld <= next.kld) {
            continue;
        }
        while let [.., before, last] = hull[..]
            && saving(last, next) >= saving(before, last)
        {
            hull.pop();
        }
        hull.push(next);
    }
    hull
}

/// Divergence saved for each byte from a choice to a larger one.
fn saving(from: Choice, to: Choice) -> f64 {
    (from.kld - to.kld) / (to.bytes - from.bytes) as f64
}

#[cfg(test)]
mod tests {
    use septet_kernels::{Level, SplitMix64};

    use super::*;

    /// Tensors of random sizes whose divergence falls with bytes, sometimes not convexly.
    fn random_tensors(random: &mut SplitMix64) -> Vec<Vec<Choice>> {
        let below = |random: &mut SplitMix64, n: u64| random.next() % n;
        (0..1 + below(random, 12))
            .map(|_| {
                let size = 1 + below(random, 1000) as usize;
                let mut kld = 0.0;
                let choice = |(i, &format): (usize, &Format)| {
                    kld += (1 + below(random, 1000)) as f64;
                    Choice { format, bytes: size * (8 - i), kld }
                };
                Format::ALL.iter().enumerate().map(choice).collect()
            })
            .collect()
    }

    fn bytes(choices: &[Choice]) -> usize {
        choices.iter().map(|choice| choice.bytes).sum()
    }

    fn kld(choices: &[Choice]) -> f64 {
        choices.iter().map(|choice| choice.kld).sum()
    }

    /// The least divergence of all combinations that fit.
    fn exhaustive(tensors: &[Vec<Choice>], budget: usize) -> f64 {
        let Some((first, rest)) = tensors.split_first() else { return 0.0 };
        let fitting = first.iter().filter(|choice| choice.bytes <= budget);
        fitting.map(|choice| choice.kld + exhaustive(rest, budget - choice.bytes)).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn budgets_hold_and_more_budget_never_hurts() {
        let mut random = SplitMix64::new(1);
        for _ in 0..200 {
            let tensors = random_tensors(&mut random);
            let (least, most) = (least_bytes(&tensors), tensors.iter().map(|choices| choices[0].bytes).sum::<usize>());
            let mut last = f64::INFINITY;
            for step in 0..=40 {
                let budget = least + (most - least) * step / 40;
                let allocation = allocate(&tensors, budget).expect("enough for the smallest");
                assert!(bytes(&allocation) <= budget);
                assert!(kld(&allocation) <= last);
                assert_eq!(allocate(&tensors, budget), Some(allocation.clone()));
                last = kld(&allocation);
            }
            let formats = |budget| -> Vec<Format> {
                allocate(&tensors, budget).expect("enough").iter().map(|choice| choice.format).collect()
            };
            assert_eq!(formats(least), vec![Format::W3; tensors.len()]);
            assert_eq!(formats(most), vec![Format::W4; tensors.len()]);
            assert_eq!(formats(usize::MAX), formats(most));
            assert_eq!(allocate(&tensors, least - 1), None);
        }
    }

    #[test]
    fn the_greedy_solution_is_at_most_one_upgrade_from_the_best() {
        let mut random = SplitMix64::new(2);
        for _ in 0..100 {
            let tensors: Vec<_> = random_tensors(&mut random).into_iter().take(6).collect();
            let budget = least_bytes(&tensors) * 7 / 6;
            let allocation = allocate(&tensors, budget).expect("enough");
            let best = exhaustive(&tensors, budget);
            assert!(kld(&allocation) >= best);
            let largest = tensors.iter().map(|choices| choices[2].kld - choices[0].kld).fold(0.0, f64::max);
            assert!(kld(&allocation) <= best + largest);
        }
    }

    #[test]
    fn choices_above_the_hull_are_never_taken() {
        let choice = |format, bytes, kld| Choice { format, bytes, kld };
        let (w4, w3p5, w3) = (Format::W4, Format::W3p5, Format::W3);
        let convex = [choice(w4, 4, 1.0), choice(w3p5, 3, 2.0), choice(w3, 2, 4.0)];
        assert_eq!(hull(&convex).len(), 3);
        let concave = [choice(w4, 4, 1.0), choice(w3p5, 3, 3.0), choice(w3, 2, 4.0)];
        assert_eq!(hull(&concave), [concave[2], concave[0]]);
        let worse = [choice(w4, 4, 9.0), choice(w3p5, 3, 2.0), choice(w3, 2, 4.0)];
        assert_eq!(hull(&worse), [worse[2], worse[1]]);
        assert_eq!(allocate(&[concave.to_vec()], 3), Some(vec![concave[2]]));
        assert_eq!(allocate(&[Vec::new()], 3), None);
    }
}
