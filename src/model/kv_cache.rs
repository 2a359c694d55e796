//! Keys and values of the positions so far.

use super::config::Config;

/// Keys and values in `f32`, allocated once for a whole context.
#[derive(Clone, Debug)]
pub struct KvCache {
    kv_heads: usize,
    head_dim: usize,
    positions: usize,
    /// (layer, kv_head, position, head_dim): one head's positions are contiguous, as attention
    /// reads them.
    keys: Vec<f32>,
    /// (layer, kv_head, position, head_dim)
    values: Vec<f32>,
}

impl KvCache {
    /// An empty cache for `positions` positions.
    pub fn new(config: &Config, positions: usize) -> Self {
        let len = config.layers * config.kv_width() * positions;
        Self {
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            positions,
            keys: vec![0.0; len],
            values: vec![0.0; len],
        }
    }

    /// Positions that fit.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Stores `keys` and `values`, both (kv_heads, head_dim), at `position` of `layer`.
    ///
    /// # Panics
    ///
    /// When `position` or `layer` is out of range.
    pub fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        assert!(position < self.positions, "position beyond the cache");
        let heads = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let start = self.start(layer, head) + position * self.head_dim;
            self.keys[start..start + self.head_dim].copy_from_slice(key);
            self.values[start..start + self.head_dim].copy_from_slice(value);
        }
    }

    /// Keys and values of the first `positions` positions of one head: (positions, head_dim) each.
    pub fn head(&self, layer: usize, kv_head: usize, positions: usize) -> (&[f32], &[f32]) {
        let start = self.start(layer, kv_head);
        let range = start..start + positions * self.head_dim;
        (&self.keys[range.clone()], &self.values[range])
    }

    /// Every key and value of the first `positions` positions, head by head.
    pub fn values_of(&self, positions: usize) -> impl Iterator<Item = &f32> {
        let heads = self.keys.len() / (self.positions * self.head_dim);
        let heads = (0..heads).map(move |head| (head / self.kv_heads, head % self.kv_heads));
        heads.flat_map(move |(layer, head)| {
            let (keys, values) = self.head(layer, head, positions);
            keys.iter().chain(values)
        })
    }

    fn start(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * self.positions * self.head_dim
    }
}
