//! Which instruction can follow which: the basic blocks of a function, by recursive descent.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::image::Function;

/// Instructions that run one after the other, and the blocks that can run next.
pub struct Block {
    /// At least one.
    pub instructions: Vec<Instruction>,
    /// Indices into [`Graph::blocks`], each once.
    pub successors: Vec<usize>,
}

/// The control flow of one function.
pub struct Graph {
    /// In the order of addresses.
    pub blocks: Vec<Block>,
    /// The block in which the function begins.
    pub entry: usize,
}

impl Graph {
    /// Decodes what can be reached from the beginning of `function`. Behind a call to an address
    /// for which `returns` is false, nothing is.
    pub fn of(function: &Function, returns: impl Fn(u64) -> bool) -> Self {
        let ends = |i: &Instruction| match i.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall => false,
            FlowControl::Call => !returns(i.near_branch_target()),
            _ => true,
        };
        let mut instructions = BTreeMap::new();
        let mut leaders = BTreeSet::from([function.start]);
        let mut pending = vec![function.start];
        while let Some(address) = pending.pop() {
            for instruction in function.decode_from(address) {
                if instructions.insert(instruction.ip(), instruction).is_some() {
                    break;
                }
                if ends(&instruction) {
                    let next = next_addresses(&instruction).into_iter().filter(|next| function.holds(*next));
                    pending.extend(next.filter(|next| leaders.insert(*next)));
                    break;
                }
            }
        }
        Self::cut(function.start, instructions.into_values(), &leaders, ends)
    }

    /// Cuts instructions, ascending, into blocks: one begins at each leader.
    fn cut(
        start: u64,
        instructions: impl Iterator<Item = Instruction>,
        leaders: &BTreeSet<u64>,
        ends: impl Fn(&Instruction) -> bool,
    ) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        for instruction in instructions {
            match blocks.last_mut() {
                Some(block) if !leaders.contains(&instruction.ip()) => block.instructions.push(instruction),
                _ => blocks.push(Block { instructions: vec![instruction], successors: Vec::new() }),
            }
        }
        let at = |address: u64| blocks.binary_search_by_key(&address, |block| block.instructions[0].ip()).ok();
        let successors = |block: &Block| {
            let last = block.instructions[block.instructions.len() - 1];
            let next = if ends(&last) { next_addresses(&last) } else { vec![last.next_ip()] };
            let mut next: Vec<usize> = next.into_iter().filter_map(at).collect();
            next.dedup();
            next
        };
        let successors: Vec<Vec<usize>> = blocks.iter().map(successors).collect();
        let entry = at(start).unwrap_or_default();
        for (block, successors) in blocks.iter_mut().zip(successors) {
            block.successors = successors;
        }
        Self { blocks, entry }
    }
}

/// Where execution can continue behind an instruction that ends a block.
fn next_addresses(instruction: &Instruction) -> Vec<u64> {
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch => vec![instruction.near_branch_target()],
        FlowControl::ConditionalBranch => vec![instruction.next_ip(), instruction.near_branch_target()],
        _ => Vec::new(),
    }
}

impl Function {
    fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.start).is_some_and(|offset| offset < self.code.len() as u64)
    }

    /// Instructions from `address` on, which lies in the function, to its end.
    fn decode_from(&self, address: u64) -> impl Iterator<Item = Instruction> {
        let bytes = &self.code[(address - self.start) as usize..];
        Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).into_iter()
    }

    /// Functions that this one calls, or jumps to at its end.
    pub fn callees(&self) -> Vec<u64> {
        let leaves = |i: &Instruction| match i.flow_control() {
            FlowControl::Call => true,
            FlowControl::UnconditionalBranch => !self.holds(i.near_branch_target()),
            _ => false,
        };
        self.decode_from(self.start).filter(leaves).map(|i| i.near_branch_target()).collect()
    }

    /// Whether it can come back: a function without a `ret` and without a jump out of it cannot.
    /// Those that panic are like this.
    pub fn returns(&self) -> bool {
        self.decode_from(self.start).any(|i| match i.flow_control() {
            FlowControl::Return | FlowControl::IndirectBranch => true,
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => !self.holds(i.near_branch_target()),
            _ => false,
        })
    }
}
