//! Several effects of one family, with intervals that hold together.
//!
//! Bonferroni's inequality: of m intervals, each of coverage 1 − α/m, all hold at once with
//! probability 1 − α or more, whatever the dependence between the effects (Dunn, "Multiple Comparisons
//! Among Means", Journal of the American Statistical Association 56, 1961). Šidák's intervals are
//! narrower by less than 1 % (of 95 %, from five blocks on), and ask for more of the joint distribution.

use super::contrast::Effect;
use super::holm::holm;

/// An effect of a family: its interval holds together with those of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joint {
    /// Its `p` is that of the effect alone; `detectable` is stated at the size of the interval.
    pub effect: Effect,
    /// Holm over the family.
    pub p_adjusted: f64,
}

/// The effects of a family from their logs, one a block, with simultaneous intervals of coverage
/// `confidence`. `None` where one of them has no block; empty for no family.
pub fn jointly(family: &[Vec<f64>], confidence: f64) -> Option<Vec<Joint>> {
    let each = 1.0 - (1.0 - confidence) / family.len().max(1) as f64;
    let effects: Vec<Effect> = family.iter().map(|logs| Effect::of_logs(logs, each)).collect::<Option<_>>()?;
    let p: Vec<f64> = effects.iter().map(|effect| effect.p).collect();
    Some(effects.into_iter().zip(holm(&p)).map(|(effect, p_adjusted)| Joint { effect, p_adjusted }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::student::t_quantile;

    const LOGS: [f64; 5] = [0.10, 0.14, 0.08, 0.12, 0.11];

    /// Dunn's table for five comparisons, ten degrees of freedom and α = 0.05 has 3.17: t(1 − 0.05/10, 10).
    #[test]
    fn the_published_quantile() {
        assert!((t_quantile(1.0 - 0.05 / 10.0, 10.0) - 3.169).abs() < 5e-4);
    }

    /// Half widths are t(1 − α/2m, n − 1) standard errors: t(0.99, 4) = 3.747 for a family of five at 90 %.
    #[test]
    fn a_family_widens_its_intervals() {
        let family = vec![LOGS.to_vec(); 5];
        let joint = jointly(&family, 0.90).expect("blocks");
        // By hand: mean 0.11, sum of squares 0.0020, standard error √(0.0005/5) = 0.01.
        for Joint { effect, p_adjusted } in joint {
            assert!((effect.ratio.ln() - 0.11).abs() < 1e-12);
            assert!((effect.interval.high.ln() - 0.11 - 3.747 * 0.01).abs() < 1e-5);
            assert!((p_adjusted - (5.0 * effect.p).min(1.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_family_of_one_is_the_effect_itself() {
        let joint = jointly(&[LOGS.to_vec()], 0.95).expect("blocks");
        assert_eq!(Some(joint[0].effect), Effect::of_logs(&LOGS, 0.95));
        assert_eq!(joint[0].p_adjusted, joint[0].effect.p);
        assert_eq!(jointly(&[], 0.95), Some(Vec::new()));
        assert_eq!(jointly(&[LOGS.to_vec(), Vec::new()], 0.95), None);
    }
}
