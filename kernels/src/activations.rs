//! The other operand: a vector quantized to int8 in segments, once for each use.
//!
//! A segment takes 128 bytes whatever its width: 64 values of even k, then 64 of odd k, zeros
//! behind the last. Kernels meet members *a* and *b* of a pair in separate vectors, and a vector
//! that is wider than the segment multiplies foreign codes by these zeros.

use crate::{error::NonFinite, granularity::MAX_SEGMENT};

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
    /// `scale = amax/127`; zeros and scale 0 if `amax` is 0.
    ///
    /// # Errors
    /// A value is NaN or infinite; the operand is then unspecified but valid.
    pub fn quantize(&mut self, x: &[f32], segment: usize) -> Result<(), NonFinite> {
        self.fill(x, segment, |_, value| value)
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
        self.fill(x, segment, |k, value| (value * inv_rms) * weight[k])
    }

    fn fill(&mut self, x: &[f32], segment: usize, map: impl Fn(usize, f32) -> f32) -> Result<(), NonFinite> {
        assert!(matches!(segment, 32 | 64 | 128), "a segment holds 32, 64 or 128 values, not {segment}");
        let segments = x.len().div_ceil(segment);
        self.cols = x.len();
        self.segment = segment;
        self.values.resize(segments * MAX_SEGMENT, 0);
        self.scales.resize(segments, 0.0);
        self.sums.resize(segments, 0);
        let mut mapped = [0f32; MAX_SEGMENT];
        for (s, group) in x.chunks(segment).enumerate() {
            let mut amax = 0f32;
            let mut finite = true;
            for (i, (slot, &value)) in mapped.iter_mut().zip(group).enumerate() {
                *slot = map(s * segment + i, value);
                amax = amax.max(slot.abs());
                finite &= slot.is_finite();
            }
            let mapped = &mut mapped[..segment];
            mapped[group.len()..].fill(0.0);
            if !finite {
                let at = mapped.iter().position(|v| !v.is_finite()).unwrap_or(0);
                return Err(NonFinite { at: s * segment + at, value: mapped[at] });
            }
            let inverse = if amax == 0.0 { 0.0 } else { 127.0 / amax };
            let (even, odd) = self.values[s * MAX_SEGMENT..][..MAX_SEGMENT].split_at_mut(HALF);
            let mut sum = 0i32;
            for ((pair, even), odd) in mapped.chunks_exact(2).zip(even.iter_mut()).zip(odd.iter_mut()) {
                *even = to_int8(pair[0], inverse);
                *odd = to_int8(pair[1], inverse);
                sum += i32::from(*even) + i32::from(*odd);
            }
            even[segment / 2..].fill(0);
            odd[segment / 2..].fill(0);
            self.scales[s] = amax / 127.0;
            self.sums[s] = sum;
        }
        Ok(())
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

/// `clamp(round_ties_even(value · inverse), −127, 127)`.
///
/// Adding and subtracting 1.5·2²³ rounds to the nearest integer, ties to even, for magnitudes
/// below 2²²; the clamp comes first, so that an `inverse` that overflowed to infinity stays exact.
#[inline(always)]
fn to_int8(value: f32, inverse: f32) -> i8 {
    const ROUND: f32 = 12_582_912.0;
    let scaled = (value * inverse).clamp(-127.0, 127.0);
    ((scaled + ROUND) - ROUND) as i8
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
