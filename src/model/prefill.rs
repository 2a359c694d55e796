//! A prompt, read in batches of positions.
//!
//! Token by token, every weight is read and unpacked as often as the prompt has tokens. A batch reads
//! it once for all of its positions: a linear layer is one product of many columns
//! ([`septet_kernels::gemm`]). What lies between the products is done for each column as for a token
//! alone, with the same functions in the same order, and a product has the same bits in each column.
//! So residual stream, keys, values and logits are those of the token-by-token path.
//!
//! 1. *Attention is causal by order.* Keys and values of the whole batch are stored first; then each
//!    position attends over itself and those before it.
//! 2. *An operand is quantized once*, on the way from the norm, whatever the arm says of tokens: its
//!    share of a batch is small.
//! 3. *Products are tile by tile*, `(tiles, columns, 64)`: columns are gathered where an operation
//!    needs them whole; SwiGLU does not.

use std::sync::Arc;

use septet_kernels::ops::{lanes::TILE, rope::RotaryTable, silu};
use septet_kernels::{ActivationBatch, Activations, Isa, NonFinite, PackedMatrix, gemm};

use super::attention::Attending;
use super::config::Config;
use super::execution::Execution;
use super::kv_cache::KvCache;
use super::linear::{LayerLinears, Linear, LinearSet, Role};
use super::parts::ModelParts;
use super::profile::Operation;
use super::projector::Projector;
use super::residual::Residual;

/// Positions of a batch: ten register tiles of AVX-512 and thirty of AVX2, less than a GEMM passes over
/// at once, and few enough for the buffers of a large model.
pub const BATCH: usize = 120;

/// A linear layer and the kernel that multiplies it with many columns.
#[derive(Clone, Debug)]
pub struct BatchedLinear {
    pub(super) kernel: gemm::BoundKernel,
    pub(super) weights: Arc<PackedMatrix>,
}

impl BatchedLinear {
    /// Finds the kernel for `linear`; nothing for `f32` weights, a layout without one, or a CPU without
    /// `isa`.
    fn new(linear: &Linear, isa: Isa) -> Option<Self> {
        let Linear::Quantized(weights) = linear else { return None };
        let variant = gemm::Variant { format: weights.format(), isa };
        let kernel = gemm::find(variant).filter(|_| variant.layout() == weights.layout())?;
        Some(Self { kernel: kernel.bind().ok()?, weights: Arc::clone(weights) })
    }
}

/// The position of a batch whose values are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NonFiniteColumn(pub usize);

/// The layers of a model for batches of positions, and their buffers. A *column* is a position of the
/// batch.
pub(super) struct Batch {
    /// (sets, layers)
    sets: Vec<Vec<LayerLinears<BatchedLinear>>>,
    rotary: Arc<RotaryTable>,
    /// Most columns.
    columns: usize,
    operand: Operand,
    /// (columns) of (hidden)
    streams: Vec<Residual>,
    /// (columns, heads, head_dim): rotated
    queries: Vec<f32>,
    /// (columns, heads, head_dim)
    attended: Vec<f32>,
    attending: Attending,
    /// One for each worker: what gates needs none.
    workers: Vec<()>,
    /// (the widest of hidden, ffn and twice the kv width): what is gathered of a column
    row: Vec<f32>,
    /// (tiles, columns, 64), as all below
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// Products of `o` and of `down`.
    delta: Vec<f32>,
}

/// What all columns of a batch multiply.
struct Operand {
    /// A column.
    column: Activations,
    columns: ActivationBatch,
}

