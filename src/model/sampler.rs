//! Choosing the next token from logits.
//!
//! A random choice goes through the steps of llama.cpp, in the order of its default chain:
//!
//! 1. *repetition penalty*: logits of tokens that were read lately move down;
//! 2. *top-k*: the k most likely tokens stay;
//! 3. *top-p*: of these, as many as have the probability p together;
//! 4. *min-p*: of these, those that are at least p times as likely as the most likely one;
//! 5. *temperature*: of these, one is drawn.
//!
//! So the model alone says which tokens may be drawn, and temperature says how evenly. Where temperature
//! comes first, as in Hugging Face's `generate`, a higher one lets more of the tail through top-p and min-p.

use std::cmp::Ordering;

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;
use septet_kernels::ops::exp::{exp, ln_f64};

use super::error::Error;

/// PCG's default stream.
const STREAM: u64 = 0x0a02_bdbf_7bb3_c0a7;

/// Candidates that are sorted first. Text is mostly predictable, so that a nucleus seldom has more of them; a
/// vocabulary has some hundred thousand.
const HEAD: usize = 256;

/// How tokens are chosen.
#[derive(Clone, Debug)]
pub enum Sampler {
    /// The most likely token; of equals, the one with the lowest id.
    Greedy,
    /// Random, by probability.
    Random(Random),
}

/// What a random choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Logits are divided by this before a token is drawn: positive and finite.
    pub temperature: f32,
    /// Tokens that may be drawn at most; 0: any number.
    pub top_k: usize,
    /// Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751): the probability that tokens have together,
    /// most likely first, until no more are taken: above 0 and at most 1, which takes all.
    pub top_p: f32,
    /// The least probability of a token, as a share of that of the most likely one (Nguyen et al. 2024,
    /// arXiv:2407.01082): from 0, which takes all, to 1, which takes equals of the most likely one.
    pub min_p: f32,
    /// What divides positive logits of tokens that were read lately, and multiplies negative ones (CTRL,
    /// Keskar et al. 2019, arXiv:1909.05858): positive and finite; 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many tokens are meant by *lately*.
    pub repeat_last_n: usize,
    /// Equal seeds give equal tokens.
    pub seed: u64,
}

/// A random choice with its buffers, which are allocated once.
#[derive(Clone, Debug)]
pub struct Random {
    sampling: Sampling,
    /// The logarithm of `min_p`.
    min_p_distance: f64,
    random: Pcg32,
    /// Tokens read so far.
    read: u64,
    /// (vocab): how many tokens had been read when a token was last read, itself included; 0: never.
    last_read: Vec<u64>,
    /// (vocab), or fewer that may still be drawn; by id, or the most likely ones first
    candidates: Vec<Candidate>,
    /// (candidates): probabilities, but for one factor
    weights: Vec<f32>,
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    /// After the repetition penalty; never −0.
    logit: f32,
}

