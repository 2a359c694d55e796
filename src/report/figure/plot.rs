//! Points below lines on two logarithmic axes: what such a chart shows, and where everything goes.
//!
//! Lines carry their labels themselves. A label interrupts its line, at the place along it where the
//! box of the text meets the fewest other things; a label of a point stands beside it or, where there
//! is no room, nowhere: the data beside the figure have all of them.

use plotters::style::RGBColor;

use super::chart::Shape;
use super::font;
use super::layout::{EM, GAP, LEADING, NOTE_EM, TITLE_EM, legend_places};
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
    /// `measured` or `published`.
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
/// Half the size of a mark with the distance that texts keep from it.
const CLEARANCE: f64 = 6.0;
/// Places along a line that are tried for its label.
const TRIES: usize = 48;

/// Costs of a label's box for each thing that it meets: another label, a point, a line.
const MEETS_LABEL: f64 = 1e4;
const MEETS_POINT: f64 = 100.0;
const MEETS_LINE: f64 = 10.0;

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

/// A rectangle on the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    /// Of one line of text with its left end and its middle at `at`.
    fn of_text(text: &str, (left, middle): (f64, f64)) -> Self {
        let half = 0.65 * EM;
        Self { left, top: middle - half, right: left + font::width(text, EM), bottom: middle + half }
    }

    pub fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }

    /// Whether a straight line passes through it: clipped to its width, the line is within its height.
    fn is_crossed(&self, (from, to): Segment) -> bool {
        let (left, right) = (from.0.max(self.left), to.0.min(self.right));
        if left > right {
            return false;
        }
        let height = |x: f64| from.1 + (to.1 - from.1) * (x - from.0) / (to.0 - from.0).max(f64::EPSILON);
        let (a, b) = (height(left), height(right));
        a.min(b) <= self.bottom && b.max(a) >= self.top
    }
}

/// A straight line, from left to right.
pub type Segment = ((f64, f64), (f64, f64));

/// A text with its box: its left end is the box's, and so is its middle.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub text: String,
    pub area: Area,
}

/// Positions of all parts of one chart.
#[derive(Clone, Debug, PartialEq)]
pub struct PlotLayout {
    pub width: f64,
    pub height: f64,
    pub title: Vec<String>,
    pub title_top: f64,
    pub message: Vec<String>,
    pub message_top: f64,
    pub legend: Vec<(f64, usize)>,
    pub legend_top: f64,
    pub y_axis_top: f64,
    pub plot: Area,
    pub x: Scale,
    pub y: Scale,
    pub roofs: Vec<Segment>,
    /// Of roofs, then of the points that have room for theirs.
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    pub notes_top: f64,
}

impl PlotLayout {
    /// Lays a chart out.
    pub fn new(chart: &Plot) -> Self {
        let inner = WIDTH - 2.0 * GAP;
        let caveat_width = chart.caveat.as_ref().map_or(0.0, |caveat| font::width(caveat, EM) + GAP);
        let title = font::wrap(&chart.title, TITLE_EM, inner - caveat_width);
        let message = font::wrap(&chart.message, EM, inner);
        let notes: Vec<String> = chart.notes.iter().flat_map(|note| font::wrap(note, NOTE_EM, inner)).collect();
        let legend = legend_places(chart.legend.iter().map(|(name, _)| name.as_str()), inner);

        let title_top = GAP;
        let message_top = title_top + title.len() as f64 * TITLE_EM * LEADING;
        let legend_top = message_top + message.len() as f64 * EM * LEADING + 0.5 * GAP;
        let legend_lines = legend.last().map_or(0, |(_, line)| line + 1) as f64;
        let y_axis_top = legend_top + legend_lines * EM * LEADING + 0.7 * GAP;
        let top = y_axis_top + EM * LEADING + 0.4 * GAP;
        let ([x_low, x_high], [y_low, y_high]) = extents(chart);
        let y = Scale { low: y_low, high: y_high, start: top + PLOT_HEIGHT, end: top };
        let tick_width = y.ticks(10.0, &Y_STEPS).into_iter().map(|tick| font::width(&label(tick), EM));
        let left = GAP + tick_width.fold(0.0, f64::max) + 0.6 * GAP;
        let right = WIDTH - GAP - font::width(&label(x_high), EM) / 2.0;
        let plot = Area { left, top, right, bottom: top + PLOT_HEIGHT };
        let x = Scale { low: x_low, high: x_high, start: plot.left, end: plot.right };
        let notes_top = plot.bottom + 0.5 * GAP + 2.0 * EM * LEADING + 0.5 * GAP;
        let roofs: Vec<Segment> = chart.roofs.iter().map(|roof| segment(roof, chart, x, y)).collect();
        let labels = labels(chart, &roofs, &plot, x, y);
        Self {
            width: WIDTH,
            height: notes_top + notes.len() as f64 * NOTE_EM * LEADING + GAP,
            title,
            title_top,
            message,
            message_top,
            legend,
            legend_top,
            y_axis_top,
            plot,
            x,
            y,
            roofs,
            labels,
            notes,
            notes_top,
        }
    }

    /// Size in pixels.
    pub fn size(&self, scale: f64) -> (u32, u32) {
        ((self.width * scale).ceil() as u32, (self.height * scale).ceil() as u32)
    }
}

