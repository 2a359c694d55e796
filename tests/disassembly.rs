//! The registry keeps its word in machine code: what an axis is called is what the compiler made.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use septet::disassembly::{LoopFacts, gemm_loop_facts, loop_facts};
use septet_kernels::{Format, Isa, Layout, Unpack, Unroll, Variant, gemm, registry};

/// Checks a property of the inner loop of every kernel, with and without prefetching, for any shape and
/// for those that it is compiled for; a failure prints the loop.
fn every_loop(holds: impl Fn(Variant, bool, &LoopFacts) -> bool) {
    for kernel in registry::kernels() {
        let shapes = kernel.compiled_cols().iter().map(|cols| Some(*cols));
        for cols in std::iter::once(None).chain(shapes) {
            for prefetching in [false, true] {
                let variant = kernel.variant;
                let facts = loop_facts(kernel, prefetching, cols).unwrap_or_else(|error| panic!("{variant}: {error}"));
                let listing = &facts.listing;
                let code = format!("{variant}, prefetching {prefetching}, compiled for {cols:?}");
                assert!(holds(variant, prefetching, &facts), "{code}: {facts:?}\n{listing}");
            }
        }
    }
}

#[test]
fn branch_jumps_once_for_each_weight_and_no_other_strategy_jumps() {
    every_loop(|variant, _, facts| {
        facts.jumps_inside == if variant.unpack == Unpack::Branch { facts.weights } else { 0 }
    });
}

#[test]
fn registers_are_as_wide_as_the_instruction_set_says() {
    every_loop(|variant, _, facts| facts.vector_bits == 8 * variant.isa.vector_bytes() as u32);
}

/// In `rows16`: codes of one row that share bits with one byte, or four whole bytes (scalar), or a
/// segment of sixteen rows. Four stripes are taken in a loop of their own: by twos in registers of 64
/// bytes, one by one in those of 32.
#[test]
fn an_iteration_is_one_or_four_pairs_or_segments() {
    every_loop(|variant, _, facts| {
        let shared = match variant.format {
            Format::W4 | Format::W3 => 8,
            Format::W3p5 => 16,
        };
        let unit = match (variant.layout, variant.isa) {
            (Layout::Rows16, Isa::Scalar) => shared,
            (Layout::Rows16, _) => 16 * 128,
            (_, Isa::Scalar) => 2,
            _ => 128,
        };
        let units = match (variant.unroll, variant.layout, variant.isa.vector_bytes()) {
            (Unroll::U1, ..) | (_, Layout::Rows16, 32) => 1,
            (_, Layout::Rows16, _) => 2,
            (Unroll::U4, ..) => 4,
        };
        facts.weights == unit * units
    });
}

#[test]
fn nothing_is_called_and_one_jump_closes_the_loop() {
    every_loop(|_, _, facts| facts.calls == 0 && facts.loop_jumps == 1);
}

#[test]
fn scalar_loops_check_no_bounds() {
    every_loop(|variant, _, facts| variant.isa != Isa::Scalar || facts.exits == 0);
}

/// In `rows16` once for each line of codes and once for the scales; elsewhere once a segment.
#[test]
fn vector_loops_prefetch_where_asked() {
    every_loop(|variant, prefetching, facts| {
        let stored_bits = match variant.format {
            Format::W4 => 8,
            Format::W3p5 => 7,
            Format::W3 => 6,
        };
        let (hint, count) = match variant.layout {
            Layout::Rows16 => ("prefetcht1", facts.weights / 2048 * (2 * stored_bits + 1)),
            _ => ("prefetcht0", facts.weights / 128),
        };
        let expected = if prefetching { count } else { 0 };
        variant.isa == Isa::Scalar || facts.listing.matches(hint).count() == expected
    });
}

/// The loop of a kernel for many columns multiplies, in the registers of its set, without a call or a jump on
/// data; and a vector unit executes what is counted.
#[test]
fn kernels_for_many_columns_have_their_loops_too() {
    for kernel in gemm::kernels() {
        let variant = kernel.variant;
        let facts = gemm_loop_facts(kernel).unwrap_or_else(|error| panic!("{variant}: {error}"));
        assert_eq!(facts.vector_bits, 8 * variant.isa.vector_bytes() as u32, "{variant}\n{}", facts.listing);
        assert_eq!((facts.calls, facts.jumps_inside), (0, 0), "{variant}\n{}", facts.listing);
    }
}

/// Loads, stores and jumps are no operations of vector units, products and what makes their operands are.
#[test]
fn vector_operations_are_between_products_and_instructions() {
    every_loop(|variant, _, facts| match variant.isa {
        Isa::Scalar => facts.vector_operations == 0,
        _ => facts.products < facts.vector_operations && facts.vector_operations < facts.instructions,
    });
}
