//! Bars that are parts of a whole, one below the other.

use plotters::style::RGBColor;

use super::font;
use super::layout::{EM, Frame, GAP, LEADING, Words};
use super::palette::{BLUE, GREEN, GUIDE, NEUTRAL, ORANGE, PURPLE, SKY, VERMILLION};
use crate::report::grid::Grid;

/// Height of a bar, and the gap below it.
const BAR: f64 = 20.0;
const BELOW: f64 = 8.0;
/// Length of a whole.
const WHOLE: f64 = 460.0;
/// Labels are broken into lines of this width.
const LABEL_LIMIT: f64 = 190.0;

/// Bars of the same parts.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareChart {
    /// File name without its ending.
    pub name: String,
    pub title: String,
    /// What the reader should take from it, in one line.
    pub message: String,
    pub bars: Vec<ShareBar>,
    /// Small print.
    pub notes: Vec<String>,
}

/// A whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareBar {
    pub label: String,
    /// From left to right.
    pub shares: Vec<Share>,
}

/// A part of a whole: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub name: &'static str,
    pub share: f64,
}

/// The colours of the parts, in their order. Neighbours differ in lightness, too.
const COLORS: [RGBColor; 8] = [BLUE, ORANGE, GREEN, SKY, VERMILLION, PURPLE, NEUTRAL, GUIDE];

impl ShareChart {
    /// Everything that is drawn, at full precision.
    pub fn data(&self) -> Grid {
        let mut grid = Grid::new(&self.title, &["row", "part", "share"]);
        for bar in &self.bars {
            for part in &bar.shares {
                grid.push([bar.label.as_str().into(), part.name.into(), part.share.to_string().into()]);
            }
        }
        grid
    }

    /// Names and colours of the parts that any bar has.
    pub fn legend(&self) -> Vec<(&'static str, RGBColor)> {
        let names = self.bars.first().into_iter().flat_map(|bar| &bar.shares).map(|part| part.name);
        let any = |at: usize| self.bars.iter().any(|bar| bar.shares[at].share >= LEAST);
        names.zip(COLORS).enumerate().filter(|(at, _)| any(*at)).map(|(_, entry)| entry).collect()
    }
}

/// Smaller parts are too small to be seen.
const LEAST: f64 = 0.002;

/// Where everything goes.
pub struct ShareLayout {
    pub frame: Frame,
    pub bars: Vec<BarLayout>,
}

/// A bar with its label.
pub struct BarLayout {
    /// Right of its label, and the lines of it.
    pub label: (f64, Vec<String>),
    pub top: f64,
    pub bottom: f64,
    pub parts: Vec<Part>,
}

/// A part of a bar.
pub struct Part {
    pub left: f64,
    pub right: f64,
    pub color: RGBColor,
    /// Where there is room for it.
    pub text: Option<String>,
}

impl ShareLayout {
    /// Lays a chart out.
    ///
    /// # Panics
    ///
    /// When a whole has more parts than there are colours.
    pub fn new(chart: &ShareChart) -> Self {
        assert!(chart.bars.iter().all(|bar| bar.shares.len() <= COLORS.len()), "a colour for each part");
        let labels: Vec<Vec<String>> = chart.bars.iter().map(|bar| font::wrap(&bar.label, EM, LABEL_LIMIT)).collect();
        let label_width = labels.iter().flatten().map(|line| font::width(line, EM)).fold(0.0, f64::max);
        let left = GAP + label_width + GAP;
        let words = Words {
            title: &chart.title,
            message: &chart.message,
            caveat: None,
            legend: chart.legend().into_iter().map(|(name, _)| name).collect(),
            notes: chart.notes.clone(),
        };
        let frame = Frame::new(words, left + WHOLE + GAP);
        let mut top = frame.body_top;
        let mut bars = Vec::new();
        for (bar, lines) in chart.bars.iter().zip(labels) {
            let height = BAR.max(lines.len() as f64 * EM * LEADING);
            let middle = top + height / 2.0;
            let mut x = left;
            let parts = bar.shares.iter().zip(COLORS).map(|(part, color)| {
                let (from, to) = (x, x + part.share * WHOLE);
                x = to;
                let text = format!("{:.0} %", 100.0 * part.share);
                let fits = font::width(&text, EM) + 6.0 <= to - from;
                Part { left: from, right: to, color, text: fits.then_some(text) }
            });
            bars.push(BarLayout {
                parts: parts.collect(),
                label: (left - GAP, lines),
                top: middle - BAR / 2.0,
                bottom: middle + BAR / 2.0,
            });
            top += height + BELOW;
        }
        Self { frame: frame.close(top), bars }
    }
}

/// Whether text on a colour is to be dark: by its luma (ITU-R BT.601).
pub fn is_light(RGBColor(red, green, blue): RGBColor) -> bool {
    0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue) > 140.0
}
