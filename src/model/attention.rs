//! Grouped-query attention of positions over those before them, on the threads of a pool.

use septet_kernels::ops::attention::{Attention, Workspace, attend};

use super::config::Config;
use super::kv_cache::KvCache;
use crate::pool::ThreadPool;

/// Multiply-adds that are worth the waking of a thread.
const WORTH_THREADS: usize = 1 << 17;

/// What attention needs beside its operands: one workspace for each worker.
pub struct Attending {
    workspaces: Vec<Workspace>,
}

impl Attending {
    /// Workspaces for `threads` workers and `columns` positions at once.
    pub fn new(config: &Config, threads: usize, columns: usize) -> Self {
        let group = config.heads / config.kv_heads;
        Self { workspaces: vec![Workspace::new(columns, group, config.head_dim); threads] }
    }

    /// `out = softmax(q·Kᵀ / √head_dim)·V` for each query head of each column; column `c` attends to positions
    /// 0…`position + c`. Query head `h` uses key/value head `h · kv_heads / heads`.
    ///
    /// A position alone is split among the workers by key/value heads, several by columns; the bits are the same.
    ///
    /// - `queries`: (columns, heads, head_dim), rotated
    /// - `out`: (columns, heads, head_dim)
    pub fn attend(
        &mut self,
        config: &Config,
        pool: &ThreadPool,
        cache: (&KvCache, usize),
        position: usize,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let Config { kv_heads, head_dim, .. } = *config;
        let (width, group) = (config.q_width(), config.heads / config.kv_heads);
        let columns = queries.len() / width;
        let (cache, layer) = cache;
        // All heads of some columns, the first of which sees `visible` positions.
        let of_columns = |visible: usize, queries: &[f32], out: &mut [f32], workspace: &mut Workspace| {
            for kv_head in 0..kv_heads {
                let (keys, values) = cache.head(layer, kv_head);
                let (out, first) = (&mut *out, kv_head * group * head_dim);
                let columns = Attention { keys, values, head_dim, group, visible, queries, out, stride: width, first };
                attend(columns, workspace);
            }
        };
        if 2 * columns * width * (position + columns) < WORTH_THREADS {
            of_columns(position + 1, queries, out, &mut self.workspaces[0]);
        } else if columns == 1 {
            let stride = group * head_dim;
            pool.for_parts([(out, stride)], &mut self.workspaces, |[part], workspace| {
                for (kv_head, out) in part.units.zip(part.values.chunks_exact_mut(stride)) {
                    let (keys, values) = cache.head(layer, kv_head);
                    let (queries, visible) = (&queries[kv_head * stride..][..stride], position + 1);
                    let head = Attention { keys, values, head_dim, group, visible, queries, out, stride, first: 0 };
                    attend(head, workspace);
                }
            });
        } else {
            pool.for_parts([(out, width)], &mut self.workspaces, |[part], workspace| {
                let queries = &queries[part.units.start * width..part.units.end * width];
                of_columns(position + part.units.start + 1, queries, part.values, workspace);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::Level;

    use super::*;
    use crate::model::builtin;
    use crate::model::kv_cache::CacheFormat;

    fn value(seed: usize, i: usize) -> f32 {
        ((i * 31 + seed * 17) % 53) as f32 * 0.05 - 1.3
    }

    /// What `columns` positions behind `before` others attend to, on `threads` threads.
    fn attended(format: CacheFormat, before: usize, columns: usize, threads: usize) -> Vec<f32> {
        let config = &builtin::load().expect("built-in model").parts.config;
        let positions = before + columns;
        let mut cache = KvCache::new(config, positions, format);
        let entry = |seed: usize| -> Vec<f32> { (0..config.kv_width()).map(|i| value(seed, i)).collect() };
        for position in 0..positions {
            cache.store(1, position, &entry(position), &entry(1000 + position)).expect("finite");
        }
        let queries: Vec<f32> = (before..positions)
            .flat_map(|position| (0..config.q_width()).map(move |i| value(2000 + position, i)))
            .collect();
        let mut out = vec![f32::NAN; queries.len()];
        let pool = ThreadPool::new(threads).expect("threads");
        Attending::new(config, threads, columns).attend(config, &pool, (&cache, 1), before, &queries, &mut out);
        out
    }

    #[test]
    fn agrees_with_f64() {
        let config = &builtin::load().expect("built-in model").parts.config;
        let (dim, group, positions) = (config.head_dim, config.heads / config.kv_heads, 300);
        let out = attended(CacheFormat::F32, positions - 1, 1, 1);
        for head in 0..config.heads {
            let kv = head / group * dim;
            let weights: Vec<f64> = (0..positions)
                .map(|t| {
                    let query = |i| f64::from(value(2000 + positions - 1, head * dim + i));
                    let dot: f64 = (0..dim).map(|i| query(i) * f64::from(value(t, kv + i))).sum();
                    (dot / (dim as f64).sqrt()).exp()
                })
                .collect();
            for i in 0..dim {
                let exact = (0..positions).map(|t| weights[t] * f64::from(value(1000 + t, kv + i))).sum::<f64>()
                    / weights.iter().sum::<f64>();
                assert!((f64::from(out[head * dim + i]) - exact).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn neither_threads_nor_columns_change_a_bit() {
        for &format in CacheFormat::ALL {
            let bits = |before, columns, threads| -> Vec<u32> {
                attended(format, before, columns, threads).iter().map(|value| value.to_bits()).collect()
            };
            let batch = bits(260, 20, 1);
            for threads in [2, 3, 5] {
                assert_eq!(bits(260, 20, threads), batch, "{threads} threads");
            }
            let width = batch.len() / 20;
            for column in [0, 7, 19] {
                for threads in [1, 2, 3] {
                    assert_eq!(bits(260 + column, 1, threads), batch[column * width..][..width], "column {column}");
                }
            }
        }
    }
}