/// Ticks of the y axis within a decade.
pub const Y_STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// A tick's label, free of binary noise.
pub fn label(tick: f64) -> String {
    format!("{}", (tick * 1e4).round() / 1e4)
}

/// What the axes cover: every point, the place where the slowest memory meets the highest peak, and
/// some of the slopes left of the points.
fn extents(chart: &Plot) -> ([f64; 2], [f64; 2]) {
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
    let x = [power_of_two(left / 3.0, f64::floor), power_of_two(1.3 * right.max(ridge), f64::ceil)];
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

/// Places the labels of the lines, then those of the points for which there is room.
fn labels(chart: &Plot, roofs: &[Segment], plot: &Area, x: Scale, y: Scale) -> Vec<Label> {
    let around = |point: &Point| {
        let (px, low, high) = (x.position(point.x), y.position(point.low), y.position(point.high));
        let middle = y.position(point.y);
        let (top, bottom) = (high.min(middle) - CLEARANCE, low.max(middle) + CLEARANCE);
        Area { left: px - CLEARANCE, top, right: px + CLEARANCE, bottom }
    };
    let points: Vec<Area> = chart.points.iter().map(around).collect();
    let mut labels: Vec<Label> = Vec::new();
    let cost = |area: &Area, labels: &[Label], own: Option<usize>| {
        if !plot.holds(area) {
            return f64::INFINITY;
        }
        let met = labels.iter().filter(|label| label.area.meets(area)).count() as f64;
        let marks = points.iter().filter(|point| point.meets(area)).count();
        let lines = roofs.iter().enumerate().filter(|(at, line)| Some(*at) != own && area.is_crossed(**line)).count();
        MEETS_LABEL * met + MEETS_POINT * marks as f64 + MEETS_LINE * lines as f64
    };
    for (at, (roof, line)) in chart.roofs.iter().zip(roofs).enumerate() {
        let width = font::width(&roof.label, EM);
        let tries = (0..=TRIES).map(|step| {
            let share = step as f64 / TRIES as f64;
            // Peaks prefer their right end, slopes a place a third up.
            let wanted: f64 = if matches!(roof.reach, Reach::Flat(_)) { 1.0 } else { 0.3 };
            let middle = line.0.0 + share * (line.1.0 - line.0.0);
            let height = line.0.1 + share * (line.1.1 - line.0.1);
            let area = Area::of_text(&roof.label, (middle - width / 2.0, height));
            (cost(&area, &labels, Some(at)) + (share - wanted).abs(), area)
        });
        let best = tries.min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((cost, area)) = best
            && cost.is_finite()
        {
            labels.push(Label { text: roof.label.clone(), area });
        }
    }
    for (point, area) in chart.points.iter().zip(&points).filter(|(point, _)| !point.text.is_empty()) {
        let width = font::width(&point.text, EM);
        let Area { left, top, right, bottom } = *area;
        let middle = y.position(point.y);
        let (right, before, centred) = (right + 2.0, left - 2.0 - width, x.position(point.x) - width / 2.0);
        let beside = [middle, top, bottom].map(|row| [(right, row), (before, row)]).concat();
        let (above, below) = (top - 0.8 * EM, bottom + 0.8 * EM);
        let tries = beside.into_iter().chain([(centred, above), (centred, below)]);
        let mut areas = tries.map(|at| Area::of_text(&point.text, at));
        let free = areas.find(|area| cost(area, &labels, None) == 0.0);
        labels.extend(free.map(|area| Label { text: point.text.clone(), area }));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::super::palette::INK;
    use super::*;

    /// Four memories and two peaks as near as on real machines, and a crowd of points.
    fn crowded() -> Plot {
        let slope = |name: &str, factor: f64| Roof {
            name: name.to_owned(),
            label: format!("{name} {factor} GB/s, 2 threads"),
            reach: Reach::Slope(factor),
        };
        let flat = |name: &str, height: f64| Roof {
            name: name.to_owned(),
            label: format!("{name} int8 peak {height} Gop/s, 2 threads"),
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
            assert!(label.area.is_crossed(layout.roofs[at]), "{label:?}");
        }
        assert!(layout.labels.len() > chart.roofs.len(), "no point has room");
    }

    #[test]
    fn slopes_meet_peaks_where_they_should() {
        let layout = PlotLayout::new(&crowded());
        let [_, _, _, (_, end), _, (begin, _)] = layout.roofs[..] else { panic!("{:?}", layout.roofs) };
        assert_eq!(end, (layout.x.position(1380.0 / 26.0), layout.y.position(1380.0)));
        assert_eq!(begin, (layout.x.position(1380.0 / 360.0), layout.y.position(1380.0)));
    }

    #[test]
    fn a_box_is_crossed_by_lines_through_it_alone() {
        let area = Area { left: 10.0, top: 10.0, right: 20.0, bottom: 14.0 };
        assert!(area.is_crossed(((0.0, 22.0), (30.0, 2.0))) && area.is_crossed(((0.0, 12.0), (30.0, 12.0))));
        assert!(!area.is_crossed(((0.0, 9.0), (30.0, 9.0))) && !area.is_crossed(((21.0, 12.0), (30.0, 12.0))));
        assert!(!area.is_crossed(((0.0, 40.0), (30.0, 20.0))));
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
