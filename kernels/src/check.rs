//! Is a kernel right? Every registered kernel against the reference, bit for bit.
//!
//! Sizes straddle the stripe of 16 rows, the tile of 64 rows and the segment of 128 weights, the last segment is short,
//! codes and activations include the extremes that overflow first, outputs have canaries around
//! them. Code that is compiled for some K is checked on matrices of each. A kernel that this CPU cannot run is skipped with the reason; the caller must treat
//! "nothing checked" as a failure.

use crate::{
    activations::Activations,
    format::Format,
    gemv::{Blocking, GemvJob, Output, Prefetch, Scratch},
    granularity::{Granularity, TILE_ROWS},
    level::Level,
    ops::lanes::tile_square_sum,
    packed::PackedMatrix,
    quantized::QuantizedMatrix,
    random::SplitMix64,
    reference,
    registry::{BoundKernel, Kernel},
    shape::{COMPILED_COLS, Shape},
    variant::Variant,
};

/// Shapes `(rows, cols)`: below, at and above a stripe and a tile, a short or odd last segment, and
/// the longest K for which exactness is promised.
pub const SHAPES: &[(usize, usize)] = &[
    (1, 1),
    (15, 300),
    (16, 192),
    (17, 96),
    (63, 64),
    (64, 128),
    (65, 172),
    (130, 1024),
    (7, 640),
    (129, 255),
    (2, 65_536),
];

/// Rows of the matrices that code of compile-time shapes is checked on: four stripes at a time, and one of a
/// single row.
const SHAPED_ROWS: usize = TILE_ROWS + 1;

/// What is written around outputs; any other value there afterwards is a stray store.
pub(crate) const CANARY: f32 = -1.234_567_9e30;

/// Runs of a kernel on each case of a compile-time shape: every prefetch with both epilogues.
const SHAPED_RUNS: usize = 2 * Prefetch::ALL.len();

/// Runs of a kernel on each other case: the same, then every other blocking.
const RUNS: usize = SHAPED_RUNS + Blocking::ALL.len() - 1;

/// Canaries on either side of an output.
pub(crate) const MARGIN: usize = 16;

/// What became of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Bit-equal in every case that its layout offers, at least one.
    Equal {
        /// Runs: cases with every prefetch and epilogue, and with every blocking; and those of compile-time
        /// shapes, where the kernel has them.
        cases: usize,
        /// Runs left out, because the layout does not offer the case's granularity for the format.
        not_offered: usize,
    },
    /// Not run, with the reason.
    Skipped(String),
    /// The first case that differed.
    Failed(Mismatch),
}

/// Where a kernel first differed from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Shape, granularity, fill, blocking, prefetch and epilogue of the case, and where its shape was known.
    pub case: String,
    /// Output row, or nothing if a canary was overwritten.
    pub row: Option<usize>,
    /// What the kernel gave.
    pub found: f32,
    /// What the reference gives.
    pub expected: f32,
}

/// A problem with the answer that every kernel of its format must give.
pub(crate) struct Case {
    pub(crate) label: String,
    pub(crate) matrix: QuantizedMatrix,
    pub(crate) x: Vec<f32>,
    pub(crate) expected: Vec<f32>,
}

/// Codes and activations of a case.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Random,
    /// Lowest codes against the largest activations of one sign.
    Lowest,
    /// Highest codes against alternating extremes.
    Highest,
    /// Random codes against zeros with one subnormal.
    Tiny,
}

const FILLS: [Fill; 4] = [Fill::Random, Fill::Lowest, Fill::Highest, Fill::Tiny];

/// The cases of one format; building them costs far more than running a kernel on them.
pub struct Cases {
    of_any_shape: Vec<Case>,
    /// Of shapes that some kernels are compiled for.
    of_compiled_shapes: Vec<Case>,
}

