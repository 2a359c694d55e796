//! What valgrind and single steps count of real kernels. Without valgrind, or where ptrace is forbidden, a
//! test says so and checks that the reason is a value.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use septet::counters::callgrind::{Counts, Simulator};
use septet::counters::single_step::{self, LIMIT, Steps};
use septet::counters::{NoCounters, Product};
use septet::record::{CounterRow, CounterStatus, read_manifest, read_rows};
use septet_kernels::Isa;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_bench"))
}

fn product(kernel: &str, rows: usize, cols: usize) -> Product {
    Product::of_kernel(kernel.parse().expect("a kernel"), rows, cols)
}

/// The valgrind of this machine; says why there is none.
fn simulator() -> Option<Simulator> {
    Simulator::find().inspect_err(|none| eprintln!("skipped: {none}")).ok()
}

/// Steps through a product; says why ptrace refuses, if it does.
fn stepped(product: &Product) -> Option<Steps> {
    match single_step::count(program(), product, LIMIT, &|_| {}) {
        Ok(steps) => Some(steps),
        Err(none) => {
            assert!(none.reason.contains("ptrace") || none.reason.contains("x86-64 Linux"), "{none}");
            eprintln!("skipped: {none}");
            None
        }
    }
}

/// Instructions and branches repeat exactly. Misses are those of caches and of a predictor that remember what the
/// process did before the product, down to the addresses that the system gave it.
#[test]
fn callgrind_counts_the_same_each_time() {
    let Some(simulator) = simulator() else { return };
    let kernels = ["byte_per_pair/lut/u1", "dense/branch/u4"].map(|way| format!("gemv/w3p5/{way}/scalar"));
    let kernels = kernels.map(|name| name.parse().expect("a kernel"));
    let each = || simulator.count_each(program(), &kernels, (64, 512), &|| {});
    let (once, again) = (each(), each());
    let exact = |counts: &Counts| [counts.instructions, counts.branches];
    let missed = |counts: &Counts| [counts.branch_misses, counts.d1_misses, counts.ll_misses];
    for (once, again) in once.iter().zip(&again) {
        let [once, again] = [once, again].map(|counts| counts.as_ref().expect("counts"));
        assert_eq!(exact(once), exact(again));
        for (once, again) in missed(once).into_iter().zip(missed(again)) {
            assert!(once.abs_diff(again) <= 16 + once / 100, "{once} and {again} misses");
        }
    }
    let [first, second] = [&once[0], &once[1]].map(|counts| *counts.as_ref().expect("counts"));
    assert_ne!(exact(&first), exact(&second));
    assert!(first.instructions > 64 * 512 && first.branches > 0, "an instruction for each weight: {first:?}");
}

/// The branch is wrong for about half of all random signs; a table has nothing to be wrong about.
#[test]
fn a_branch_on_random_codes_is_mispredicted_and_a_table_is_not() {
    let Some(simulator) = simulator() else { return };
    let missed = |unpack: &str| {
        let product = product(&format!("gemv/w3p5/byte_per_pair/{unpack}/u1/scalar"), 128, 2048);
        let Counts { branch_misses, .. } = simulator.count(program(), &product).expect("counts");
        branch_misses as f64 / product.weights()
    };
    let (branch, lut) = (missed("branch"), missed("lut"));
    assert!((0.45..0.55).contains(&branch) && lut < 0.01, "branch {branch}, lut {lut}");
}

/// Both count one function, from its first instruction to its return; these kernels call no library whose
/// code depends on the CPU.
#[test]
fn callgrind_and_single_steps_count_the_same_instructions() {
    let Some(simulator) = simulator() else { return };
    let mut kernels = vec!["gemv/w3p5/byte_per_pair/lut/u1/scalar", "gemv/w4/dense/branch/u4/scalar"];
    if Isa::Avx2.is_available() {
        kernels.push("gemv/w3p5/rows16/bit_parallel/u4/avx2");
    }
    for kernel in kernels {
        let product = product(kernel, 64, 128);
        let Some(steps) = stepped(&product) else { return };
        let counts = simulator.count(program(), &product).expect("counts");
        assert_eq!(steps.instructions, counts.instructions, "{kernel}");
        // Every jump that callgrind counts is one; direct jumps and calls are ones for single steps alone.
        assert!(steps.branches >= counts.branches && steps.taken_branches <= steps.branches);
    }
}

