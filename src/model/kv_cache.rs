//! Keys and values of the positions so far.

use half::f16;
use septet_kernels::ops::attention::Rows;
use septet_kernels::{Level, NonFinite};

use super::config::Config;

/// How a cache stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheFormat {
    F32,
    F16,
    /// Integers of −127…127 and an `f32` scale for the key, and one for the value, of each head at each position.
    Int8,
}

impl Level for CacheFormat {
    const AXIS: &'static str = "kv_cache";
    const ALL: &'static [Self] = &[Self::F32, Self::F16, Self::Int8];

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::F32 => "keys and values are kept as they are",
            Self::F16 => "keys and values are kept in f16",
            Self::Int8 => "keys and values are kept in 8 bits, with a scale for each head and position",
        }
    }
}

/// Keys and values, allocated once for a whole context.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    positions: usize,
    keys: Store,
    values: Store,
}

/// Numbers (layer, kv_head, position, head_dim): one head's positions are contiguous, as attention reads them.
#[derive(Clone, Debug)]
enum Store {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Int8 {
        codes: Vec<i8>,
        /// (layer, kv_head, position)
        scales: Vec<f32>,
    },
}

impl KvCache {
    /// An empty cache for `positions` positions.
    pub fn new(config: &Config, positions: usize, format: CacheFormat) -> Self {
        let Config { layers, kv_heads, head_dim, .. } = *config;
        let store = || Store::new(layers * kv_heads * positions, head_dim, format);
        Self { layers, kv_heads, head_dim, positions, keys: store(), values: store() }
    }

    /// Positions that fit.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes of the keys and values of one position.
    pub fn position_bytes(&self) -> usize {
        2 * self.layers * self.kv_heads * self.keys.row_bytes(self.head_dim)
    }

    /// Stores `keys` and `values`, both (kv_heads, head_dim), at `position` of `layer`.
    ///
    /// # Errors
    ///
    /// For a value that is not finite, of which no format would keep that it was none.
    ///
    /// # Panics
    ///
    /// When `position` or `layer` is out of range.
    pub fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) -> Result<(), NonFinite> {
        assert!(position < self.positions, "position beyond the cache");
        for numbers in [keys, values] {
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                return Err(NonFinite { at, value: numbers[at] });
            }
        }
        let heads = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let row = self.first_row(layer, head) + position;
            self.keys.set(row, key);
            self.values.set(row, value);
        }
        Ok(())
    }

    /// Keys and values of one head: (positions, head_dim) each, of which those that were stored mean something.
    pub fn head(&self, layer: usize, kv_head: usize) -> (Rows<'_>, Rows<'_>) {
        let first = self.first_row(layer, kv_head);
        let Self { positions, head_dim, .. } = *self;
        (self.keys.rows(first, positions, head_dim), self.values.rows(first, positions, head_dim))
    }

    /// Every key and value of the first `positions` positions, head by head, as the numbers that are stored.
    pub fn numbers(&self, positions: usize) -> Vec<f32> {
        let heads = (0..self.layers * self.kv_heads).map(|head| head * self.positions);
        let rows = heads.flat_map(|first| first..first + positions);
        rows.flat_map(|row| [&self.keys, &self.values].map(|store| store.row(row, self.head_dim))).flatten().collect()
    }

    fn first_row(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * self.positions
    }
}

impl Store {
    fn new(rows: usize, cols: usize, format: CacheFormat) -> Self {
        match format {
            CacheFormat::F32 => Self::F32(vec![0.0; rows * cols]),
            CacheFormat::F16 => Self::F16(vec![0; rows * cols]),
            CacheFormat::Int8 => Self::Int8 { codes: vec![0; rows * cols], scales: vec![0.0; rows] },
        }
    }

    fn row_bytes(&self, cols: usize) -> usize {
        match self {
            Self::F32(_) => 4 * cols,
            Self::F16(_) => 2 * cols,
            Self::Int8 { .. } => cols + 4,
        }
    }

    /// Rounds `values` to the nearest numbers that are stored; what f16 can not hold becomes its largest number.
    fn set(&mut self, row: usize, values: &[f32]) {
        let range = row * values.len()..(row + 1) * values.len();
        match self {
            Self::F32(rows) => rows[range].copy_from_slice(values),
            Self::F16(rows) => {
                let largest = f16::MAX.to_f32();
                for (bits, value) in rows[range].iter_mut().zip(values) {
                    *bits = f16::from_f32(value.clamp(-largest, largest)).to_bits();
                }
            }
            Self::Int8 { codes, scales } => {
                let largest = values.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
                // Whose product with a code stays finite, and by which can be divided.
                let scale = (largest / 127.0).min(f32::MAX / 128.0);
                let scale = if scale < f32::MIN_POSITIVE { 0.0 } else { scale };
                for (code, value) in codes[range].iter_mut().zip(values) {
                    let multiple = if scale > 0.0 { value / scale } else { 0.0 };
                    *code = multiple.round_ties_even().clamp(-127.0, 127.0) as i8;
                }
                scales[row] = scale;
            }
        }
    }

    /// `count` rows from `first` on.
    fn rows(&self, first: usize, count: usize, cols: usize) -> Rows<'_> {
        let range = first * cols..(first + count) * cols;
        match self {
            Self::F32(rows) => Rows::F32(&rows[range]),
            Self::F16(rows) => Rows::F16(&rows[range]),
            Self::Int8 { codes, scales } => Rows::Int8(&codes[range], &scales[first..first + count]),
        }
    }

    /// The numbers of one row.
    fn row(&self, row: usize, cols: usize) -> Vec<f32> {
        match self.rows(row, 1, cols) {
            Rows::F32(values) => values.to_vec(),
            Rows::F16(bits) => bits.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect(),
            Rows::Int8(codes, scales) => codes.iter().map(|code| f32::from(*code) * scales[0]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a row of `values` reads as.
    fn stored(values: &[f32], format: CacheFormat) -> Vec<f32> {
        let mut store = Store::new(3, values.len(), format);
        store.set(1, values);
        assert!([0, 2].iter().all(|row| store.row(*row, values.len()).iter().all(|value| *value == 0.0)));
        store.row(1, values.len())
    }

    #[test]
    fn rows_are_rounded_to_the_nearest() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 - 20.0) * 0.37).collect();
        let largest = 43.0 * 0.37;
        for (format, bound) in [
            (CacheFormat::F32, 0.0),
            (CacheFormat::F16, largest * 2.0_f32.powi(-11)),
            (CacheFormat::Int8, largest / 127.0 * 0.5001),
        ] {
            for (found, value) in stored(&values, format).iter().zip(&values) {
                assert!((found - value).abs() <= bound, "{format:?}: {found} for {value}");
            }
        }
    }

    #[test]
    fn extremes_stay_finite() {
        for format in CacheFormat::ALL {
            assert_eq!(stored(&[0.0; 8], *format), [0.0; 8]);
            let extremes = [f32::MAX, -f32::MAX, 1e-45, 0.0];
            assert!(stored(&extremes, *format).iter().all(|value| value.is_finite()), "{format:?}");
            for tiny in [1e-45, 1e-38, 1e-37, 1e-36] {
                let found = stored(&[tiny, tiny / 2.0, 0.0, -tiny], *format);
                assert!(
                    found.iter().all(|value| value.abs() <= 1.01 * tiny) && found[2] == 0.0,
                    "{format:?}: {found:?}"
                );
            }
        }
    }
}
