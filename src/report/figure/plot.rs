//! Points below lines on two logarithmic axes: what such a chart shows, and where everything goes.
//!
//! Where texts beside lines and points go is in [`labels`](super::labels).

use plotters::style::RGBColor;

use super::chart::Shape;
use super::font;
use super::labels::{Area, Label, Segment, labels, stack};
use super::layout::{EM, Frame, GAP, LEADING, Words};
use crate::report::grid::Grid;

/// A chart before it is laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// File name without its ending.
    pub name: String,
    /// What the reader should take from it, in one line.
    pub title: String,
    pub message: String,
    /// Why the figure may not be cited, if so.
    pub caveat: Option<String>,
    pub x_axis: String,
    pub y_axis: String,
    pub roofs: Vec<Roof>,
    pub points: Vec<Point>,
    pub legend: Vec<(String, Symbol)>,
    /// Small print.
    pub notes: Vec<String>,
}

/// A line that nothing exceeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Roof {
    /// As in the data: `DRAM`, `avx2`.
    pub name: String,
    pub label: String,
    pub reach: Reach,
}

/// The height of a line over x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// So much for each unit of x.
    Slope(f64),
    /// The same everywhere.
    Flat(f64),
}

impl Reach {
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Slope(factor) => factor * x,
            Self::Flat(height) => height,
        }
    }
}

/// A mark with a bar from `low` to `high`.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `measured`, `peer` (measured, of another project) or `published`.
    pub series: &'static str,
    pub name: String,
    /// Where the weights lie.
    pub place: String,
    /// How many matrices it stands for.
    pub matrices: usize,
    pub x: f64,
    pub y: f64,
    pub low: f64,
    pub high: f64,
    /// Of the ceiling `bound`.
    pub share: Option<f64>,
    pub bound: String,
    pub symbol: Symbol,
    /// Printed beside it where there is room.
    pub text: String,
}

/// How a point looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Symbol {
    pub shape: Shape,
    pub color: RGBColor,
    /// With a white dot inside.
    pub dotted: bool,
}

impl Plot {
    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() || self.roofs.is_empty()
    }

    /// Everything that is drawn, at full precision.
    pub fn data(&self) -> Grid {
        let columns =
            ["series", "name", "place", "matrices", "ops_per_byte", "gops", "gops_low", "gops_high", "share", "bound"];
        let mut grid = Grid::new(&self.title, &columns);
        for roof in &self.roofs {
            // The height of a slope where a byte is good for one operation is its bandwidth in GB/s.
            let (series, x) = match roof.reach {
                Reach::Slope(_) => ("bandwidth", "1"),
                Reach::Flat(_) => ("peak", ""),
            };
            let height = roof.reach.at(1.0).to_string();
            let row = [series, &roof.name, "", "", x, &height, "", "", "", ""];
            grid.push(row.map(Into::into));
        }
        for point in &self.points {
            grid.push([
                point.series.into(),
                point.name.as_str().into(),
                point.place.as_str().into(),
                point.matrices.to_string().into(),
                point.x.to_string().into(),
                point.y.to_string().into(),
                point.low.to_string().into(),
                point.high.to_string().into(),
                point.share.map(|share| share.to_string()).unwrap_or_default().into(),
                point.bound.as_str().into(),
            ]);
        }
        grid
    }
}

/// Two columns of a paper, 7 inch.
const WIDTH: f64 = 672.0;
const PLOT_HEIGHT: f64 = 420.0;
/// A logarithmic axis from `low` to `high`, on the canvas from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Position of a value; those outside stay at the ends.
    pub fn position(self, value: f64) -> f64 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Those of `steps` times each power of `base` that lie on the axis.
    pub fn ticks(self, base: f64, steps: &[f64]) -> Vec<f64> {
        let powers = (self.low.log(base).floor() as i32)..=(self.high.log(base).ceil() as i32);
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * base.powi(power)));
        // A hair of room: the ends are powers themselves.
        all.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect()
    }
}

/// Positions of all parts of one chart.
#[derive(Clone, Debug, PartialEq)]
pub struct PlotLayout {
    pub frame: Frame,
    pub plot: Area,
    pub x: Scale,
    pub y: Scale,
    pub roofs: Vec<Segment>,
    /// Of roofs, then of the points that have room for theirs.
    pub labels: Vec<Label>,
}

/// How far the x axis begins left of the points, as a factor: the first with room for the labels of the
/// slopes.
const LEFT_OF_POINTS: [f64; 4] = [3.0, 6.0, 12.0, 24.0];

