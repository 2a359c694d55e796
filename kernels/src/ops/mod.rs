//! Canonical `f32` operations: everything in a decoder that is not a quantized product.
//!
//! Each operation has one documented order of rounding, so that its bits do not depend on the
//! instruction set, on the number of threads or on which variant of a kernel ran before it:
//!
//! - reductions run in **sixteen virtual lanes** folded by a fixed tree (see [`lanes`]), which a
//!   compiler can map to registers of any width without changing a bit. Each operation is written
//!   once and compiled for every instruction set; the widest of the CPU runs;
//! - sums over a residual stream fold [`lanes::TILE`]-element tiles in ascending order, so that a
//!   kernel that owns whole tiles can contribute its part;
//! - there is no fused multiply-add, and `exp`, `sin`, `cos` and `ln` are our own polynomials, never
//!   the platform's.

pub mod attention;
pub mod exp;
pub mod lanes;
pub mod linear;
pub mod norm;
pub mod rope;
pub mod silu;
pub mod trig;

#[cfg(test)]
mod tests {
    use crate::{
        Activations, Isa, Level, SplitMix64,
        activations::Quantize,
        isa::portable::{Portable, run_on},
    };

    use super::{attention, lanes, linear, norm, rope, silu};

    /// Around the lane, the tile and the segment, and the sizes of real models.
    const LENGTHS: [usize; 19] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130, 1000, 4096, 14_336];

    /// Values that rounding, overflow or flushing would tell apart first.
    const EXTREMES: [f32; 16] = [
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        1e-39,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1e-20,
        -1.0,
        88.7,
        -87.4,
        103.0,
        1e19,
        -3e38,
        f32::MAX,
        -f32::MAX,
    ];

    const INFINITIES: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

    /// Vectors of `n` values: random ones, wide-ranging ones, random ones with extremes strewn in,
    /// and those with infinities.
    fn fills(n: usize, seed: u64) -> [Vec<f32>; 4] {
        let mut random = SplitMix64::new(seed);
        let plain: Vec<f32> = (0..n).map(|_| random.normal_f32()).collect();
        let wide = plain.iter().map(|x| x * 30.0).collect();
        let mut strewn = |among: &[f32], every: u64, x: &[f32]| -> Vec<f32> {
            let mut pick = |x: &f32| {
                let at = random.next() as usize % among.len();
                if random.next().is_multiple_of(every) { among[at] } else { *x }
            };
            x.iter().map(&mut pick).collect()
        };
        let extreme = strewn(&EXTREMES, 3, &plain);
        let infinite = strewn(&INFINITIES, 9, &extreme);
        [plain, wide, extreme, infinite]
    }

    /// Bits of `x`; every NaN is one, because its payload is not part of the result.
    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
    }

    /// Holds `run`, given two operands and an instruction set, to one result on all sets of this CPU.
    fn same_on_every_isa(name: &str, run: impl Fn(Isa, &[f32], &[f32]) -> Vec<f32>) {
        for n in LENGTHS {
            for (fill, (x, y)) in fills(n, 1).iter().zip(&fills(n, 2)).enumerate() {
                let expected = bits(&run(Isa::Scalar, x, y));
                for &isa in Isa::ALL.iter().filter(|isa| isa.is_available()) {
                    assert_eq!(bits(&run(isa, x, y)), expected, "{name} on {isa}, {n} values, fill {fill}");
                }
            }
        }
    }

    fn run_and<P: Portable>(isa: Isa, mut code: P) -> P {
        run_on(isa, &mut code);
        code
    }

    #[test]
    fn results_do_not_depend_on_the_instruction_set() {
        same_on_every_isa("dot", |isa, a, b| vec![run_and(isa, lanes::Dot { a, b, value: 0.0 }).value]);
        same_on_every_isa("sum", |isa, x, _| vec![run_and(isa, lanes::Sum { x, value: 0.0 }).value]);
        same_on_every_isa("square_sum", |isa, x, _| vec![run_and(isa, lanes::SquareSum { x, value: 0.0 }).value]);
        same_on_every_isa("normalize", |isa, x, weight| {
            let mut out = vec![0.0; x.len()];
            run_on(isa, &mut norm::Normalize { x, weight, inv_rms: 0.3, out: &mut out });
            out
        });
        same_on_every_isa("swiglu", |isa, gate, up| {
            let mut gate = gate.to_vec();
            run_on(isa, &mut silu::Swiglu { gate: &mut gate, up });
            gate
        });
        same_on_every_isa("rotate", |isa, x, angles| {
            // Heads of two, of sixty and of all values: whatever fits.
            let (mut x, n) = (x.to_vec(), x.len());
            for half in [1, 30, n / 2].into_iter().filter(|half| (1..=n / 2).contains(half)) {
                let (cos, sin) = (&angles[..half], &angles[angles.len() - half..]);
                run_on(isa, &mut rope::Rotate { cos, sin, x: &mut x });
            }
            x
        });
        same_on_every_isa("attention", |isa, rows, queries| {
            // Heads of all values at one position, and of few values at many.
            [rows.len(), 1, 16]
                .into_iter()
                .filter(|head_dim| rows.len().is_multiple_of(*head_dim))
                .flat_map(|head_dim| {
                    let queries = &queries[..head_dim];
                    let mut out = vec![0.0; head_dim];
                    let visible = rows.len() / head_dim;
                    let rows = attention::Rows::F32(rows);
                    let attention = attention::Attention {
                        keys: rows,
                        values: rows,
                        head_dim,
                        group: 1,
                        visible,
                        queries,
                        out: &mut out,
                        stride: head_dim,
                        first: 0,
                    };
                    let workspace = &mut attention::Workspace::new(1, 1, head_dim);
                    run_on(isa, &mut attention::Attend::<{ attention::BLOCK }> { attention, workspace });
                    out
                })
                .collect()
        });
        same_on_every_isa("gemv", |isa, weights, x| {
            [1, 5, 16]
                .map(|rows| rows.min(weights.len()))
                .into_iter()
                .flat_map(|rows| {
                    let cols = weights.len() / rows;
                    let mut out = vec![0.0; rows];
                    run_on(isa, &mut linear::Gemv { weights: &weights[..rows * cols], x: &x[..cols], out: &mut out });
                    out
                })
                .collect()
        });
        for segment in [32, 64, 128] {
            for normed in [false, true] {
                same_on_every_isa("quantize", |isa, x, weight| {
                    let mut operand = Activations::default();
                    operand.resize(x.len(), segment);
                    let norm = normed.then_some((weight, 0.3));
                    let done = run_and(isa, Quantize { x, norm, operand: &mut operand, result: Ok(()) }).result;
                    if let Err(error) = done {
                        return vec![error.at as f32, error.value];
                    }
                    let values = operand.values().iter().map(|q| f32::from(*q));
                    let sums = operand.sums().iter().map(|sum| *sum as f32);
                    values.chain(sums).chain(operand.scales().iter().copied()).collect()
                });
            }
        }
    }
}
