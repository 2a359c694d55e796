//! How numbers are printed: with the digits that their uncertainty supports, and a dash for what
//! does not exist.

use super::analysis::{CellResult, MetricResult, Traffic};
use crate::record::Quality;
use crate::stats::Interval;
use crate::stats::contrast::Effect;

/// Printed where there is no number.
pub const NONE: &str = "–";

/// A speed-up and its interval: `1.420 [1.403, 1.437]`.
pub fn effect(effect: &Effect) -> String {
    let digits = decimals(effect.ratio);
    let interval = match effect.interval {
        interval if interval.is_bounded() => format!("{}, {}", end(interval.low, digits), end(interval.high, digits)),
        _ => NONE.to_owned(),
    };
    format!("{:.digits$} [{interval}]", effect.ratio)
}

/// Ratios beyond this factor say no more than that nothing is known: few blocks, many effects at once.
const FAR: f64 = 1000.0;

/// An end of an interval of ratios, whose digits end where it says nothing any more.
fn end(ratio: f64, digits: usize) -> String {
    match ratio {
        _ if ratio > FAR => format!(">{FAR}"),
        _ if ratio < 1.0 / FAR => format!("<{}", 1.0 / FAR),
        _ => format!("{ratio:.digits$}"),
    }
}

/// A published factor, with the digits that it was published with.
pub fn published(factor: f64) -> String {
    format!("{factor}")
}

/// Of a ratio: a tenth of a percent is visible near one, where it matters.
fn decimals(ratio: f64) -> usize {
    match ratio {
        _ if ratio < 2.0 => 3,
        _ if ratio < 10.0 => 2,
        _ => 1,
    }
}

/// Three significant digits, without an exponent.
pub fn significant(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", usize::try_from(2 - magnitude).unwrap_or(0))
}

/// A value and its interval, three significant digits each: `45.0 [43.8, 47.8]`.
pub fn with_interval((value, interval): (f64, Interval)) -> String {
    format!("{} [{}, {}]", significant(value), significant(interval.low), significant(interval.high))
}

/// A probability with three decimals.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// A share as a percentage, with the digits that it was given: 0.95 is `95%`.
pub fn percent(share: f64) -> String {
    format!("{}%", (share * 1e5).round() / 1e3)
}

/// A percentage with two decimals; a dash when it is unbounded.
pub fn two_decimals(share: f64) -> String {
    match share {
        _ if !share.is_finite() => NONE.to_owned(),
        _ if share > FAR => format!(">{}", percent(FAR)),
        _ => format!("{:.2}%", 100.0 * share),
    }
}

/// `f` of a value, or a dash.
pub fn or_none<T>(value: Option<T>, f: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), f)
}

/// A speed with its unit: `512 token/s`.
pub fn speed(metric: Option<&MetricResult>) -> String {
    or_none(metric, |metric| format!("{} {}", significant(metric.median), metric.unit.replace('_', "-")))
}

/// A time in microseconds: `1950 µs`.
pub fn microseconds(metric: Option<&MetricResult>) -> String {
    or_none(metric, |metric| format!("{} µs", significant(metric.median / 1000.0)))
}

/// Bits per weight, three decimals: formats differ by an eighth of a bit.
pub fn bits(cell: &CellResult) -> String {
    or_none(Some(cell.bits_per_weight()).filter(|bits| bits.is_finite()), |bits| format!("{bits:.3}"))
}

pub fn gbps(traffic: Option<Traffic>) -> String {
    or_none(traffic, |traffic| significant(traffic.gbps))
}

/// Share of the roof, and how many brackets moved.
pub fn roof(traffic: Option<Traffic>) -> String {
    or_none(traffic.and_then(|t| t.roof.map(|(share, _)| (share, t.brackets_apart))), |(share, apart)| match apart {
        0 => format!("{share:.2}"),
        _ => format!("{share:.2} ({apart} moved)"),
    })
}

/// What the cell's output is worth: `bit-equal`, `PPL ×1.012, KLD 0.013`.
pub fn quality(quality: &Quality) -> String {
    let parts: Vec<String> = [
        quality.bit_equal.map(|equal| if equal { "bit-equal" } else { "NOT bit-equal" }.to_owned()),
        quality.perplexity_ratio.map(|ratio| format!("PPL ×{ratio:.3}")),
        quality.kld.map(|kld| format!("KLD {kld:.3}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { NONE.to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_size() {
        assert_eq!(
            [0.0, 0.012_345, 1.234, 12.34, 123.4, 1_234.5].map(significant),
            ["0.00", "0.0123", "1.23", "12.3", "123", "1234"]
        );
        assert_eq!([1.0042, 1.5, 0.912, 4.004, 25.31].map(decimals), [3, 3, 3, 2, 1]);
        assert_eq!([0.95, 0.07, 0.955].map(percent), ["95%", "7%", "95.5%"]);
        assert_eq!([0.0, 0.0123].map(p_value), ["<0.001", "0.012"]);
        let unbounded = Interval { low: 0.0, high: f64::INFINITY };
        let (spread, detectable) = (f64::INFINITY, f64::INFINITY);
        let single = Effect { n_blocks: 1, ratio: 1.5, interval: unbounded, p: 1.0, spread, detectable };
        assert_eq!((effect(&single), two_decimals(single.detectable)), ("1.500 [–]".to_owned(), "–".to_owned()));
        let wide = Interval { low: 3e-5, high: 2e6 };
        let far = Effect { interval: wide, ..single };
        assert_eq!(effect(&far), "1.500 [<0.001, >1000]");
        assert_eq!([4e6, 0.0123].map(two_decimals), [">100000%", "1.23%"]);
    }

    #[test]
    fn quality_says_what_was_checked() {
        assert_eq!(quality(&Quality::default()), "–");
        let all =
            Quality { bit_equal: Some(true), perplexity_ratio: Some(1.0123), kld: Some(0.0131), top1_agreement: None };
        assert_eq!(quality(&all), "bit-equal, PPL ×1.012, KLD 0.013");
    }
}