impl Cases {
    /// Every shape, fill and granularity for `format`, from `seed`.
    pub fn new(format: Format, seed: u64) -> Self {
        // An integer sum ends with its segment, whatever K: three fills hold all that differs.
        let of_cols = |&cols: &usize| {
            let fills = [Fill::Random, Fill::Lowest, Fill::Highest];
            fills.map(|fill| Case::new(format, Granularity::Group128, SHAPED_ROWS, cols, fill, seed))
        };
        let of_compiled_shapes = COMPILED_COLS.iter().flat_map(of_cols).collect();
        Self { of_any_shape: cases_of_any_shape(format, seed), of_compiled_shapes }
    }
}

/// Every shape that no kernel is compiled for, with every fill and granularity.
pub(crate) fn cases_of_any_shape(format: Format, seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for &(rows, cols) in SHAPES {
        for fill in FILLS {
            for &granularity in Granularity::ALL {
                let long = cols > 4096;
                if long && (granularity != Granularity::Group128 || matches!(fill, Fill::Tiny)) {
                    continue;
                }
                cases.push(Case::new(format, granularity, rows, cols, fill, seed));
            }
        }
    }
    cases
}

impl Case {
    fn new(format: Format, granularity: Granularity, rows: usize, cols: usize, fill: Fill, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed ^ ((rows as u64) << 32 | cols as u64));
        let seeded = QuantizedMatrix::random(rows, cols, format, granularity, random.next())
            .expect("the shapes of the check are not empty");
        let fields = format.fields();
        let (a_limit, b_limit) = (1i32 << (fields.a_bits - 1), 1i32 << (fields.b_bits - 1));
        let uniform = |code: u8| {
            let codes = vec![code; seeded.pairs_per_row() * rows];
            QuantizedMatrix::from_parts(rows, cols, format, granularity, codes, seeded.scales().to_vec())
                .expect("codes and scales have the seeded matrix's lengths")
        };
        let matrix = match fill {
            Fill::Random | Fill::Tiny => seeded,
            Fill::Lowest => uniform(fields.code(-a_limit, -b_limit)),
            Fill::Highest => uniform(fields.code(a_limit - 1, b_limit - 1)),
        };
        let x: Vec<f32> = (0..cols)
            .map(|k| match fill {
                Fill::Random => random.normal_f32(),
                Fill::Lowest => -3.0,
                Fill::Highest => 3.0 - 6.0 * (k % 2) as f32,
                Fill::Tiny => f32::MIN_POSITIVE / 4.0 * (k % 37 == 0) as u8 as f32,
            })
            .collect();
        let expected = reference::gemv(&matrix, &x);
        Self { label: format!("{rows}×{cols} {granularity} {fill:?}"), matrix, x, expected }
    }
}

/// Runs `kernel` on every case of its format.
pub fn check(kernel: &Kernel, cases: &Cases) -> Outcome {
    let bound = match kernel.bind() {
        Ok(bound) => bound,
        Err(missing) => return Outcome::Skipped(missing.to_string()),
    };
    let Variant { format, layout, .. } = kernel.variant;
    let (offered, not_offered): (Vec<&Case>, Vec<&Case>) = cases
        .of_any_shape
        .iter()
        .partition(|case| layout.infeasible_under(format, case.matrix.granularity()).is_none());
    let whole = Prefetch::ALL.iter().flat_map(|&p| [(Blocking::Full, p, false), (Blocking::Full, p, true)]);
    let blocks = Blocking::ALL.iter().filter(|b| **b != Blocking::Full).map(|&b| (b, Prefetch::None, false));
    let runs: Vec<_> = whole.chain(blocks).collect();
    for &case in &offered {
        for &(blocking, prefetch, fused) in &runs {
            let run = Run { case, shape: Shape::Runtime, blocking, prefetch, fused };
            if let Some(mismatch) = run.differs(&bound.with_blocking(blocking)) {
                return Outcome::Failed(mismatch);
            }
        }
    }
    let compiled = kernel.compiled_cols();
    let shaped: Vec<&Case> = cases.of_compiled_shapes.iter().filter(|c| compiled.contains(&c.matrix.cols())).collect();
    for &case in &shaped {
        for &(blocking, prefetch, fused) in &runs[..SHAPED_RUNS] {
            let run = Run { case, shape: Shape::CompileTime, blocking, prefetch, fused };
            if let Some(mismatch) = run.differs(&bound) {
                return Outcome::Failed(mismatch);
            }
        }
    }
    let (any, shaped) = (offered.len() * RUNS, shaped.len() * SHAPED_RUNS);
    Outcome::Equal { cases: any + shaped, not_offered: not_offered.len() * RUNS }
}

