//! The registry keeps its word in machine code: what an axis is called is what the compiler made.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use septet::disassembly::{LoopFacts, loop_facts};
use septet_kernels::{Isa, Unpack, Unroll, Variant, registry};

/// Checks a property of the inner loop of every kernel, with and without prefetching; a failure
/// prints the loop.
fn every_loop(holds: impl Fn(Variant, bool, &LoopFacts) -> bool) {
    for kernel in registry::kernels() {
        for prefetching in [false, true] {
            let variant = kernel.variant;
            let facts = loop_facts(kernel, prefetching).unwrap_or_else(|error| panic!("{variant}: {error}"));
            let listing = &facts.listing;
            assert!(holds(variant, prefetching, &facts), "{variant}, prefetching {prefetching}: {facts:?}\n{listing}");
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
    every_loop(|variant, _, facts| {
        facts.vector_bits
            == match variant.isa {
                Isa::Scalar => 0,
                Isa::Avx2 => 256,
                Isa::Avx512 => 512,
            }
    });
}

#[test]
fn an_iteration_is_one_or_four_pairs_or_segments() {
    every_loop(|variant, _, facts| {
        let unit = if variant.isa == Isa::Scalar { 2 } else { 128 };
        let units = match variant.unroll {
            Unroll::U1 => 1,
            Unroll::U4 => 4,
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

#[test]
fn vector_loops_prefetch_once_a_segment_where_asked() {
    every_loop(|variant, prefetching, facts| {
        let segments = if prefetching { facts.weights / 128 } else { 0 };
        variant.isa == Isa::Scalar || facts.listing.matches("prefetcht0").count() == segments
    });
}
