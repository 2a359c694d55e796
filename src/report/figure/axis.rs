//! The axis of an interval chart: logarithmic for ratios, so that a speed-up and its inverse are equally far
//! from one, and linear for shares.

use super::font;

/// What the marks of a chart are, which decides its axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Ratios; the axis goes a factor of `limit` from one at most, and marks beyond become arrows at its end.
    Ratios { limit: f64 },
    /// Shares of a whole, from 0 to 1.
    Shares,
}

/// Maps the values of a chart to positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    Ratios(LogAxis),
    Shares,
}

/// The share that is marked by a line: what is found so often counts as found.
const SHARE_GUIDE: f64 = 0.8;

impl Axis {
    /// The axis of a chart of this scale with these values.
    pub fn covering(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        match scale {
            Scale::Ratios { limit } => Axis::Ratios(LogAxis::covering(values, limit)),
            Scale::Shares => Axis::Shares,
        }
    }

    /// Position of a value, 0 at the left end and 1 at the right; values outside stay at the ends.
    pub fn position(self, value: f64) -> f64 {
        match self {
            Axis::Ratios(axis) => axis.position(value),
            Axis::Shares => (PADDING / 2.0 + value * (1.0 - PADDING)).clamp(0.0, 1.0),
        }
    }

    /// Whether a value has a place of its own.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Axis::Ratios(axis) => axis.holds(value),
            Axis::Shares => (0.0..=1.0).contains(&value),
        }
    }

    /// Round values that are marked, with their labels.
    pub fn ticks(self, width: f64, em: f64) -> Vec<(f64, String)> {
        match self {
            Axis::Ratios(axis) => axis.ticks(width, em).into_iter().map(|tick| (tick, label(tick))).collect(),
            Axis::Shares => (0..=5).map(|n| (f64::from(n) / 5.0, format!("{}%", 20 * n))).collect(),
        }
    }

    /// The value that a strong line stands at.
    pub fn guide(self) -> f64 {
        match self {
            Axis::Ratios(_) => 1.0,
            Axis::Shares => SHARE_GUIDE,
        }
    }
}

/// Maps ratios to positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogAxis {
    low: f64,
    high: f64,
}

/// Room left beyond the outermost value, as a share of the range.
const PADDING: f64 = 0.06;
/// Factor that the axis spans at least, so that noise does not fill the panel.
const LEAST_SPAN: f64 = 1.1;

impl LogAxis {
    /// Covers one and all values, which are positive, but goes at most a factor of `limit` from one.
    pub fn covering(values: impl Iterator<Item = f64>, limit: f64) -> LogAxis {
        let (low, high) = values.fold((1.0_f64, 1.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = (low.max(1.0 / limit), high.min(limit));
        let grow = (LEAST_SPAN / (high / low)).max(1.0).sqrt();
        let (low, high) = ((low / grow).ln(), (high * grow).ln());
        let room = PADDING * (high - low);
        LogAxis { low: low - room, high: high + room }
    }

    /// Position of a ratio, 0 at the left end and 1 at the right; values outside stay at the ends.
    pub fn position(self, ratio: f64) -> f64 {
        ((ratio.ln() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Whether a ratio has a place of its own.
    pub fn holds(self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio.ln())
    }

    /// The finest set of round ticks whose labels keep their distance on an axis of this width.
    pub fn ticks(self, width: f64, em: f64) -> Vec<f64> {
        let fits = |ticks: &Vec<f64>| {
            ticks.windows(2).all(|pair| {
                let room = (font::width(&label(pair[0]), em) + font::width(&label(pair[1]), em)) / 2.0 + 0.7 * em;
                (self.position(pair[1]) - self.position(pair[0])) * width >= room
            })
        };
        let inside = |tick: &f64| self.holds(*tick);
        let regular = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].into_iter().map(|step: f64| {
            let last = (self.high.exp() / step).floor() as u32;
            (1..=last.min(2000)).map(|n| f64::from(n) * step).filter(inside).collect::<Vec<f64>>()
        });
        let decades = |digits: &'static [f64]| {
            let all = (-3..=4).flat_map(move |power| digits.iter().map(move |digit| digit * 10_f64.powi(power)));
            all.filter(inside).collect::<Vec<f64>>()
        };
        let coarse = [&[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0][..], &[1.0, 2.0, 5.0], &[1.0]].into_iter().map(decades);
        regular.chain(coarse).find(fits).unwrap_or_else(|| vec![1.0])
    }
}

/// A tick's label, free of binary noise: `0.95`, `1`, `1.5`.
pub fn label(tick: f64) -> String {
    format!("{}", (tick * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_inverses_are_equally_far_from_one() {
        let axis = LogAxis::covering([0.5, 2.0].into_iter(), f64::INFINITY);
        let [half, one, double] = [0.5, 1.0, 2.0].map(|ratio| axis.position(ratio));
        assert!((double - one - (one - half)).abs() < 1e-12);
        assert!(half > 0.0 && double < 1.0);
    }

    #[test]
    fn ticks_are_round_and_apart() {
        let labels = |values: [f64; 2], width: f64| -> Vec<String> {
            LogAxis::covering(values.into_iter(), f64::INFINITY).ticks(width, 11.0).into_iter().map(label).collect()
        };
        assert_eq!(labels([0.97, 1.02], 200.0), ["0.96", "0.98", "1", "1.02", "1.04"]);
        assert_eq!(labels([0.8, 4.0], 200.0), ["0.8", "1", "1.5", "2", "3", "4"]);
        assert!(labels([0.5, 100.0], 120.0).len() >= 3);
    }

    #[test]
    fn shares_go_from_none_to_all() {
        let axis = Axis::covering(Scale::Shares, [].into_iter());
        let [none, half, all] = [0.0, 0.5, 1.0].map(|share| axis.position(share));
        assert!(0.0 < none && all < 1.0 && (half - (none + all) / 2.0).abs() < 1e-12);
        assert!(axis.holds(1.0) && !axis.holds(1.01));
        assert_eq!(axis.ticks(200.0, 11.0)[4], (axis.guide(), "80%".to_owned()));
    }

    #[test]
    fn a_limit_ends_the_axis() {
        let axis = LogAxis::covering([0.9, 68.0].into_iter(), 2.5);
        assert!(axis.holds(0.9) && axis.holds(2.5) && !axis.holds(68.0));
        assert_eq!([axis.position(68.0), axis.position(0.01)], [1.0, 0.0]);
    }
}
