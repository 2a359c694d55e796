//! Criterion's benches: the time of one product of every kernel that this CPU can run, from the registries.
//!
//! For a kernel author who wants a number in seconds: `cargo bench -- w3p5/dense`. Criterion runs one kernel
//! after another in one process, so what it says is no comparison of two of them; `bench run` compares.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use septet::counters::{Product, product::counted_product};
use septet_kernels::{
    ActivationBatch, Activations, GemmJob, Granularity, PackedMatrix, QuantizedMatrix, SplitMix64, TILE_ROWS, gemm,
    registry,
};

/// The matrix: its weights stay in a second-level cache.
const ROWS: usize = 128;
const COLS: usize = 4096;

/// Columns of a product with several: those of `experiments/gate.toml`.
const COLUMNS: usize = 32;

/// Matrix times vector.
fn gemv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemv");
    group.throughput(Throughput::Elements((ROWS * COLS) as u64));
    for kernel in registry::kernels().iter().filter(|kernel| kernel.bind().is_ok()) {
        let name = kernel.variant.to_string();
        let mut ready = Product::of_kernel(kernel.variant, ROWS, COLS).ready().expect("a kernel that this CPU can run");
        group.bench_function(name.trim_start_matches("gemv/"), |b| b.iter(|| counted_product(&mut ready)));
    }
}

/// Matrix times many vectors.
fn gemm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    group.throughput(Throughput::Elements((ROWS * COLS * COLUMNS) as u64));
    let mut random = SplitMix64::new(1);
    for kernel in gemm::kernels() {
        let Ok(bound) = kernel.bind() else { continue };
        let variant = kernel.variant;
        let matrix = QuantizedMatrix::random(ROWS, COLS, variant.format, Granularity::Group128, 1).expect("weights");
        let weights = PackedMatrix::pack(&matrix, variant.layout()).expect("a layout that the format has");
        let (mut batch, mut operand) = (ActivationBatch::default(), Activations::default());
        batch.reset(COLUMNS, COLS, weights.segment());
        for column in 0..COLUMNS {
            let x: Vec<f32> = (0..COLS).map(|_| random.normal_f32()).collect();
            operand.quantize(&x, weights.segment()).expect("finite numbers");
            batch.set(column, &operand);
        }
        let units = gemm::units(&weights, &batch);
        let mut out = vec![0.0; units * TILE_ROWS];
        let name = variant.to_string();
        group.bench_function(name.trim_start_matches("gemm/"), |b| {
            b.iter(|| bound.gemm(GemmJob { weights: &weights, batch: &batch, units: 0..units, out: &mut out }));
        });
    }
}

/// Short: there are many kernels, and more samples do not remove what a process has in common.
fn settings() -> Criterion {
    let second = Duration::from_secs(1);
    Criterion::default().sample_size(20).warm_up_time(second / 5).measurement_time(second / 2)
}

criterion_group!(name = kernels; config = settings(); targets = gemv, gemm);
criterion_main!(kernels);
