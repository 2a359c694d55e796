//! The other operand: a vector quantized to int8 in segments, once for each use.
//!
//! A segment takes 128 bytes whatever its width: 64 values of even k, then 64 of odd k, zeros
//! behind the last. Kernels meet members *a* and *b* of a pair in separate vectors, and a vector
//! that is wider than the segment multiplies foreign codes by these zeros.

use crate::{
    error::NonFinite,
    granularity::MAX_SEGMENT,
    isa::portable::{self, Portable},
    ops::norm::normalize_here,
};

/// Values of one parity in a segment's 128 bytes.
pub(crate) const HALF: usize = MAX_SEGMENT / 2;

/// An int8 vector of K values in segments, each with a scale and the sum of its integers.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    cols: usize,
    segment: usize,
    /// `(segments, 2, 64)`: even k, odd k.
    values: Vec<i8>,
    /// `(segments)`.
    scales: Vec<f32>,
    /// `(segments)`: Σ of the segment's integers.
    sums: Vec<i32>,
}

impl Activations {
    /// An operand that will hold up to `max_cols` values in segments of 32 without allocating.
    pub fn with_capacity(max_cols: usize) -> Self {
        let segments = max_cols.div_ceil(32);
        Self {
            cols: 0,
            segment: MAX_SEGMENT,
            values: Vec::with_capacity(segments * MAX_SEGMENT),
            scales: Vec::with_capacity(segments),
            sums: Vec::with_capacity(segments),
        }
    }

    /// Quantizes `x` in segments of `segment` (32, 64 or 128) values: with the segment's absolute
    /// maximum `amax`, `q = clamp(round_ties_even(x · (127/amax)), −127, 127)` and
    /// `scale = amax/127`; zeros and scale 0 if `amax` is 0. Where `amax` is above 2⁻¹¹⁹, so that
    /// `scale` is not subnormal, `q · scale` is within `(1/2 + 2⁻¹⁵) · scale` of `x`.
    ///
    /// # Errors
    /// A value is NaN or infinite; the operand is then unspecified but valid.
    pub fn quantize(&mut self, x: &[f32], segment: usize) -> Result<(), NonFinite> {
        self.fill(x, None, segment)
    }

    /// Quantizes the normalized vector `(x · inv_rms) · weight` without storing it.
    ///
    /// # Errors
    /// A normalized value is NaN or infinite.
    pub fn quantize_normed(
        &mut self,
        x: &[f32],
        weight: &[f32],
        inv_rms: f32,
        segment: usize,
    ) -> Result<(), NonFinite> {
        assert_eq!(x.len(), weight.len(), "one norm weight for each value");
        self.fill(x, Some((weight, inv_rms)), segment)
    }

    fn fill(&mut self, x: &[f32], norm: Option<(&[f32], f32)>, segment: usize) -> Result<(), NonFinite> {
        self.resize(x.len(), segment);
        let mut quantize = Quantize { x, norm, operand: self, result: Ok(()) };
        portable::run(&mut quantize);
        quantize.result
    }

    /// Gives every array the length that `cols` values in segments of `segment` need.
    pub(crate) fn resize(&mut self, cols: usize, segment: usize) {
        assert!(matches!(segment, 32 | 64 | 128), "a segment holds 32, 64 or 128 values, not {segment}");
        let segments = cols.div_ceil(segment);
        self.cols = cols;
        self.segment = segment;
        self.values.resize(segments * MAX_SEGMENT, 0);
        self.scales.resize(segments, 0.0);
        self.sums.resize(segments, 0);
    }

    /// Number of values, padding not counted.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Values of a segment.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// `(segments, 2, 64)` int8 values: even k, odd k, zero padded.
    pub(crate) fn values(&self) -> &[i8] {
        &self.values
    }

    /// Scale of each segment.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Sum of each segment's integers.
    pub(crate) fn sums(&self) -> &[i32] {
        &self.sums
    }
}

/// The values of a segment as they are quantized. Where the stack began at any sixteenth byte, vectors across two
/// lines would make the time of a call depend on it.
#[repr(align(64))]
struct Mapped([f32; MAX_SEGMENT]);

/// Fills an operand that has its lengths already.
pub(crate) struct Quantize<'a> {
    pub(crate) x: &'a [f32],
    /// Weights and `inv_rms` of a norm to apply first.
    pub(crate) norm: Option<(&'a [f32], f32)>,
    pub(crate) operand: &'a mut Activations,
    pub(crate) result: Result<(), NonFinite>,
}

impl Portable for Quantize<'_> {
    #[inline(always)]
    fn run(&mut self) {
        let Activations { segment, values, scales, sums, .. } = &mut *self.operand;
        let mut mapped = Mapped([0.0; MAX_SEGMENT]);
        let mapped = &mut mapped.0[..*segment];
        for (s, group) in self.x.chunks(*segment).enumerate() {
            let (used, padding) = mapped.split_at_mut(group.len());
            match self.norm {
                None => used.copy_from_slice(group),
                Some((weight, inv_rms)) => {
                    normalize_here(group, &weight[s * *segment..][..group.len()], inv_rms, used);
                }
            }
            padding.fill(0.0);
            let amax = match largest_magnitude(used) {
                Ok(amax) => amax,
                Err(at) => {
                    self.result = Err(NonFinite { at: s * *segment + at, value: used[at] });
                    return;
                }
            };
            let inverse = if amax == 0.0 { 0.0 } else { 127.0 / amax };
            let (even, odd) = values[s * MAX_SEGMENT..][..MAX_SEGMENT].split_at_mut(HALF);
            sums[s] = quantize_pairs(mapped, inverse, even, odd);
            scales[s] = amax / 127.0;
        }
    }
}

