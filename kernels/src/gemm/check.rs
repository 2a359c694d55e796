//! Is a GEMM kernel right? Every column against the reference, bit for bit.
//!
//! The matrices and the first column are those of the [check of GEMV](crate::check), extremes
//! included. Numbers of columns straddle the register tiles of 4, 6 and 12 and, for one matrix, the chunk
//! of 132; shares of a product begin and end within a tile.

use super::{BLOCK, BoundKernel, CHUNK, GemmJob, Kernel, Variant};
use crate::{
    activations::Activations,
    check::{self, CANARY, Case, MARGIN, Mismatch, Outcome},
    format::Format,
    gemm::ActivationBatch,
    granularity::TILE_ROWS,
    packed::PackedMatrix,
    reference,
};

/// Numbers of columns: around the tiles of every instruction set, and two blocks and a half.
pub const COLUMNS: &[usize] = &[1, 2, 3, 4, 5, 11, 12, 13, 31];

/// Columns that differ; the others repeat them. Coprime to every tile, so that no two columns that a
/// mistake could exchange are equal.
const DISTINCT: usize = 7;

/// Parts into which a product is cut, for each number of columns.
const SHARES: [usize; 2] = [1, 3];

/// Problems with more columns than the one of the check of GEMV.
pub struct GemmCases(Vec<GemmCase>);

struct GemmCase {
    case: Case,
    /// Activations and products of each column.
    columns: Vec<(Vec<f32>, Vec<f32>)>,
}

impl GemmCases {
    /// Every shape, fill and granularity that matrices times vectors are checked on, from `seed`.
    pub fn new(format: Format, seed: u64) -> Self {
        Self(check::cases_of_any_shape(format, seed).into_iter().map(GemmCase::new).collect())
    }
}

impl GemmCase {
    fn new(case: Case) -> Self {
        let mut columns = vec![(case.x.clone(), case.expected.clone())];
        for column in 1..DISTINCT {
            // Other scales and signs in every segment, and extremes at other places.
            let factor = |k: usize| (1.0 + (k / 32 % 5 * column) as f32) * if column % 2 == 0 { 1.0 } else { -1.0 };
            let turned = (0..case.x.len()).map(|k| case.x[(k + column) % case.x.len()] * factor(k));
            let x: Vec<f32> = turned.collect();
            let expected = reference::gemv(&case.matrix, &x);
            columns.push((x, expected));
        }
        Self { case, columns }
    }
}

/// Runs `kernel` on every case of its format.
pub fn check(kernel: &Kernel, cases: &GemmCases) -> Outcome {
    let bound = match kernel.bind() {
        Ok(bound) => bound,
        Err(missing) => return Outcome::Skipped(missing.to_string()),
    };
    let Variant { format, .. } = kernel.variant;
    let layout = kernel.variant.layout();
    let (mut runs, mut not_offered) = (0, 0);
    let mut chunk_checked = false;
    for case in &cases.0 {
        let offered = layout.infeasible_under(format, case.case.matrix.granularity()).is_none();
        let long = offered && !chunk_checked && case.case.matrix.rows() > TILE_ROWS;
        chunk_checked |= long;
        for &columns in COLUMNS.iter().chain(long.then_some(&(CHUNK + BLOCK + 1))) {
            for shares in SHARES {
                if !offered {
                    not_offered += 1;
                    continue;
                }
                runs += 1;
                if let Some((column, row, found, expected)) = differs(&bound, case, columns, shares) {
                    let case = format!("{} columns={columns} shares={shares} column={column}", case.case.label);
                    return Outcome::Failed(Mismatch { case, row, found, expected });
                }
            }
        }
    }
    Outcome::Equal { cases: runs, not_offered }
}

/// The first difference of a kernel from one case: column, row (none for a canary or a padded row),
/// found and expected.
fn differs(
    kernel: &BoundKernel,
    case: &GemmCase,
    columns: usize,
    shares: usize,
) -> Option<(usize, Option<usize>, f32, f32)> {
    let weights = PackedMatrix::pack(&case.case.matrix, kernel.variant().layout())
        .expect("only cases that the layout offers are run");
    let mut batch = ActivationBatch::default();
    let mut operand = Activations::default();
    batch.reset(columns, weights.cols(), weights.segment());
    for column in 0..columns {
        operand
            .quantize(&case.columns[column % DISTINCT].0, weights.segment())
            .expect("the activations of the check are finite");
        batch.set(column, &operand);
    }
    let units = super::units(&weights, &batch);
    let mut guarded = vec![CANARY; units * TILE_ROWS + 2 * MARGIN];
    for share in 0..shares {
        let units = share * units / shares..(share + 1) * units / shares;
        let out = &mut guarded[MARGIN + units.start * TILE_ROWS..MARGIN + units.end * TILE_ROWS];
        kernel.gemm(GemmJob { weights: &weights, batch: &batch, units, out });
    }
    let (before, rest) = guarded.split_at(MARGIN);
    let (products, behind) = rest.split_at(units * TILE_ROWS);
    if let Some(&stray) = before.iter().chain(behind).find(|c| c.to_bits() != CANARY.to_bits()) {
        return Some((0, None, stray, CANARY));
    }
    for column in 0..columns {
        let expected = &case.columns[column % DISTINCT].1;
        for (row, found) in super::column(products, columns, column).flatten().enumerate() {
            let expected = expected.get(row).copied().unwrap_or(0.0);
            if found.to_bits() != expected.to_bits() {
                return Some((column, (row < weights.rows()).then_some(row), *found, expected));
            }
        }
    }
    None
}
