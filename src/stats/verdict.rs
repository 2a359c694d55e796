//! What an interval allows one to say, given the margin below which nobody cares.
//!
//! A ratio above one means that the arm is faster. With margin M the band of no practical interest
//! is [1/(1+M), 1+M], symmetric for a speed-up and its inverse. The verdicts exclude one another:
//!
//! - *improvement*: the difference is significant after Holm's correction and the whole interval
//!   lies above the band;
//! - *regression*: the same below it;
//! - *equivalent*: the whole interval lies inside the band. An interval of coverage 1 − α inside
//!   the band is two one-sided tests at α/2 (Schuirmann, Journal of Pharmacokinetics and
//!   Biopharmaceutics 15, 1987, uses α each), so this errs towards *inconclusive*. It is not
//!   corrected for multiplicity: each pair of tests keeps its own α/2;
//! - *inconclusive*: anything else. "No difference" is never concluded from a large p.

use std::fmt;

use super::Interval;

/// The four things that a contrast can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Improvement,
    Regression,
    Equivalent,
    Inconclusive,
}

impl Verdict {
    /// The verdict on a ratio with this interval and Holm-adjusted p, at level `alpha` (0.05).
    pub fn of(ratio: Interval, p_adjusted: f64, margin: f64, alpha: f64) -> Verdict {
        let (low, high) = (1.0 / (1.0 + margin), 1.0 + margin);
        let significant = p_adjusted < alpha;
        if significant && ratio.low > high {
            Verdict::Improvement
        } else if significant && ratio.high < low {
            Verdict::Regression
        } else if low <= ratio.low && ratio.high <= high {
            Verdict::Equivalent
        } else {
            Verdict::Inconclusive
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Improvement => "improvement",
            Verdict::Regression => "regression",
            Verdict::Equivalent => "equivalent",
            Verdict::Inconclusive => "inconclusive",
        })
    }
}

/// What a measurement says about a published factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// The whole interval reaches the published factor or more.
    Held,
    /// The whole interval lies below the published factor.
    NotHeld,
    /// The published factor lies inside the interval, above its low end.
    Inconclusive,
}

impl ClaimVerdict {
    /// Compares the interval of a measured ratio with a published one.
    pub fn of(ratio: Interval, published: f64) -> ClaimVerdict {
        if ratio.low >= published {
            ClaimVerdict::Held
        } else if ratio.high < published {
            ClaimVerdict::NotHeld
        } else {
            ClaimVerdict::Inconclusive
        }
    }
}

impl fmt::Display for ClaimVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClaimVerdict::Held => "held",
            ClaimVerdict::NotHeld => "not held",
            ClaimVerdict::Inconclusive => "inconclusive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(low: f64, high: f64, p: f64) -> Verdict {
        Verdict::of(Interval { low, high }, p, 0.01, 0.05)
    }

    #[test]
    fn verdicts_at_a_margin_of_one_percent() {
        assert_eq!(verdict(1.02, 1.05, 0.001), Verdict::Improvement);
        assert_eq!(verdict(0.95, 0.98, 0.001), Verdict::Regression);
        assert_eq!(verdict(0.995, 1.005, 0.8), Verdict::Equivalent);
        assert_eq!(verdict(0.98, 1.02, 0.8), Verdict::Inconclusive);
        // Beyond the margin but not after correction; significant but within reach of the margin.
        assert_eq!(verdict(1.02, 1.05, 0.06), Verdict::Inconclusive);
        assert_eq!(verdict(1.005, 1.02, 0.001), Verdict::Inconclusive);
        // A certain but irrelevant difference is equivalence.
        assert_eq!(verdict(1.002, 1.004, 0.001), Verdict::Equivalent);
        assert_eq!(verdict(0.0, f64::INFINITY, 1.0), Verdict::Inconclusive);
    }

    /// Swapping arm and reference swaps improvement and regression and nothing else.
    #[test]
    fn verdicts_mirror() {
        for (low, high) in [(1.02, 1.05), (0.95, 0.98), (0.995, 1.005), (0.9, 1.2)] {
            let mirrored = match verdict(low, high, 0.01) {
                Verdict::Improvement => Verdict::Regression,
                Verdict::Regression => Verdict::Improvement,
                same => same,
            };
            assert_eq!(verdict(1.0 / high, 1.0 / low, 0.01), mirrored);
        }
    }

    #[test]
    fn claims_are_held_refuted_or_open() {
        let interval = Interval { low: 1.5, high: 1.7 };
        assert_eq!(ClaimVerdict::of(interval, 1.5), ClaimVerdict::Held);
        assert_eq!(ClaimVerdict::of(interval, 1.8), ClaimVerdict::NotHeld);
        assert_eq!(ClaimVerdict::of(interval, 1.6), ClaimVerdict::Inconclusive);
    }
}