impl PlotLayout {
    /// Lays a chart out.
    pub fn new(chart: &Plot) -> Self {
        let words = Words {
            title: &chart.title,
            message: &chart.message,
            caveat: chart.caveat.as_deref(),
            legend: chart.legend.iter().map(|(name, _)| name.as_str()).collect(),
            notes: chart.notes.clone(),
        };
        let frame = Frame::new(words, WIDTH);
        let top = frame.body_top + EM * LEADING + 0.4 * GAP;
        let frame = frame.close(top + PLOT_HEIGHT + 0.5 * GAP + 2.0 * EM * LEADING);
        let bare = |margin: f64| {
            let ([x_low, x_high], [y_low, y_high]) = extents(chart, margin);
            let y = Scale { low: y_low, high: y_high, start: top + PLOT_HEIGHT, end: top };
            let tick_width = y.ticks(10.0, &Y_STEPS).into_iter().map(|tick| font::width(&label(tick), EM));
            let left = GAP + tick_width.fold(0.0, f64::max) + 0.6 * GAP;
            let right = WIDTH - GAP - font::width(&label(x_high), EM) / 2.0;
            let plot = Area { left, top, right, bottom: top + PLOT_HEIGHT };
            let x = Scale { low: x_low, high: x_high, start: plot.left, end: plot.right };
            let roofs = chart.roofs.iter().map(|roof| segment(roof, chart, x, y)).collect();
            Self { frame: frame.clone(), plot, x, y, roofs, labels: Vec::new() }
        };
        let stacked = LEFT_OF_POINTS.into_iter().find_map(|margin| {
            let layout = bare(margin);
            stack(chart, &layout).map(|labels| (layout, labels))
        });
        let (layout, stacked) = stacked.unwrap_or_else(|| (bare(LEFT_OF_POINTS[0]), Vec::new()));
        let labels = labels(chart, &layout, stacked);
        Self { labels, ..layout }
    }
}

/// Ticks of the y axis within a decade.
pub const Y_STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// A tick's label, free of binary noise.
pub fn label(tick: f64) -> String {
    format!("{}", (tick * 1e4).round() / 1e4)
}

/// What the axes cover: every point, the place where the slowest memory meets the highest peak, and
/// some of the slopes left of the points, which begin a factor of `margin` behind the end.
fn extents(chart: &Plot, margin: f64) -> ([f64; 2], [f64; 2]) {
    let of = |pick: fn(Reach) -> Option<f64>| chart.roofs.iter().filter_map(move |roof| pick(roof.reach));
    let slopes = || of(|reach| if let Reach::Slope(factor) = reach { Some(factor) } else { None });
    let peaks = || of(|reach| if let Reach::Flat(height) = reach { Some(height) } else { None });
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = ends(&mut chart.points.iter().map(|point| point.x));
    let (lowest, highest) = ends(&mut chart.points.iter().flat_map(|point| [point.low, point.high, point.y]));
    let (slow, _) = ends(&mut slopes());
    let (_, top) = ends(&mut peaks());
    let ridge = if slow.is_finite() { top / slow } else { right };
    let x = [power_of_two(left / margin, f64::floor), power_of_two(1.3 * right.max(ridge), f64::ceil)];
    let start = if slow.is_finite() { slow * x[0] } else { lowest };
    (x, [lowest.min(start) / 1.5, 1.6 * highest.max(top)])
}

fn power_of_two(value: f64, round: fn(f64) -> f64) -> f64 {
    2.0_f64.powf(round(value.log2()))
}

/// A slope ends at the highest peak; a peak begins where the fastest memory reaches it.
fn segment(roof: &Roof, chart: &Plot, x: Scale, y: Scale) -> Segment {
    let of = |pick: fn(Reach) -> Option<f64>| chart.roofs.iter().filter_map(move |roof| pick(roof.reach));
    let (from, to) = match roof.reach {
        Reach::Slope(factor) => {
            let top = of(|reach| if let Reach::Flat(height) = reach { Some(height) } else { None });
            let top = top.fold(0.0, f64::max);
            let top = if top > 0.0 { top } else { y.high };
            (x.low.max(y.low / factor), x.high.min(top / factor))
        }
        Reach::Flat(height) => {
            let fastest = of(|reach| if let Reach::Slope(factor) = reach { Some(factor) } else { None });
            let fastest = fastest.fold(0.0, f64::max);
            (if fastest > 0.0 { x.low.max(height / fastest) } else { x.low }, x.high)
        }
    };
    let at = |value: f64| (x.position(value), y.position(roof.reach.at(value)));
    (at(from), at(to))
}

#[cfg(test)]
mod tests {
    use super::super::palette::INK;
    use super::*;

