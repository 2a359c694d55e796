//! The scale of a group: of twenty shrinkages of the absolute maximum, the one with the least squared error.
//!
//! The obvious search rounds the group with one candidate after the other. Each sum waits for its additions one by
//! one, as sums of floats may not be reordered, and vectors stand idle: about 100 ns a weight. Here a lane is a
//! *candidate*: a weight meets all of them at once, and each lane adds the errors in the order of the obvious search.
//! So the sums have its bits, and the scale is the same, on every instruction set and at any number of weights, with
//! no lanes to fold and no tail to pad. That holds for the division too, which a product with the reciprocal would
//! only beat by a tenth.
//!
//! Errors are f32 and their squares are summed in f64. In one loop, LLVM gives both vectors of as many lanes as fit
//! f64, half of what f32 could have. A buffer between two loops lets each have its own.

use half::f16;

use crate::{error::QuantizeError, format::Fields, scale};

/// Shrinkages of the absolute maximum that are tried for each scale, in steps of 1/32.
const CANDIDATES: usize = 20;

/// The candidates, and as many more that are never chosen as make whole vectors of eight f32.
const LANES: usize = 24;

/// Pairs whose errors are buffered.
const BLOCK: usize = 16;

/// Finds scales for one format.
#[repr(align(64))]
pub(crate) struct ScaleSearch {
    /// Errors of a pair's members under every candidate.
    errors: [[[f32; LANES]; 2]; BLOCK],
    members: [Member; 2],
}

impl ScaleSearch {
    /// A search among the scales of a format.
    #[inline(always)]
    pub(crate) fn new(fields: Fields) -> Self {
        Self { errors: [[[0.0; LANES]; 2]; BLOCK], members: Member::pair(fields) }
    }

    /// The scale (f16 bits) with the least squared error over the rows of a region, each of which begins with a
    /// member *a*; the first of equals.
    ///
    /// # Errors
    /// A scale outside f16; a weight that is not finite makes it infinite or NaN.
    #[inline(always)]
    pub(crate) fn best<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]> + Clone) -> Result<u16, QuantizeError> {
        const MAX: f32 = f16::MAX.to_f32_const();
        let mut largest = 0.0;
        for row in rows.clone() {
            largest = largest_magnitude(row, largest);
        }
        let full = largest / -self.members[0].lowest;
        if !full.is_finite() || full > MAX {
            return Err(QuantizeError::Scale { value: full });
        }
        let mut scales = [0.0; LANES];
        for (candidate, scale) in scales.iter_mut().enumerate() {
            *scale = scale::round_to_f16(full * (1.0 + 0.125 - candidate as f32 / 32.0)).min(MAX);
        }
        let errors = self.squared_errors(&scales, rows);
        let mut best = (f64::INFINITY, 0.0);
        for (error, scale) in errors.iter().zip(&scales).take(CANDIDATES) {
            if *error < best.0 {
                best = (*error, *scale);
            }
        }
        Ok(f16::from_f32(best.1).to_bits())
    }

    /// The sum of the squared errors of all rows under each scale.
    #[inline(always)]
    fn squared_errors<'a>(&mut self, scales: &[f32; LANES], rows: impl Iterator<Item = &'a [f32]>) -> [f64; LANES] {
        let mut total = [0.0; LANES];
        for row in rows {
            let mut sums = [0.0; LANES];
            let (pairs, last) = row.as_chunks::<2>();
            for block in pairs.chunks(BLOCK) {
                fill_errors(&mut self.errors, block, self.members, scales);
                for [a, b] in &self.errors[..block.len()] {
                    for i in 0..LANES {
                        sums[i] += f64::from(a[i]) * f64::from(a[i]) + f64::from(b[i]) * f64::from(b[i]);
                    }
                }
            }
            for weight in last {
                for i in 0..LANES {
                    let error = f64::from(self.members[0].error(*weight, scales[i]));
                    sums[i] += error * error;
                }
            }
            for i in 0..LANES {
                total[i] += sums[i];
            }
        }
        total
    }
}