#[test]
fn instructions_that_valgrind_does_not_know_are_a_reason() {
    let Some(simulator) = simulator() else { return };
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let none = simulator.count(program(), &product("gemv/w3p5/dense/lut/u4/avx512", 64, 512)).unwrap_err();
    assert!(none.reason.contains("avx512") && none.remedy.contains("single_step"), "{none}");
    assert!(none.lacks_instructions);
}

/// Valgrind writes counts of a process that died, too.
#[test]
fn a_process_that_dies_has_no_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let dying = folder.path().join("dying");
    fs::write(&dying, "#!/bin/sh\nkill -ILL $$\n").expect("a script");
    fs::set_permissions(&dying, fs::Permissions::from_mode(0o755)).expect("permissions");
    let lut = product("gemv/w3p5/byte_per_pair/lut/u1/scalar", 64, 512);
    let dies = |none: NoCounters| assert!(none.reason.contains("signal: 4"), "{none}");
    if let Some(simulator) = simulator() {
        dies(simulator.count(&dying, &lut).unwrap_err());
    }
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        dies(single_step::count(&dying, &lut, LIMIT, &|_| {}).unwrap_err());
    }
    let empty = product("gemv/w3p5/byte_per_pair/lut/u1/scalar", 0, 512);
    if let Some(simulator) = simulator() {
        let none = simulator.count(program(), &empty).unwrap_err();
        assert!(none.reason.contains("exit status: 3") && none.reason.contains("a matrix of 0 x 512"), "{none}");
    }
}

#[test]
fn a_product_with_too_many_instructions_is_a_reason() {
    let small = product("gemv/w3p5/byte_per_pair/lut/u1/scalar", 64, 128);
    if stepped(&small).is_some() {
        let none = single_step::count(program(), &small, 1000, &|_| {}).unwrap_err();
        assert!(none.reason.contains("more than 1000 instructions"), "{none}");
    }
}

/// Every source, asked by an experiment: a value or a reason in each row, and the table that shows them.
#[test]
fn an_experiment_chooses_its_counters() {
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/counters.toml"));
    let spec = spec.expect("the experiment").replace("tokens = 4", "tokens = 1").replace("4096", "256");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("spec.toml"), spec).expect("a file");
    let run = |spec: &str| {
        let mut command = Command::new(program());
        command.args(["run", spec, "--quick", "-a", "isa=scalar", "-a", "unpack=lut"]);
        command.args(["-a", "prefetch=none,software", "--out", "out"]);
        command.current_dir(folder.path()).output().expect("a run")
    };
    let output = run("spec.toml");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let out = folder.path().join("out");
    let manifest = read_manifest(&out).expect("a manifest");
    let (rows, _) = read_rows::<CounterRow>(&out, &manifest).expect("counters");
    // Four facts of the loop, eleven events, five simulated and three stepped counters.
    assert_eq!(rows.len(), (4 + 11 + 5 + 3) * manifest.plan.cells.len());
    let label = |row: &CounterRow| {
        let cell = manifest.plan.cells.iter().find(|cell| cell.id == row.cell_id).expect("a cell");
        format!("{}/{}", cell.factors["unpack"], cell.factors["prefetch"])
    };
    let has_valgrind = simulator().is_some();
    for row in &rows {
        assert_eq!(row.status == CounterStatus::Unavailable, row.value.is_none(), "{row:?}");
        let of_caches = ["simulated_d1_misses", "simulated_ll_misses"].contains(&row.counter.as_str());
        if row.source == "callgrind" && has_valgrind {
            let judged = !(of_caches && label(row).ends_with("software"));
            assert_eq!(row.status == CounterStatus::Simulated, judged, "{row:?}");
            let expected = if judged { "1024 x 2048, valgrind-" } else { "prefetch" };
            assert!(row.reason.contains(expected), "{row:?}");
        }
    }
    let table = fs::read_to_string(out.join("tables/counters.md")).expect("a table");
    assert!(table.contains("loop conditional jumps per weight") && table.contains("No value of cycles"), "{table}");
    if has_valgrind {
        assert!(table.contains('†') && table.contains("n/a [1]"), "{table}");
    }

    let twice = "[counters]\nsources = [\"callgrind\", \"callgrind\"]\n\n[[workload]]\nname = \"cached\"";
    let spec = fs::read_to_string(folder.path().join("spec.toml")).expect("the file");
    let (head, tail) = spec.split_once("[counters]").expect("the section");
    let tail = tail.split_once("[[workload]]\nname = \"cached\"").expect("the workload").1;
    fs::write(folder.path().join("twice.toml"), format!("{head}{twice}{tail}")).expect("a file");
    let output = run("twice.toml");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && message.contains("named twice"), "{message}");
}
