//! What the compiler made of a kernel: its innermost loop of products, decoded from the machine code
//! of this process, counted and printed.
//!
//! An axis is only as good as the code behind it. LLVM turns jumps into straight-line code, unrolls,
//! and vectorizes what was meant to be scalar; a table that says `branch` must be able to show the
//! jump. The path: process → function (`image`) → basic blocks (`flow`) → natural loops (`loops`) →
//! [`LoopFacts`].

use std::fmt::Display;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use septet_kernels::{Kernel, gemm};
use thiserror::Error;

mod flow;
mod image;
mod loops;
mod nasm;

use flow::Graph;
use image::{Function, Image};

/// Why there is no disassembly here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no disassembly: {0}")]
pub struct Unavailable(String);

/// The loop in which a kernel multiplies, as compiled.
///
/// A loop of several paths is counted as a whole: each instruction of each path once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopFacts {
    /// Address of the first instruction in the executable file.
    pub start: u64,
    /// Address behind the last instruction.
    pub end: u64,
    /// Number of instructions, jumps included.
    pub instructions: usize,
    /// Conditional jumps that stay in the loop whichever way they go, and do not close it: what
    /// they depend on are data.
    pub jumps_inside: usize,
    /// Conditional jumps that close the loop.
    pub loop_jumps: usize,
    /// Other conditional jumps out of the loop: checks that lead to a panic.
    pub exits: usize,
    /// Calls.
    pub calls: usize,
    /// Bits of the widest vector register used: 128, 256 or 512, or 0 for none.
    pub vector_bits: u32,
    /// Multiplying instructions: `imul`, or dot products of bytes.
    pub products: usize,
    /// Weights multiplied by one iteration: one for each `imul`, one for each byte of a dot product. A
    /// weight that is multiplied with several columns counts once for each.
    pub weights: usize,
    /// Instructions that a vector unit executes: those on vector registers, except moves, loads, stores
    /// and broadcasts from memory.
    pub vector_operations: usize,
    /// The loop in NASM syntax.
    pub listing: String,
}

impl LoopFacts {
    /// Conditional jumps on data for each weight.
    pub fn jumps_per_weight(&self) -> f64 {
        self.jumps_inside as f64 / self.weights as f64
    }

    /// Instructions for each weight.
    pub fn instructions_per_weight(&self) -> f64 {
        self.instructions as f64 / self.weights as f64
    }

    /// Instructions of vector units for each weight.
    pub fn vector_operations_per_weight(&self) -> f64 {
        self.vector_operations as f64 / self.weights as f64
    }
}

/// Calls between a kernel and its loop at most: a vector kernel checks the instruction set and calls the
/// code that uses it, and one for many columns calls from there what multiplies a panel.
const CALLS: usize = 2;

/// The innermost loop of `kernel` with the most products, in the function itself or, without one there, in
/// those that it calls. With `cols`, of the code that is compiled for matrices of so many columns.
///
/// # Errors
/// [`Unavailable`] on architectures other than x86-64, where the process cannot read its code, and where
/// no code is compiled for `cols`.
pub fn loop_facts(kernel: &Kernel, prefetching: bool, cols: Option<usize>) -> Result<LoopFacts, Unavailable> {
    let code = kernel.code_address(prefetching, cols).ok_or_else(|| {
        let (variant, cols, compiled) = (kernel.variant, cols.unwrap_or_default(), kernel.compiled_cols());
        Unavailable(format!("{variant} is not compiled for K = {cols}; compiled: {compiled:?}"))
    })?;
    of_code(code, &kernel.variant)
}

/// The same of a kernel for many columns: the loop that multiplies a panel. What unpacks weights into
/// the panel is none of it.
///
/// # Errors
/// [`Unavailable`] on architectures other than x86-64, and where the process cannot read its code.
pub fn gemm_loop_facts(kernel: &gemm::Kernel) -> Result<LoopFacts, Unavailable> {
    of_code(kernel.code_address(), &kernel.variant)
}