/// The errors of pairs under each scale. A function, because its arguments are known not to overlap.
#[inline(always)]
fn fill_errors(errors: &mut [[[f32; LANES]; 2]], pairs: &[[f32; 2]], members: [Member; 2], scales: &[f32; LANES]) {
    for (errors, weights) in errors.iter_mut().zip(pairs) {
        for member in 0..2 {
            for i in 0..LANES {
                errors[member][i] = members[member].error(weights[member], scales[i]);
            }
        }
    }
}

/// The largest magnitude in `weights`, at least `largest`; infinite or NaN if one of them is.
#[inline(always)]
fn largest_magnitude(weights: &[f32], largest: f32) -> f32 {
    // The bits of magnitudes are ordered as their values, with infinity and NaN above: their maximum may be taken in
    // any order.
    let mut bits = largest.to_bits();
    for weight in weights {
        bits = bits.max(weight.to_bits() & 0x7fff_ffff);
    }
    f32::from_bits(bits)
}

/// The values that a member of a pair can stand for, in units of the scale.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    lowest: f32,
    highest: f32,
    /// 1.5·2²³ steps. Added to a value it rounds to whole steps, ties to even, and leaves their number in the last
    /// bits, in two's complement.
    round: f32,
}

impl Member {
    /// Members *a* and *b* of a format.
    #[inline(always)]
    pub(crate) fn pair(fields: Fields) -> [Self; 2] {
        [Self::new(fields.a_bits, 1), Self::new(fields.b_bits, fields.b_step)]
    }

    #[inline(always)]
    fn new(bits: u32, step: i32) -> Self {
        let limit = 1i32 << (bits - 1);
        Self { lowest: (-limit * step) as f32, highest: ((limit - 1) * step) as f32, round: 12_582_912.0 * step as f32 }
    }

    /// The signed code of the value nearest to `weight`, in the last bits; others are set as well. `scale` is not 0.
    #[inline(always)]
    pub(crate) fn code(self, weight: f32, scale: f32) -> i32 {
        self.rounded(weight, scale).to_bits() as i32
    }

    /// `weight` less the nearest value.
    #[inline(always)]
    fn error(self, weight: f32, scale: f32) -> f32 {
        weight - (self.rounded(weight, scale) - self.round) * scale
    }

    /// The value nearest to `weight`, plus `round`. Any value under scale 0, where all are 0.
    #[inline(always)]
    fn rounded(self, weight: f32, scale: f32) -> f32 {
        // In this order a comparison is one instruction, and the NaN of 0 / 0 becomes a limit.
        let value = weight / scale;
        let value = if value > self.lowest { value } else { self.lowest };
        let value = if value < self.highest { value } else { self.highest };
        value + self.round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Format, Isa, Level, SplitMix64,
        isa::portable::{Portable, run_on},
    };

    /// The obvious search.
    fn best_of_all(fields: Fields, rows: &[&[f32]]) -> u16 {
        let largest = rows.iter().copied().flatten().fold(0f32, |m, w| m.max(w.abs()));
        let full = largest / (1u32 << (fields.a_bits - 1)) as f32;
        let mut best = (f64::INFINITY, 0u16);
        for candidate in 0..CANDIDATES {
            let scale = f16::from_f32(full * (1.0 + 0.125 - candidate as f32 / 32.0)).min(f16::MAX);
            let error: f64 = rows.iter().map(|row| squared_error(fields, row, scale.to_f32())).sum();
            if error < best.0 {
                best = (error, scale.to_bits());
            }
        }
        best.1
    }