    /// Four memories and two peaks as near as on real machines, and a crowd of points.
    fn crowded() -> Plot {
        let slope = |name: &str, factor: f64| Roof {
            name: name.to_owned(),
            label: format!("{name} {factor} GB/s"),
            reach: Reach::Slope(factor),
        };
        let flat = |name: &str, height: f64| Roof {
            name: name.to_owned(),
            label: format!("{name} int8 peak {height} Gop/s"),
            reach: Reach::Flat(height),
        };
        let point = |at: usize| {
            let (x, y) = (3.9 + 0.4 * (at % 3) as f64, 20.0 * 1.15_f64.powi(at as i32));
            Point {
                series: "measured",
                name: String::new(),
                place: "DRAM".to_owned(),
                matrices: 1,
                x,
                y,
                low: 0.95 * y,
                high: 1.05 * y,
                share: None,
                bound: String::new(),
                symbol: Symbol { shape: Shape::Disc, color: INK, dotted: false },
                text: format!("kernel {at}, 0.9{at} of DRAM"),
            }
        };
        Plot {
            name: "roofline-2t".to_owned(),
            title: "Title".to_owned(),
            message: "Message".to_owned(),
            caveat: None,
            x_axis: "x".to_owned(),
            y_axis: "y".to_owned(),
            roofs: vec![
                slope("L1", 360.0),
                slope("L2", 190.0),
                slope("L3", 110.0),
                slope("DRAM", 26.0),
                flat("avx2", 690.0),
                flat("avx512", 1380.0),
            ],
            points: (0..20).map(point).collect(),
            legend: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn labels_stay_in_the_plot_and_apart() {
        let chart = crowded();
        let layout = PlotLayout::new(&chart);
        for (at, label) in layout.labels.iter().enumerate() {
            assert!(layout.plot.holds(&label.area), "{label:?}");
            assert!(layout.labels[..at].iter().all(|other| !other.area.meets(&label.area)), "{label:?}");
        }
        for (at, (roof, label)) in chart.roofs.iter().zip(&layout.labels).enumerate() {
            assert_eq!(roof.label, label.text, "every line has its label");
            let ((left, low), (right, high)) = layout.roofs[at];
            match label.leader {
                // On the line: as far along it as up.
                Some((_, end)) => {
                    let [along, up] = [(end.0 - left) / (right - left), (end.1 - low) / (high - low)];
                    assert!((0.0..=1.0).contains(&along) && (along - up).abs() < 1e-9, "{label:?}");
                }
                None => assert!(label.area.is_crossed(layout.roofs[at]), "{label:?}"),
            }
            assert_eq!(label.leader.is_some(), matches!(roof.reach, Reach::Slope(_)), "{label:?}");
        }
        assert!(layout.labels.len() > chart.roofs.len(), "no point has room");
    }

    /// Slopes with a point in the corner where their labels would stand interrupt their lines instead.
    #[test]
    fn every_line_has_a_label_without_the_corner() {
        let mut chart = crowded();
        // So long that they end beyond the margin that is kept left of the points.
        for roof in &mut chart.roofs {
            roof.label += " on a machine with a long name";
        }
        let filler = chart.points[0].clone();
        chart.points.extend((0..40).flat_map(|at| {
            let x = 0.16 * 1.12_f64.powi(at);
            [25.0, 100.0, 400.0, 1600.0].map(|y| Point { x, y, low: 0.5 * y, high: 2.0 * y, ..filler.clone() })
        }));
        let layout = PlotLayout::new(&chart);
        let of_roofs = &layout.labels[..chart.roofs.len()];
        assert!(of_roofs.iter().zip(&chart.roofs).all(|(label, roof)| label.text == roof.label));
        assert!(of_roofs.iter().all(|label| label.leader.is_none()));
    }

    #[test]
    fn slopes_meet_peaks_where_they_should() {
        let layout = PlotLayout::new(&crowded());
        let [_, _, _, (_, end), _, (begin, _)] = layout.roofs[..] else { panic!("{:?}", layout.roofs) };
        assert_eq!(end, (layout.x.position(1380.0 / 26.0), layout.y.position(1380.0)));
        assert_eq!(begin, (layout.x.position(1380.0 / 360.0), layout.y.position(1380.0)));
    }

    #[test]
    fn ticks_lie_on_the_axis() {
        let scale = Scale { low: 0.5, high: 64.0, start: 0.0, end: 7.0 };
        assert_eq!(scale.ticks(2.0, &[1.0]), [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
        assert_eq!(
            scale.ticks(10.0, &Y_STEPS).into_iter().map(label).collect::<Vec<_>>(),
            ["0.5", "1", "2", "5", "10", "20", "50"]
        );
        assert_eq!([0.25, 1.0, 128.0].map(|value| scale.position(value).round()), [0.0, 1.0, 7.0]);
    }
}
