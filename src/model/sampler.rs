//! Choosing the next token from logits.

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;
use septet_kernels::ops::softmax::softmax;

use super::error::Error;

/// PCG's default stream.
const STREAM: u64 = 0x0a02_bdbf_7bb3_c0a7;

/// How tokens are chosen.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// The most likely token; of equals, the one with the lowest id.
    Greedy,
    /// Random, by probability.
    Nucleus(Nucleus),
}

/// Temperature and nucleus ("top-p") sampling (Holtzman et al. 2020, arXiv:1904.09751).
#[derive(Clone, Debug)]
pub struct Nucleus {
    temperature: f32,
    top_p: f32,
    random: Pcg32,
    /// (vocab)
    probabilities: Vec<f32>,
    /// (vocab): token ids, most likely first
    order: Vec<u32>,
}

impl Sampler {
    /// Samples from the smallest set of most likely tokens whose probabilities, after division of
    /// the logits by `temperature`, reach `top_p`. The same seed gives the same tokens.
    ///
    /// # Errors
    ///
    /// When `temperature` is not positive and finite or `top_p` is not in (0, 1].
    pub fn nucleus(temperature: f32, top_p: f32, seed: u64) -> Result<Self, Error> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Sampling {
                option: "temperature",
                found: temperature,
                valid: "a positive number; for the most likely token use greedy decoding",
            });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::Sampling { option: "top-p", found: top_p, valid: "above 0 and at most 1" });
        }
        Ok(Self::Nucleus(Nucleus {
            temperature,
            top_p,
            random: Pcg32::new(seed, STREAM),
            probabilities: Vec::new(),
            order: Vec::new(),
        }))
    }

    /// The next token after `logits` (vocab), which must be finite.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        match self {
            Self::Greedy => most_likely(logits),
            Self::Nucleus(nucleus) => nucleus.sample(logits),
        }
    }
}

/// Index of the largest logit, the lowest of equals.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

impl Nucleus {
    fn sample(&mut self, logits: &[f32]) -> u32 {
        let Self { probabilities, order, .. } = self;
        probabilities.clear();
        probabilities.extend(logits.iter().map(|logit| logit / self.temperature));
        softmax(probabilities);
        order.clear();
        order.extend(0..logits.len() as u32);
        order
            .sort_unstable_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]).then(a.cmp(&b)));

        let mut mass = 0.0;
        let mut nucleus = 0;
        while nucleus < order.len() && mass < self.top_p {
            mass += probabilities[order[nucleus] as usize];
            nucleus += 1;
        }
        // 24 random bits: every multiple of 2⁻²⁴ in [0, 1).
        let uniform = (self.random.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let mut remaining = uniform * mass;
        for &token in &order[..nucleus] {
            remaining -= probabilities[token as usize];
            if remaining < 0.0 {
                return token;
            }
        }
        // Rounding may leave a remainder of zero: it belongs to the last token.
        order[nucleus - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(Sampler::Greedy.sample(&[0.0, 3.0, 3.0, -1.0]), 1);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        let weights: Vec<f64> = logits.iter().map(|&l: &f32| f64::from(l / 0.7).exp()).collect();
        let mut sampler = Sampler::nucleus(0.7, 1.0, 1).expect("valid");
        let mut counts = [0.0; 4];
        let n = 50_000.0;
        for _ in 0..n as usize {
            counts[sampler.sample(&logits) as usize] += 1.0;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let p = weight / weights.iter().sum::<f64>();
            // Five standard deviations of a binomial share.
            assert!((count / n - p).abs() < 5.0 * (p * (1.0 - p) / n).sqrt());
        }
    }

    #[test]
    fn top_p_cuts_the_tail_and_seeds_repeat() {
        let logits = [0.0, 3.0, 2.5, -1.0];
        let draw = |seed| {
            let mut sampler = Sampler::nucleus(1.0, 0.8, seed).expect("valid");
            (0..200).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
        };
        assert!(draw(5).iter().all(|token| [1, 2].contains(token)));
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn refuses_what_is_out_of_range() {
        for (temperature, top_p) in [(0.0, 0.9), (f32::NAN, 0.9), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::nucleus(temperature, top_p, 0).is_err());
        }
    }
}