    fn squared_error(fields: Fields, weights: &[f32], scale: f32) -> f64 {
        let error = |w: f32, bits: u32, step: i32| {
            let limit = 1i32 << (bits - 1);
            let code = (w / (scale * step as f32)).round_ties_even().clamp(-limit as f32, (limit - 1) as f32) as i32;
            let back = if scale == 0.0 { 0.0 } else { (code * step) as f32 * scale };
            f64::from(w - back).powi(2)
        };
        let pair = |pair: &[f32]| {
            error(pair[0], fields.a_bits, 1) + pair.get(1).map_or(0.0, |&w| error(w, fields.b_bits, fields.b_step))
        };
        weights.chunks(2).map(pair).sum()
    }

    struct Find<'a> {
        fields: Fields,
        rows: &'a [&'a [f32]],
        found: Result<u16, QuantizeError>,
    }

    impl Portable for Find<'_> {
        #[inline(always)]
        fn run(&mut self) {
            self.found = ScaleSearch::new(self.fields).best(self.rows.iter().copied());
        }
    }

    fn assert_best(rows: &[&[f32]]) {
        for fields in Format::ALL.iter().map(|format| format.fields()) {
            let expected = best_of_all(fields, rows);
            for &isa in Isa::ALL.iter().filter(|isa| isa.is_available()) {
                let mut find = Find { fields, rows, found: Ok(0) };
                run_on(isa, &mut find);
                assert_eq!(find.found, Ok(expected), "{isa:?}, {fields:?}, {rows:?}");
            }
        }
    }

    #[test]
    fn the_scale_is_that_of_the_obvious_search() {
        let mut random = SplitMix64::new(17);
        for n in [1, 2, 3, 7, 31, 32, 33, 34, 63, 64, 65, 127, 128, 172, 1000] {
            let normal: Vec<f32> = (0..n).map(|_| random.normal_f32()).collect();
            let of = |value: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
                normal.iter().enumerate().map(|(i, w)| value(i, *w)).collect()
            };
            for weights in [
                of(&|_, w| w),
                of(&|_, w| w * w * w),
                // Of bf16, and halves of whole numbers: ties, and errors that are equal.
                of(&|_, w| f32::from_bits(w.to_bits() & 0xffff_0000)),
                of(&|_, w| (w * 8.0).round() / 2.0),
                of(&|_, _| 0.0),
                of(&|_, _| -0.0),
                of(&|_, _| 0.3),
                of(&|i, _| if i % 2 == 0 { 0.7 } else { -0.7 }),
                of(&|i, w| if i == n / 2 { 1e4 } else { w }),
                // At the ends of f16: scales of 0, subnormal ones, and the largest.
                of(&|_, _| 1e-30),
                of(&|_, w| w * 1e-40),
                of(&|i, w| if i == n / 2 { 1e-7 } else { w * 1e-9 }),
                of(&|_, w| w * 1e-7),
                of(&|_, w| w * 1e-5),
                of(&|i, w| if i == 0 { -4.0 * 65504.0 } else { (w * 1e5).clamp(-2e5, 2e5) }),
            ] {
                assert_best(&[&weights]);
                assert_best(&[&weights, &normal]);
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_found() {
        let mut random = SplitMix64::new(19);
        for _ in 0..10_000 {
            // Few whole numbers, under scales that are eighths: sums are exact, and often equal.
            let mut weights: Vec<f32> = (0..4).map(|_| (random.next() % 65) as f32 - 32.0).collect();
            weights[0] = 32.0;
            assert_best(&[&weights]);
        }
    }

    #[test]
    fn many_rows_are_added_one_by_one() {
        let mut random = SplitMix64::new(18);
        let weights: Vec<f32> = (0..64 * 75).map(|_| random.normal_f32()).collect();
        let rows: Vec<&[f32]> = weights.chunks(75).collect();
        assert_best(&rows);
    }

    #[test]
    fn what_no_scale_can_stand_for_is_an_error() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e9] {
            for at in 0..35 {
                let mut weights = [1.0; 35];
                weights[at] = value;
                let found = ScaleSearch::new(Format::W4.fields()).best([weights.as_slice()].into_iter());
                assert!(matches!(found, Err(QuantizeError::Scale { .. })), "{value} at {at}");
            }
        }
    }
}
