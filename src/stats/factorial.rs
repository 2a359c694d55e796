//! Effects of a full two-level factorial, taken inside each block.
//!
//! The response of a cell is the logarithm of its speed. With all 2^k cells of a block (Box, Hunter and
//! Hunter, "Statistics for Experimenters", 1978, chapter 10):
//!
//! - the *main effect* of a factor is the mean, over all levels of the other factors, of response on minus
//!   response off: of ln(time off / time on);
//! - the *interaction* of two factors is half the difference between the average effect of the one with the
//!   other on and its average effect with the other off. So the one is worth its main effect plus the
//!   interaction where the other is on, and minus it where it is off.
//!
//! Both are the same sum: responses with the product of the signs of the factors, over half the number of
//! cells. Effects of three factors and more are averaged over and not listed.

use super::contrast::Effect;
use super::shapley::shapley;
use super::simultaneous::{Joint, jointly};

/// What 2^k cells say about k factors.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorialEffects {
    /// Main effects in the order of the factors, then interactions, by [`terms`]: one family.
    pub terms: Vec<(usize, Joint)>,
    /// Shapley contribution of each factor to the total: a family of their own.
    pub contributions: Vec<Joint>,
    /// All factors on against all off, by itself.
    pub total: Effect,
}

/// Main effects, then two-way interactions, of `k` factors: bit i is set for factor i.
pub fn terms(k: usize) -> Vec<usize> {
    let pairs = (0..k).flat_map(|a| (a + 1..k).map(move |b| (1 << a) | (1 << b)));
    (0..k).map(|factor| 1 << factor).chain(pairs).collect()
}

/// The effect of the factors whose bits are set in `term`, from the responses of all 2^k cells in
/// standard order: in cell c factor i is on where bit i of c is set.
pub fn effect(responses: &[f64], term: usize) -> f64 {
    let signed = |(cell, response): (usize, &f64)| {
        // Each factor that is off turns the sign.
        if (term & !cell).count_ones().is_multiple_of(2) { *response } else { -response }
    };
    responses.iter().enumerate().map(signed).sum::<f64>() / (responses.len() / 2) as f64
}

/// Estimates over blocks, each the responses of all 2^k cells in standard order. Intervals of terms hold
/// together with coverage `confidence`, and so do those of contributions. `None` without blocks.
pub fn factorial(blocks: &[Vec<f64>], confidence: f64) -> Option<FactorialEffects> {
    let last = blocks.first()?.len() - 1;
    let factors = blocks.first()?.len().ilog2() as usize;
    let terms = terms(factors);
    let of_term = |term: &usize| -> Vec<f64> { blocks.iter().map(|responses| effect(responses, *term)).collect() };
    let estimates = jointly(&terms.iter().map(of_term).collect::<Vec<_>>(), confidence)?;
    let shares: Vec<Vec<f64>> = blocks.iter().map(|responses| shapley(responses)).collect();
    let of_factor = |factor: usize| -> Vec<f64> { shares.iter().map(|block| block[factor]).collect() };
    let contributions = jointly(&(0..factors).map(of_factor).collect::<Vec<_>>(), confidence)?;
    let totals: Vec<f64> = blocks.iter().map(|responses| responses[last] - responses[0]).collect();
    let total = Effect::of_logs(&totals, confidence)?;
    Some(FactorialEffects { terms: terms.into_iter().zip(estimates).collect(), contributions, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pilot plant of Box, Hunter and Hunter (1978): yields for temperature, concentration and catalyst
    /// in standard order, and the effects that the book prints.
    #[test]
    fn the_pilot_plant() {
        let yields = [60.0, 72.0, 54.0, 68.0, 52.0, 83.0, 45.0, 80.0];
        let [t, c, k] = [1, 2, 4];
        for (term, expected) in
            [(t, 23.0), (c, -5.0), (k, 1.5), (t | c, 1.5), (t | k, 10.0), (c | k, 0.0), (t | c | k, 0.5)]
        {
            assert!((effect(&yields, term) - expected).abs() < 1e-12, "{term}: {}", effect(&yields, term));
        }
        assert_eq!(terms(3), [t, c, k, t | c, t | k, c | k]);
    }

    /// Interactions are half differences of average effects: with the catalyst on, temperature is worth
    /// 33, with it off 13.
    #[test]
    fn an_interaction_is_half_a_difference() {
        let yields = [60.0, 72.0, 54.0, 68.0, 52.0, 83.0, 45.0, 80.0];
        let [off, on] = [&yields[..4], &yields[4..]].map(|half| effect(half, 1));
        assert_eq!((off, on), (13.0, 33.0));
        assert_eq!(effect(&yields, 1 | 4), (on - off) / 2.0);
        assert_eq!(effect(&yields, 1), (on + off) / 2.0);
    }

    /// Drift that is common to a block is no effect.
    #[test]
    fn what_a_block_has_in_common_cancels() {
        let truth = [0.0, 0.5, 0.2, 0.9];
        let blocks: Vec<Vec<f64>> =
            (0..6).map(|block| truth.iter().map(|value| value + f64::from(block)).collect()).collect();
        let found = factorial(&blocks, 0.95).expect("blocks");
        let logs: Vec<f64> = found.terms.iter().map(|(_, joint)| joint.effect.ratio.ln()).collect();
        // Means of (0.5, 0.7) and (0.2, 0.4), and half the difference 0.2.
        for (log, expected) in logs.iter().zip([0.6, 0.3, 0.1]) {
            assert!((log - expected).abs() < 1e-12, "{log} is not {expected}");
        }
        assert!((found.total.ratio.ln() - 0.9).abs() < 1e-12 && found.total.n_blocks == 6);
        let contributions: f64 = found.contributions.iter().map(|joint| joint.effect.ratio.ln()).sum();
        assert!((contributions - 0.9).abs() < 1e-12);
        assert_eq!(factorial(&[], 0.95), None);
    }
}