impl Batch {
    /// Buffers for the batches of `execution` with room for the positions of `rotary`. Nothing where prompts
    /// are read token by token: when the execution says so, or a layer has no kernel for many columns.
    pub fn new(config: &Config, sets: &[LinearSet], execution: &Execution, rotary: &Arc<RotaryTable>) -> Option<Self> {
        let positions = rotary.positions();
        let columns = execution.prompt_batch.min(positions);
        if columns < 2 {
            return None;
        }
        let batched = |linear: &Linear| BatchedLinear::new(linear, execution.kernel.isa).ok_or(());
        let layer = |layer: &LayerLinears| LayerLinears::try_from_fn(|role| batched(&layer[role]));
        let layers = |set: &LinearSet| set.layers.iter().map(layer).collect();
        let sets = sets.iter().map(layers).collect::<Result<_, ()>>().ok()?;
        let (q_width, kv_width, hidden, ffn) = (config.q_width(), config.kv_width(), config.hidden, config.ffn);
        let widest = q_width.max(hidden).max(ffn);
        let products = |rows: usize| vec![0.0; rows.next_multiple_of(TILE) * columns];
        Some(Self {
            sets,
            rotary: Arc::clone(rotary),
            columns,
            operand: Operand {
                column: Activations::with_capacity(widest),
                columns: ActivationBatch::with_capacity(columns, widest),
            },
            streams: vec![Residual::new(hidden); columns],
            queries: vec![0.0; columns * q_width],
            attended: vec![0.0; columns * q_width],
            attending: Attending::new(config, execution.pool.threads(), columns),
            workers: vec![(); execution.pool.threads()],
            row: vec![0.0; (2 * kv_width).max(hidden).max(ffn)],
            q: products(q_width),
            k: products(kv_width),
            v: products(kv_width),
            gate: products(ffn),
            up: products(ffn),
            delta: products(hidden),
        })
    }

    /// Most positions of a batch.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The residual stream (hidden) of a column of the last batch.
    pub fn stream(&self, column: usize) -> &[f32] {
        self.streams[column].values()
    }

