//! Gungraun's benches (the tool that was called iai-callgrind): what callgrind simulates of one product of
//! every kernel that valgrind can run, from the registry.
//!
//! The region, the caches and the process are those of `bench gate --counts`, which needs no other program
//! and decides; this shows misses and estimated cycles beside the run before.

use gungraun::{
    Bench, BinaryBenchmark, BinaryBenchmarkConfig, BinaryBenchmarkGroup, Callgrind, Command, binary_benchmark_group,
    main,
};
use septet::counters::{
    Product,
    callgrind::{GEOMETRY, TOGGLE},
};
use septet_kernels::{Isa, registry};

/// Instruction sets that valgrind simulates.
const SIMULATED: [Isa; 2] = [Isa::Scalar, Isa::Avx2];

const ROWS: usize = 128;
const COLS: usize = 2048;

/// A bench for each kernel, by its name.
fn products(group: &mut BinaryBenchmarkGroup) {
    let mut product = BinaryBenchmark::new("product");
    for kernel in registry::kernels().iter().filter(|kernel| SIMULATED.contains(&kernel.variant.isa)) {
        let arguments = Product::of_kernel(kernel.variant, ROWS, COLS).arguments();
        let command = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).build();
        // Names are identifiers there.
        let id = kernel.variant.to_string().replace('/', "__");
        product.bench(Bench::new(id.as_str()).command(command));
    }
    group.binary_benchmark(product);
}

binary_benchmark_group!(name = kernels, benchmarks = |group: &mut BinaryBenchmarkGroup| products(group));

main!(
    config = BinaryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=yes", "--branch-sim=yes", TOGGLE].into_iter().chain(GEOMETRY))),
    binary_benchmark_groups = kernels
);
