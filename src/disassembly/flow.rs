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
    /// Decodes what can be reached from the beginning of `function`. Behind a call for which
    /// `returns` is false, nothing is.
    pub fn of(function: &Function, returns: impl Fn(&Instruction) -> bool) -> Self {
        let ends = |i: &Instruction| match i.flow_control() {
            FlowControl::Next => false,
            FlowControl::Call | FlowControl::IndirectCall => !returns(i),
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

    /// The calls, and the jumps to another function at the end of this one.
    pub fn calls(&self) -> impl Iterator<Item = Instruction> {
        self.decode_from(self.start).filter(|i| match i.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::IndirectBranch => true,
            FlowControl::UnconditionalBranch => !self.holds(i.near_branch_target()),
            _ => false,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `xor eax,eax; .loop: inc eax; cmp eax,10; jl .loop; call 0x2000; ret`
    const COUNTING: &[u8] = b"\x31\xc0\xff\xc0\x83\xf8\x0a\x7c\xf9\xe8\xf2\x0f\x00\x00\xc3";

    fn counting() -> Function {
        Function { start: 0x1000, code: COUNTING.to_vec() }
    }

    fn starts(graph: &Graph) -> Vec<u64> {
        graph.blocks.iter().map(|block| block.instructions[0].ip()).collect()
    }

    #[test]
    fn blocks_begin_where_jumps_lead_and_end_where_they_stand() {
        let graph = Graph::of(&counting(), |_| true);
        assert_eq!(starts(&graph), [0x1000, 0x1002, 0x1009]);
        let successors: Vec<&[usize]> = graph.blocks.iter().map(|block| block.successors.as_slice()).collect();
        assert_eq!(successors, [&[1][..], &[2, 1], &[]]);
        assert_eq!(counting().calls().map(|call| call.near_branch_target()).collect::<Vec<_>>(), [0x2000]);
        assert!(counting().returns());
    }

    #[test]
    fn nothing_is_behind_a_call_that_does_not_return() {
        let graph = Graph::of(&counting(), |call| call.near_branch_target() != 0x2000);
        assert_eq!(graph.blocks[2].instructions.len(), 1);
        let panics = Function { start: 0x1000, code: COUNTING[..14].to_vec() };
        assert!(!panics.returns());
    }

    #[test]
    fn bytes_that_are_no_code_end_the_descent() {
        for code in [&b"\x06\x06"[..], b"\x0f", b""] {
            let graph = Graph::of(&Function { start: 0, code: code.to_vec() }, |_| true);
            assert!(graph.blocks.iter().all(|block| block.successors.is_empty()));
        }
    }
}