impl Sampler {
    /// A random choice among `vocab` tokens.
    ///
    /// # Errors
    ///
    /// When a number is out of its range.
    pub fn random(sampling: Sampling, vocab: usize) -> Result<Self, Error> {
        let refuse = |option, found, valid| Err(Error::Sampling { option, found, valid });
        let positive = |number: f32| number > 0.0 && number.is_finite();
        let Sampling { temperature, top_p, min_p, repeat_penalty, seed, .. } = sampling;
        if !positive(temperature) {
            let valid = "a positive number; for the most likely token use greedy decoding";
            return refuse("temperature", temperature, valid);
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return refuse("top-p", top_p, "above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&min_p) {
            return refuse("min-p", min_p, "from 0 to 1");
        }
        if !positive(repeat_penalty) {
            return refuse("repeat-penalty", repeat_penalty, "a positive number; 1 changes nothing");
        }
        Ok(Self::Random(Random {
            sampling,
            min_p_distance: if min_p > 0.0 { ln_f64(min_p.into()) } else { f64::NEG_INFINITY },
            random: Pcg32::new(seed, STREAM),
            read: 0,
            last_read: vec![0; vocab],
            candidates: Vec::with_capacity(vocab),
            weights: Vec::with_capacity(vocab),
        }))
    }

    /// Takes notice of tokens that were not sampled: those of a prompt.
    pub fn read(&mut self, tokens: &[u32]) {
        match self {
            Self::Greedy => {}
            Self::Random(random) => tokens.iter().for_each(|&token| random.read(token)),
        }
    }

    /// The next token after `logits` (vocab), which must be finite.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        match self {
            Self::Greedy => most_likely(logits),
            Self::Random(random) => {
                random.narrow(logits);
                let token = random.draw();
                random.read(token);
                token
            }
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

impl Candidate {
    /// The most likely first; of equals, the one with the lowest id.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

impl Random {
    fn read(&mut self, token: u32) {
        self.read += 1;
        // A token without a logit can not be repeated.
        if let Some(last) = self.last_read.get_mut(token as usize) {
            *last = self.read;
        }
    }

    /// Fills `candidates` and `weights`: what may follow, and how likely.
    fn narrow(&mut self, logits: &[f32]) {
        let Sampling { temperature, top_k, top_p, repeat_penalty, repeat_last_n, .. } = self.sampling;
        let forgotten = self.read.saturating_sub(repeat_last_n as u64);
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits.iter().zip(&self.last_read)).map(|(token, (&logit, &last))| {
            let logit = if last > forgotten { penalized(logit, repeat_penalty) } else { logit };
            // Makes 0 of −0: they are equals.
            Candidate { token, logit: logit + 0.0 }
        }));
        // No step takes the most likely token away, so this is the largest after each of them.
        let max = self.candidates.iter().fold(f32::MIN, |max, candidate| max.max(candidate.logit));

        if (1..self.candidates.len()).contains(&top_k) {
            sort_head(&mut self.candidates, top_k);
            self.candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            let nucleus = nucleus(&mut self.candidates, max, top_p);
            self.candidates.truncate(nucleus);
        }
        // Logits rather than probabilities: those of unequal tokens may round to the same one.
        let distance = |candidate: &Candidate| f64::from(candidate.logit) - f64::from(max);
        self.candidates.retain(|candidate| distance(candidate) >= self.min_p_distance);
        // Differences first: a logit over a small temperature may be infinite, and infinities have no difference.
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(|candidate| exp((candidate.logit - max) / temperature)));
    }

    /// One of `candidates`, by `weights`.
    fn draw(&mut self) -> u32 {
        let total: f64 = self.weights.iter().copied().map(f64::from).sum();
        let uniform = f64::from(self.random.next_u32()) / 2.0_f64.powi(32);
        let target = uniform * total;
        let mut reached = 0.0;
        let drawn = self.weights.iter().position(|&weight| {
            reached += f64::from(weight);
            target < reached
        });
        // There is one: `reached` ends at `total`, the same sum, and `uniform` is below 1.
        self.candidates[drawn.unwrap_or_default()].token
    }
}

/// The logit of a token that was read lately. A finite one stays finite, whatever the penalty.
fn penalized(logit: f32, penalty: f32) -> f32 {
    let penalized = if logit > 0.0 { logit / penalty } else { logit * penalty };
    penalized.clamp(f32::MIN, f32::MAX)
}

/// Brings the `count` most likely candidates to the beginning, and sorts them.
fn sort_head(candidates: &mut [Candidate], count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, Candidate::order);
    }
    candidates[..count].sort_unstable_by(Candidate::order);
}