fn of_code(address: usize, name: &dyn Display) -> Result<LoopFacts, Unavailable> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Unavailable("only x86-64 code is decoded".to_owned()));
    }
    let (image, address) = Image::locate(address)?;
    let function = image.function(address)?;
    // What is called outside of the executable is none of the kernel's code, and taken to return.
    let callee = |call: &Instruction| image.target(call).and_then(|target| image.function(target).ok());
    let returns = |call: &Instruction| callee(call).is_none_or(|function| function.returns());
    let widest = |functions: &[Function]| {
        let loops = functions.iter().flat_map(|function| {
            let graph = Graph::of(function, returns, |table, n| image.entry(table, n));
            loops::innermost(&graph).iter().map(|found| LoopFacts::of(&graph, found)).collect::<Vec<_>>()
        });
        loops.filter(|facts| facts.products > 0).max_by_key(|facts| facts.weights)
    };
    let mut functions = vec![function];
    (0..=CALLS)
        .find_map(|_| {
            let found = widest(&functions);
            functions = functions.iter().flat_map(Function::calls).filter_map(|call| callee(&call)).collect();
            found
        })
        .ok_or_else(|| Unavailable(format!("no loop of {name} multiplies")))
}

impl LoopFacts {
    fn of(graph: &Graph, found: &loops::Loop) -> Self {
        let blocks = || graph.blocks.iter().zip(&found.members).filter(|(_, member)| **member).map(|(block, _)| block);
        let instructions: Vec<Instruction> = blocks().flat_map(|block| &block.instructions).copied().collect();
        let count = |flow: &[FlowControl]| instructions.iter().filter(|i| flow.contains(&i.flow_control())).count();
        let mut facts = Self {
            start: instructions.first().map_or(0, Instruction::ip),
            end: instructions.last().map_or(0, Instruction::next_ip),
            instructions: instructions.len(),
            jumps_inside: 0,
            loop_jumps: 0,
            exits: 0,
            calls: count(&[FlowControl::Call, FlowControl::IndirectCall]),
            vector_bits: instructions.iter().map(vector_bits).max().unwrap_or_default(),
            products: instructions.iter().filter(|i| weights(i) > 0).count(),
            weights: instructions.iter().map(weights).sum(),
            vector_operations: instructions.iter().filter(|i| is_vector_operation(i)).count(),
            listing: nasm::listing(&instructions),
        };
        for block in blocks() {
            let last = block.instructions[block.instructions.len() - 1];
            if last.flow_control() == FlowControl::ConditionalBranch {
                if block.successors.contains(&found.header) {
                    facts.loop_jumps += 1;
                } else if block.successors.iter().all(|next| found.members[*next]) {
                    facts.jumps_inside += 1;
                } else {
                    facts.exits += 1;
                }
            }
        }
        facts
    }
}

/// Weights that an instruction multiplies.
fn weights(instruction: &Instruction) -> usize {
    let target = instruction.op0_register();
    match instruction.mnemonic() {
        // Two 32-bit operands. Multiples by a constant, and 64-bit ones, compute addresses.
        Mnemonic::Imul if target.is_gpr32() && instruction.op_count() == 2 => 1,
        Mnemonic::Vpmaddubsw | Mnemonic::Vpdpbusd | Mnemonic::Vpdpbusds => target.size(),
        _ => 0,
    }
}

/// Whether a vector unit executes an instruction: it names a vector register and does more than to move
/// what it finds there or in memory.
fn is_vector_operation(instruction: &Instruction) -> bool {
    let name = format!("{:?}", instruction.mnemonic());
    let reads_memory = (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    let moves = name.starts_with("Vmov") || reads_memory && name.contains("broadcast");
    vector_bits(instruction) > 0 && !moves
}

/// Bits of the widest vector register among the operands of an instruction.
fn vector_bits(instruction: &Instruction) -> u32 {
    let registers = (0..instruction.op_count())
        .filter(|operand| instruction.op_kind(*operand) == OpKind::Register)
        .map(|operand| instruction.op_register(operand));
    registers.filter(|register| register.is_vector_register()).map(Register::size).max().unwrap_or_default() as u32 * 8
}
