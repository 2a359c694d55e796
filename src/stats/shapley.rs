//! Who earned the total: Shapley's value (Shapley, "A Value for n-Person Games", in Contributions to the
//! Theory of Games II, 1953).
//!
//! A factor's contribution is what it adds to the factors that are on already, averaged over all orders
//! in which the factors can be switched on. It is the only division of the total that gives factors of
//! equal effect equal parts, gives nothing to a factor without effect, and adds up over sums of games.

/// The contributions of k factors from the values of all 2^k sets of them: factor i is in set c where bit
/// i of c is set. They sum to the value of all factors minus that of none.
///
/// The orders in which exactly the factors of a set come before factor i are |set|! · (k − |set| − 1)! of
/// the k!.
pub fn shapley(values: &[f64]) -> Vec<f64> {
    let k = values.len().ilog2() as usize;
    let weight = |before: u32| {
        let before = before as usize;
        factorial(before) * factorial(k - before - 1) / factorial(k)
    };
    let contribution = |factor: usize| {
        let without = (0..values.len()).filter(|set| (set >> factor) & 1 == 0);
        without.map(|set| weight(set.count_ones()) * (values[set | (1 << factor)] - values[set])).sum::<f64>()
    };
    (0..k).map(contribution).collect()
}

fn factorial(n: usize) -> f64 {
    (1..=n).map(|factor| factor as f64).product()
}

#[cfg(test)]
mod tests {
    use rand_pcg::Pcg64;
    use rand_pcg::rand_core::{Rng, SeedableRng};

    use super::*;

    fn random_values(k: u32, random: &mut Pcg64) -> Vec<f64> {
        (0..1 << k).map(|_| random.next_u64() as f64 / u64::MAX as f64).collect()
    }

    /// The definition: what each adds when its turn comes, over all orders.
    fn over_permutations(values: &[f64]) -> Vec<f64> {
        let k = values.len().ilog2() as usize;
        let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
        for _ in 0..k {
            let longer = |order: Vec<usize>| {
                let rest: Vec<usize> = (0..k).filter(|next| !order.contains(next)).collect();
                rest.into_iter().map(move |next| [&order[..], &[next]].concat())
            };
            orders = orders.into_iter().flat_map(longer).collect();
        }
        let mut sums = vec![0.0; k];
        for order in &orders {
            let mut set = 0;
            for &factor in order {
                sums[factor] += values[set | (1 << factor)] - values[set];
                set |= 1 << factor;
            }
        }
        sums.into_iter().map(|sum| sum / orders.len() as f64).collect()
    }

    #[test]
    fn equals_the_average_over_all_orders() {
        let mut random = Pcg64::seed_from_u64(1);
        for k in 1..=5 {
            for _ in 0..20 {
                let values = random_values(k, &mut random);
                for (found, expected) in shapley(&values).into_iter().zip(over_permutations(&values)) {
                    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn contributions_sum_to_the_total() {
        let mut random = Pcg64::seed_from_u64(2);
        for k in 1..=5 {
            let values = random_values(k, &mut random);
            let total = values[values.len() - 1] - values[0];
            assert!((shapley(&values).iter().sum::<f64>() - total).abs() < 1e-12);
        }
    }

    /// The glove game: player 0 has a left glove, 1 and 2 a right one each, and a pair is worth 1. Its
    /// values are 2/3, 1/6, 1/6 in every textbook.
    #[test]
    fn the_glove_game() {
        let worth = |set: usize| f64::from(u8::from(set & 1 == 1 && set >> 1 != 0));
        let found = shapley(&(0..8).map(worth).collect::<Vec<_>>());
        for (found, expected) in found.into_iter().zip([2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }
}