    /// The layers of set `set` for `tokens` at `position` and behind: from their embeddings to their
    /// residual streams behind the last layer.
    ///
    /// # Errors
    ///
    /// The first column that has to be quantized and is not finite.
    pub fn layers(
        &mut self,
        parts: &ModelParts,
        set: usize,
        projector: &mut Projector,
        cache: &mut KvCache,
        position: usize,
        tokens: &[u32],
    ) -> Result<(), NonFiniteColumn> {
        let Self {
            sets,
            rotary,
            operand,
            streams,
            queries,
            attended,
            attending,
            workers,
            row,
            q,
            k,
            v,
            gate,
            up,
            delta,
            ..
        } = self;
        let (config, eps, columns) = (&parts.config, parts.config.norm_eps, tokens.len());
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let streams = &mut streams[..columns];
        let products = |rows: usize| rows.next_multiple_of(TILE) * columns;
        let (q, k, v) = (&mut q[..products(q_width)], &mut k[..products(kv_width)], &mut v[..products(kv_width)]);
        let (gate, up) = (&mut gate[..products(config.ffn)], &mut up[..products(config.ffn)]);
        let delta = &mut delta[..products(config.hidden)];

        for (column, (stream, &token)) in streams.iter_mut().zip(tokens).enumerate() {
            stream.embed(&parts.embedding, token).map_err(|_| NonFiniteColumn(column))?;
        }
        projector.laps().end(Operation::Other);
        for (layer, (norms, linears)) in parts.norms.iter().zip(&sets[set]).enumerate() {
            // x += O · attention(Q·norm(x), K·norm(x), V·norm(x))
            let normed = |column: usize, operand: &mut Activations, segment| {
                let stream: &Residual = &streams[column];
                operand.quantize_normed(stream.values(), &norms.attention, stream.inv_rms(eps), segment)
            };
            let outputs = [(&linears[Role::Q], &mut *q), (&linears[Role::K], &mut *k), (&linears[Role::V], &mut *v)];
            operand.project(projector, columns, outputs, normed)?;
            for (column, query) in queries.chunks_exact_mut(q_width).take(columns).enumerate() {
                let (key, value) = row[..2 * kv_width].split_at_mut(kv_width);
                for (products, values) in [(&*q, &mut *query), (k, key), (v, value)] {
                    gather(products, columns, column, values);
                }
                if let Some(biases) = parts.biases.get(layer) {
                    biases.add(query, key, value);
                }
                rotary.rotate(position + column, query);
                rotary.rotate(position + column, key);
                cache.store(layer, position + column, key, value).map_err(|_| NonFiniteColumn(column))?;
            }
            projector.laps().end(Operation::Cache);
            let width = columns * q_width;
            let (queries, attended) = (&queries[..width], &mut attended[..width]);
            attending.attend(config, projector.pool(), (cache, layer), position, queries, attended);
            projector.laps().end(Operation::Attention);
            let plain = |column: usize, operand: &mut Activations, segment| {
                operand.quantize(&attended[column * q_width..][..q_width], segment)
            };
            operand.project(projector, columns, [(&linears[Role::O], &mut *delta)], plain)?;
            add(streams, delta, &mut row[..config.hidden]);
            projector.laps().end(Operation::Residual);

            // x += Down · (silu(Gate·norm(x)) · (Up·norm(x)))
            let normed = |column: usize, operand: &mut Activations, segment| {
                let stream: &Residual = &streams[column];
                operand.quantize_normed(stream.values(), &norms.ffn, stream.inv_rms(eps), segment)
            };
            let outputs = [(&linears[Role::Gate], &mut *gate), (&linears[Role::Up], &mut *up)];
            operand.project(projector, columns, outputs, normed)?;
            let outputs = [(&mut *gate, TILE * columns), (&mut *up, TILE * columns)];
            projector.pool().for_parts(outputs, workers, |[gate, up], ()| silu::swiglu(gate.values, up.values));
            projector.laps().end(Operation::Gate);
            let row = &mut row[..];
            let gated = |column: usize, operand: &mut Activations, segment| {
                gather(gate, columns, column, &mut row[..config.ffn]);
                operand.quantize(&row[..config.ffn], segment)
            };
            operand.project(projector, columns, [(&linears[Role::Down], &mut *delta)], gated)?;
            add(streams, delta, &mut row[..config.hidden]);
            projector.laps().end(Operation::Residual);
        }
        Ok(())
    }
}

impl Operand {
    /// Products of linear layers with the columns that `quantize(column, operand, segment)` gives.
    fn project<const N: usize>(
        &mut self,
        projector: &mut Projector,
        columns: usize,
        products: [(&BatchedLinear, &mut [f32]); N],
        mut quantize: impl FnMut(usize, &mut Activations, usize) -> Result<(), NonFinite>,
    ) -> Result<(), NonFiniteColumn> {
        let mut quantized = None;
        for (linear, out) in products {
            let (cols, segment) = (linear.weights.cols(), linear.weights.segment());
            if quantized != Some(segment) {
                self.columns.reset(columns, cols, segment);
                for column in 0..columns {
                    quantize(column, &mut self.column, segment).map_err(|_| NonFiniteColumn(column))?;
                    self.columns.set(column, &self.column);
                }
                quantized = Some(segment);
            }
            projector.store_columns(linear, &self.columns, out);
        }
        Ok(())
    }
}

/// Adds the products `(tiles, columns, 64)` to the streams of their columns; `row` is (hidden).
fn add(streams: &mut [Residual], products: &[f32], row: &mut [f32]) {
    let columns = streams.len();
    for (column, stream) in streams.iter_mut().enumerate() {
        gather(products, columns, column, row);
        stream.add(row);
    }
}

/// The rows of a column, from the products `(tiles, columns, 64)`.
fn gather(products: &[f32], columns: usize, column: usize, rows: &mut [f32]) {
    for (rows, tile) in rows.chunks_mut(TILE).zip(gemm::column(products, columns, column)) {
        rows.copy_from_slice(&tile[..rows.len()]);
    }
}