/// One way to run a kernel on a case.
struct Run<'a> {
    case: &'a Case,
    shape: Shape,
    blocking: Blocking,
    prefetch: Prefetch,
    fused: bool,
}

impl Run<'_> {
    /// Where `kernel`, which has the blocking already, differs from the reference.
    fn differs(&self, kernel: &BoundKernel) -> Option<Mismatch> {
        let Self { case, shape, blocking, prefetch, fused } = *self;
        let (row, found, expected) = differs(kernel, case, shape, prefetch, fused)?;
        let epilogue = if fused { "fused" } else { "separate" };
        let axes = format!("blocking={blocking} shape={shape} prefetch={prefetch} epilogue={epilogue}");
        Some(Mismatch { case: format!("{} {axes}", case.label), row, found, expected })
    }
}

/// The first difference of a kernel from one case, tile by tile.
fn differs(
    kernel: &BoundKernel,
    case: &Case,
    shape: Shape,
    prefetch: Prefetch,
    fused: bool,
) -> Option<(Option<usize>, f32, f32)> {
    let Variant { layout, .. } = kernel.variant();
    let weights = PackedMatrix::pack(&case.matrix, layout).expect("only cases that the layout offers are run");
    let kernel = match shape {
        Shape::Runtime => *kernel,
        Shape::CompileTime => {
            kernel.with_shape_of(&weights).expect("only cases that the kernel is compiled for are run")
        }
    };
    let mut activations = Activations::default();
    activations.quantize(&case.x, weights.segment()).expect("the activations of the check are finite");
    let rows = weights.rows();
    let residual = |row: usize| (row % 5) as f32 * 0.25;
    let mut guarded = vec![CANARY; rows + 2 * MARGIN];
    let mut sums = vec![CANARY; rows.div_ceil(TILE_ROWS)];
    if fused {
        for row in 0..rows {
            guarded[MARGIN + row] = residual(row);
        }
    }
    let mut scratch = Scratch::default();
    for (tile, square_sum) in sums.iter_mut().enumerate() {
        let first = tile * TILE_ROWS;
        let out = &mut guarded[MARGIN + first..MARGIN + (first + TILE_ROWS).min(rows)];
        let output = if fused {
            Output::AddResidual { stream: out, square_sums: std::slice::from_mut(square_sum) }
        } else {
            Output::Store(out)
        };
        let (weights, activations, scratch) = (&weights, &activations, &mut scratch);
        kernel.gemv(GemvJob { weights, activations, tiles: tile..tile + 1, output, prefetch, scratch });
    }
    let expected: Vec<f32> =
        case.expected.iter().enumerate().map(|(row, y)| if fused { residual(row) + y } else { *y }).collect();
    let stray = guarded[..MARGIN].iter().chain(&guarded[MARGIN + rows..]).find(|c| c.to_bits() != CANARY.to_bits());
    if let Some(&stray) = stray {
        return Some((None, stray, CANARY));
    }
    let found = &guarded[MARGIN..][..rows];
    if let Some(row) = (0..rows).find(|&row| found[row].to_bits() != expected[row].to_bits()) {
        return Some((Some(row), found[row], expected[row]));
    }
    if fused {
        for (tile, values) in expected.chunks(TILE_ROWS).enumerate() {
            let square_sum = tile_square_sum(values);
            if sums[tile].to_bits() != square_sum.to_bits() {
                return Some((Some(tile * TILE_ROWS), sums[tile], square_sum));
            }
        }
    }
    None
}
