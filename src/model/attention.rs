//! Grouped-query attention of one position over the positions so far.

use septet_kernels::ops::{linear, softmax};

use super::config::Config;
use super::kv_cache::KvCache;

/// `out = softmax(q·Kᵀ / √head_dim)·V` for each query head, over positions 0…`position`.
///
/// Query head `h` uses key/value head `h · kv_heads / heads`. Scores are lane dot products; the
/// weighted sum over positions runs in ascending order, each product and each sum rounded.
///
/// - `q`: (heads, head_dim), rotated
/// - `scores`: at least (position + 1), overwritten
/// - `out`: (heads, head_dim)
pub fn attend(
    config: &Config,
    cache: &KvCache,
    layer: usize,
    position: usize,
    q: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let head_dim = config.head_dim;
    let group = config.heads / config.kv_heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let scores = &mut scores[..=position];
    let heads = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
    for (head, (q, out)) in heads.enumerate() {
        let (keys, values) = cache.head(layer, head / group, position + 1);
        linear::gemv(keys, q, scores);
        scores.iter_mut().for_each(|score| *score *= scale);
        softmax::softmax(scores);
        linear::gemv_transposed(values, scores, out);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn agrees_with_f64() {
        let json = include_bytes!("../../models/tiny/config.json");
        let config = Config::parse(json, Path::new("config.json")).expect("valid");
        let (heads, kv_heads, dim, positions) = (config.heads, config.kv_heads, config.head_dim, 9);
        let value = |seed: usize, i: usize| ((i * 31 + seed * 17) % 53) as f32 * 0.05 - 1.3;
        let mut cache = KvCache::new(&config, positions);
        let entry = |seed: usize| -> Vec<f32> { (0..kv_heads * dim).map(|i| value(seed, i)).collect() };
        for position in 0..positions {
            cache.store(1, position, &entry(position), &entry(100 + position));
        }
        let q: Vec<f32> = (0..heads * dim).map(|i| value(7, i)).collect();
        let mut out = vec![0.0; heads * dim];
        attend(&config, &cache, 1, positions - 1, &q, &mut vec![0.0; positions], &mut out);

        for head in 0..heads {
            let kv = head / (heads / kv_heads) * dim;
            let weights: Vec<f64> = (0..positions)
                .map(|t| {
                    let dot: f64 = (0..dim).map(|i| f64::from(q[head * dim + i]) * f64::from(value(t, kv + i))).sum();
                    (dot / (dim as f64).sqrt()).exp()
                })
                .collect();
            for i in 0..dim {
                let exact = (0..positions).map(|t| weights[t] * f64::from(value(100 + t, kv + i))).sum::<f64>()
                    / weights.iter().sum::<f64>();
                assert!((f64::from(out[head * dim + i]) - exact).abs() < 1e-5);
            }
        }
    }
}