/// The smallest number of most likely candidates whose probabilities reach `top_p` of those of all; they come
/// to the beginning, sorted. `max` is the largest logit.
fn nucleus(candidates: &mut [Candidate], max: f32, top_p: f32) -> usize {
    let weight = |candidate: &Candidate| f64::from(exp(candidate.logit - max));
    let enough = f64::from(top_p) * candidates.iter().map(weight).sum::<f64>();
    let (mut mass, mut count, mut sorted) = (0.0, 0, 0);
    while mass < enough && count < candidates.len() {
        if count == sorted {
            let rest = &mut candidates[sorted..];
            let more = HEAD.max(sorted).min(rest.len());
            sort_head(rest, more);
            sorted += more;
        }
        mass += weight(&candidates[count]);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use septet_kernels::SplitMix64;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    use super::*;

    /// Every step off, and logits as they are.
    const PLAIN: Sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        repeat_last_n: 64,
        seed: 0,
    };

    /// Chance that a test of frequencies fails although they are right.
    const FALSE_ALARM: f64 = 1e-6;

    fn random(sampling: Sampling, vocab: usize) -> Random {
        match Sampler::random(sampling, vocab).expect("valid") {
            Sampler::Random(random) => random,
            Sampler::Greedy => panic!("asked for a random choice"),
        }
    }

    /// Logits of a vocabulary, some of them equal.
    fn logits(seed: u64, vocab: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(seed);
        (0..vocab).map(|_| (random.normal_f32() * 16.0).round() / 4.0).collect()
    }

    /// Some number for each step, some of which are off.
    fn sampling(seed: u64) -> Sampling {
        let mut random = SplitMix64::new(seed);
        let mut or = |off: f32, on: fn(f32) -> f32| {
            let (is_on, unit) = (random.next().is_multiple_of(2), random.unit_f32());
            if is_on { on(unit) } else { off }
        };
        Sampling {
            temperature: or(1.0, |unit| 0.3 + 2.0 * unit),
            top_k: or(0.0, |unit| 1.0 + 40.0 * unit) as usize,
            top_p: or(1.0, |unit| 1.0 - 0.6 * unit),
            min_p: or(0.0, |unit| 0.2 * unit),
            repeat_penalty: or(1.0, |unit| 0.7 + unit),
            repeat_last_n: or(64.0, |unit| 12.0 * unit) as usize,
            seed,
        }
    }

    /// The probability of each token after `read`, by the definitions of the steps, in f64.
    fn probabilities(logits: &[f32], sampling: &Sampling, read: &[u32]) -> Vec<f64> {
        let mut logits: Vec<f64> = logits.iter().copied().map(f64::from).collect();
        let penalty = f64::from(sampling.repeat_penalty);
        let window = &read[read.len().saturating_sub(sampling.repeat_last_n)..];
        for (token, logit) in logits.iter_mut().enumerate() {
            if window.contains(&(token as u32)) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        let softmax = |logits: &[f64]| {
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = logits.iter().map(|logit| (logit - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            weights.iter().map(|weight| weight / total).collect::<Vec<f64>>()
        };
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let k = if sampling.top_k == 0 { logits.len() } else { sampling.top_k.min(logits.len()) };
        order[k..].iter().for_each(|&token| logits[token] = f64::NEG_INFINITY);
        let first = softmax(&logits);
        let mut mass = 0.0;
        for &token in &order[..k] {
            let cut = mass >= f64::from(sampling.top_p) || first[token] < f64::from(sampling.min_p) * first[order[0]];
            mass += first[token];
            if cut {
                logits[token] = f64::NEG_INFINITY;
            }
        }
        logits.iter_mut().for_each(|logit| *logit /= f64::from(sampling.temperature));
        softmax(&logits)
    }

    /// The probability of each token that `random` would draw by.
    fn drawn_by(random: &Random, vocab: usize) -> Vec<f64> {
        let total: f64 = random.weights.iter().copied().map(f64::from).sum();
        let mut probabilities = vec![0.0; vocab];
        for (candidate, weight) in random.candidates.iter().zip(&random.weights) {
            probabilities[candidate.token as usize] = f64::from(*weight) / total;
        }
        probabilities
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(Sampler::Greedy.sample(&[0.0, 3.0, 3.0, -1.0]), 1);
    }

    #[test]
    fn steps_do_what_their_definitions_say() {
        for seed in 0..300 {
            let vocab = 1 + (seed as usize * 7) % 900;
            let (logits, sampling) = (logits(seed, vocab), sampling(seed));
            let read: Vec<u32> = (0..20).map(|i| (i * i) % vocab as u32).collect();
            let mut random = random(sampling, vocab);
            read.iter().for_each(|&token| random.read(token));
            random.narrow(&logits);
            let expected = probabilities(&logits, &sampling, &read);
            for (token, (found, expected)) in drawn_by(&random, vocab).iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() < 1e-5, "seed {seed}, token {token}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        for seed in 0..8 {
            let (vocab, draws) = (50, 100_000.0);
            // Without a penalty every draw has the same probabilities.
            let sampling = Sampling { repeat_penalty: 1.0, ..sampling(seed) };
            let logits = logits(seed, vocab);
            let mut sampler = Sampler::random(sampling, vocab).expect("valid");
            let mut counts = vec![0.0; vocab];
            for _ in 0..draws as usize {
                counts[sampler.sample(&logits) as usize] += 1.0;
            }
            let expected = probabilities(&logits, &sampling, &[]);
            let (mut rare, mut statistic, mut classes) = ((0.0, 0.0), 0.0, 0.0);
            let mut add = |count: f64, expected: f64| {
                statistic += (count - expected).powi(2) / expected;
                classes += 1.0;
            };
            for (count, expected) in counts.iter().zip(expected.iter().map(|p| p * draws)) {
                if expected == 0.0 {
                    assert_eq!(*count, 0.0, "seed {seed}: a token that was cut off");
                } else if expected < 5.0 {
                    // Pearson's statistic is no chi-square of classes that expect fewer: these are one class.
                    rare = (rare.0 + count, rare.1 + expected);
                } else {
                    add(*count, expected);
                }
            }
            if rare.1 >= 5.0 {
                add(rare.0, rare.1);
            }
            if classes > 1.0 {
                let bound = ChiSquared::new(classes - 1.0).expect("positive").inverse_cdf(1.0 - FALSE_ALARM);
                assert!(statistic < bound, "seed {seed}: chi-square {statistic} of {classes} classes, bound {bound}");
            }
        }
    }

    #[test]
    fn the_best_of_one_and_equals_of_the_best_are_greedy() {
        for seed in 0..100 {
            let logits = logits(seed, 300);
            let greedy = most_likely(&logits);
            let mut one = Sampler::random(Sampling { top_k: 1, seed, ..PLAIN }, 300).expect("valid");
            assert_eq!(one.sample(&logits), greedy, "seed {seed}");
            let mut equals = random(Sampling { min_p: 1.0, ..PLAIN }, 300);
            equals.narrow(&logits);
            let tokens: Vec<u32> = equals.candidates.iter().map(|candidate| candidate.token).collect();
            let largest = logits[greedy as usize];
            let expected: Vec<u32> = (0..300).filter(|&token| logits[token as usize] == largest).collect();
            assert_eq!(tokens, expected, "seed {seed}");
        }
        // Neither the sign of a zero nor a difference that exponentials round away makes a difference.
        let mut one = random(Sampling { top_k: 1, ..PLAIN }, 3);
        one.narrow(&[-0.0, 0.0, -1.0]);
        assert_eq!(one.draw(), 0);
        let mut equals = random(Sampling { min_p: 1.0, ..PLAIN }, 3);
        equals.narrow(&[0.01_f32.next_down(), 0.01, 0.01]);
        assert_eq!(equals.candidates.len(), 2);
    }

    #[test]
    fn a_penalty_makes_repetition_less_likely() {
        for seed in 0..100 {
            let logits = logits(seed, 30);
            let share = |repeat_penalty, read: &[u32]| {
                let mut random = random(Sampling { repeat_penalty, repeat_last_n: 2, ..PLAIN }, 30);
                read.iter().for_each(|&token| random.read(token));
                random.narrow(&logits);
                drawn_by(&random, 30)
            };
            let (plain, penalized) = (share(1.0, &[3, 5, 5]), share(1.3, &[3, 5, 5]));
            // A logit of zero is no preference, and has nothing to be taken away.
            if logits[5] != 0.0 {
                assert!(penalized[5] < plain[5], "seed {seed}: {} after {}", penalized[5], plain[5]);
            }
            // Token 3 was read three tokens ago, token 5 counts once.
            assert!(penalized[3] >= plain[3], "seed {seed}");
            assert_eq!(penalized, share(1.3, &[5]), "seed {seed}");
        }
    }

    #[test]
    fn extreme_logits_have_finite_weights() {
        let extremes = [1e30, -1e30, f32::MAX, f32::MIN, 0.0, -0.0, 1e-45, 3.0];
        for temperature in [1e-45, 1e-3, 1.0, f32::MAX] {
            for repeat_penalty in [1e-30, 1.0, 1e30] {
                for rotation in 0..extremes.len() {
                    for length in 1..=extremes.len() {
                        let mut logits = extremes;
                        logits.rotate_left(rotation);
                        let sampling = Sampling { temperature, repeat_penalty, top_p: 0.999, min_p: 1e-9, ..PLAIN };
                        let mut random = random(sampling, length);
                        random.read(0);
                        random.narrow(&logits[..length]);
                        assert!(random.weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
                        assert!(random.weights.contains(&1.0));
                        assert!((random.draw() as usize) < length);
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_allocates_nothing() {
        let mut random = random(Sampling { top_p: 0.9, min_p: 0.01, repeat_penalty: 1.1, ..PLAIN }, 4000);
        let buffers = |random: &Random| {
            (
                random.candidates.as_ptr(),
                random.candidates.capacity(),
                random.weights.as_ptr(),
                random.weights.capacity(),
            )
        };
        let before = buffers(&random);
        for seed in 0..20 {
            random.narrow(&logits(seed, 4000));
            let token = random.draw();
            random.read(token);
        }
        assert_eq!(buffers(&random), before);
    }

    #[test]
    fn top_p_cuts_the_tail_and_seeds_repeat() {
        let logits = [0.0, 3.0, 2.5, -1.0];
        let draw = |seed| {
            let mut sampler = Sampler::random(Sampling { top_p: 0.8, seed, ..PLAIN }, 4).expect("valid");
            (0..200).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
        };
        assert!(draw(5).iter().all(|token| [1, 2].contains(token)));
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        // Half of four equals is two of them.
        let mut half = random(Sampling { top_p: 0.5, ..PLAIN }, 4);
        half.narrow(&[0.0; 4]);
        assert_eq!(half.candidates.len(), 2);
    }

    #[test]
    fn a_wide_nucleus_is_sorted_in_parts() {
        let vocab = 5 * HEAD;
        let logits: Vec<f32> = (0..vocab).map(|token| ((token * 7) % vocab) as f32 * 1e-4).collect();
        let mut random = random(Sampling { top_p: 0.9, ..PLAIN }, vocab);
        random.narrow(&logits);
        assert!(random.candidates.len() > 4 * HEAD);
        assert!(random.candidates.is_sorted_by(|a, b| a.order(b) == Ordering::Less));
    }

    #[test]
    fn refuses_what_is_out_of_range() {
        for (spoiled, option) in [
            (Sampling { temperature: 0.0, ..PLAIN }, "temperature is 0"),
            (Sampling { temperature: f32::NAN, ..PLAIN }, "temperature is NaN"),
            (Sampling { top_p: 0.0, ..PLAIN }, "top-p is 0"),
            (Sampling { top_p: 1.5, ..PLAIN }, "top-p is 1.5"),
            (Sampling { min_p: -0.1, ..PLAIN }, "min-p is -0.1"),
            (Sampling { min_p: f32::NAN, ..PLAIN }, "min-p is NaN"),
            (Sampling { repeat_penalty: 0.0, ..PLAIN }, "repeat-penalty is 0"),
            (Sampling { repeat_penalty: f32::INFINITY, ..PLAIN }, "repeat-penalty is inf"),
        ] {
            let message = Sampler::random(spoiled, 4).expect_err(option).to_string();
            assert!(message.starts_with(option) && message.contains("valid: "), "{message}");
        }
    }
}