/// The largest magnitude of `x`, or where a value is not finite.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> Result<f32, usize> {
    // The bits of magnitudes are ordered as their values, with infinity and NaN above. Their maximum
    // may be taken in any order, which that of floats may not.
    let magnitude = |x: &f32| x.to_bits() & 0x7fff_ffff;
    let largest = f32::from_bits(x.iter().fold(0, |largest, x| largest.max(magnitude(x))));
    if largest.is_finite() { Ok(largest) } else { Err(x.iter().position(|x| !x.is_finite()).unwrap_or(0)) }
}

/// Integers of the values of even and of odd index, zeros behind them; their sum.
#[inline(always)]
fn quantize_pairs(x: &[f32], inverse: f32, even: &mut [i8], odd: &mut [i8]) -> i32 {
    let (even, even_padding) = even.split_at_mut(x.len() / 2);
    let (odd, odd_padding) = odd.split_at_mut(x.len() / 2);
    let mut sum = 0;
    for ((pair, even), odd) in x.as_chunks::<2>().0.iter().zip(even).zip(odd) {
        *even = to_int8(pair[0], inverse);
        *odd = to_int8(pair[1], inverse);
        sum += i32::from(*even) + i32::from(*odd);
    }
    even_padding.fill(0);
    odd_padding.fill(0);
    sum
}

/// `clamp(round_ties_even(value · inverse), −127, 127)`; 0 for 0 · ∞.
///
/// Adding 1.5·2²³ rounds to the nearest integer, ties to even, for magnitudes below 2²², and leaves
/// it in the last bits: a conversion would also have to saturate. The clamp comes first, so that an
/// `inverse` that overflowed to infinity stays exact; the last bits of the NaN of 0 · ∞ are zeros.
#[inline(always)]
fn to_int8(value: f32, inverse: f32) -> i8 {
    const ROUND: f32 = 12_582_912.0;
    ((value * inverse).clamp(-127.0, 127.0) + ROUND).to_bits() as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn rounding_is_ties_to_even() {
        for tenths in -1300..=1300 {
            let value = tenths as f32 / 10.0;
            let expected = value.round_ties_even().clamp(-127.0, 127.0) as i8;
            assert_eq!(to_int8(value, 1.0), expected, "{value}");
        }
    }

    #[test]
    fn integers_are_within_their_bound_of_the_values() {
        let mut random = SplitMix64::new(4);
        let mut operand = Activations::default();
        for size in [2f32.powi(-118), 1e-20, 1.0, 1e38] {
            let x: Vec<f32> = (0..14_336).map(|_| (random.normal_f32() / 8.0).clamp(-1.0, 1.0) * size).collect();
            for segment in [32, 64, 128] {
                operand.quantize(&x, segment).unwrap();
                for (s, group) in x.chunks(segment).enumerate() {
                    let scale = f64::from(operand.scales()[s]);
                    for (i, x) in group.iter().enumerate() {
                        let q = operand.values()[s * MAX_SEGMENT + i % 2 * HALF + i / 2];
                        let error = (f64::from(q) * scale - f64::from(*x)).abs();
                        assert!(error <= (0.5 + 2f64.powi(-15)) * scale, "{x:e}: {q} · {scale:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn parities_are_apart_and_padding_is_zero() {
        let mut random = SplitMix64::new(3);
        let x: Vec<f32> = (0..172).map(|_| random.normal_f32()).collect();
        let mut a = Activations::with_capacity(172);
        for segment in [32, 64, 128] {
            a.quantize(&x, segment).unwrap();
            for (s, group) in x.chunks(segment).enumerate() {
                let amax = group.iter().fold(0f32, |m, v| m.max(v.abs()));
                let q = |i: usize| group.get(i).map_or(0, |v| (v * (127.0 / amax)).round_ties_even() as i8);
                let values = &a.values()[s * 128..][..128];
                for i in 0..HALF {
                    let inside = i < segment / 2;
                    assert_eq!(values[i], if inside { q(2 * i) } else { 0 });
                    assert_eq!(values[HALF + i], if inside { q(2 * i + 1) } else { 0 });
                }
                assert_eq!(a.sums()[s], (0..segment).map(|i| i32::from(q(i))).sum::<i32>());
                assert_eq!(a.scales()[s], amax / 127.0);
            }
        }
    }

    #[test]
    fn extremes() {
        let mut a = Activations::default();
        a.quantize(&[0.0; 64], 64).unwrap();
        assert_eq!((a.scales()[0], a.sums()[0]), (0.0, 0));
        a.quantize(&[f32::MIN_POSITIVE / 1e6; 64], 64).unwrap();
        assert!(a.values().iter().all(|v| (0..=127).contains(v)));
        a.quantize(&[f32::MAX; 64], 64).unwrap();
        assert_eq!(a.sums()[0], 64 * 127);
        let error = a.quantize(&[1.0, f32::NAN], 32).unwrap_err();
        assert_eq!(error.at, 1);
    }
}
