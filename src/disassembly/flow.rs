//! Which instruction can follow which: the basic blocks of a function, by recursive descent.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

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
    /// `returns` is false, nothing is; `entry(table, n)` is where entry `n` of a jump table leads.
    pub fn of(
        function: &Function,
        returns: impl Fn(&Instruction) -> bool,
        entry: impl Fn(u64, u64) -> Option<u64>,
    ) -> Self {
        let next_of = |i: &Instruction| match (i.flow_control(), function.jump_table(i)) {
            // A table has no length: it ends where an entry leads out of the function.
            (FlowControl::IndirectBranch, Some(table)) => {
                (0..).map_while(|n| entry(table, n).filter(|target| function.holds(*target))).collect()
            }
            _ => next_addresses(i),
        };
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
                    let next = next_of(&instruction).into_iter().filter(|next| function.holds(*next));
                    pending.extend(next.filter(|next| leaders.insert(*next)));
                    break;
                }
            }
        }
        Self::cut(function.start, instructions.into_values(), &leaders, ends, next_of)
    }

    /// Cuts instructions, ascending, into blocks: one begins at each leader.
    fn cut(
        start: u64,
        instructions: impl Iterator<Item = Instruction>,
        leaders: &BTreeSet<u64>,
        ends: impl Fn(&Instruction) -> bool,
        next_of: impl Fn(&Instruction) -> Vec<u64>,
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
            let next = if ends(&last) { next_of(&last) } else { vec![last.next_ip()] };
            let mut next: Vec<usize> = next.into_iter().filter_map(at).collect();
            // Entries of a table may lead to one place from far apart.
            let mut seen = BTreeSet::new();
            next.retain(|block| seen.insert(*block));
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

    /// The table of 32-bit distances from itself that a jump to a computed address takes one of: compilers
    /// write `lea base,[table]; movsxd at,[base+4*n]; add at,base; jmp at`, the `lea` perhaps long before.
    fn jump_table(&self, jump: &Instruction) -> Option<u64> {
        if jump.flow_control() != FlowControl::IndirectBranch || !self.holds(jump.ip()) {
            return None;
        }
        let before: Vec<Instruction> = self.decode_from(self.start).take_while(|i| i.ip() < jump.ip()).collect();
        let sets =
            |mnemonic, register| move |i: &&Instruction| i.mnemonic() == mnemonic && i.op0_register() == register;
        let add = before.iter().rev().find(sets(Mnemonic::Add, jump.op0_register()))?;
        let load = before.iter().rev().find(sets(Mnemonic::Lea, add.op1_register()))?;
        load.is_ip_rel_memory_operand().then(|| load.ip_rel_memory_address())
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
        let graph = Graph::of(&counting(), |_| true, |_, _| None);
        assert_eq!(starts(&graph), [0x1000, 0x1002, 0x1009]);
        let successors: Vec<&[usize]> = graph.blocks.iter().map(|block| block.successors.as_slice()).collect();
        assert_eq!(successors, [&[1][..], &[2, 1], &[]]);
        assert_eq!(counting().calls().map(|call| call.near_branch_target()).collect::<Vec<_>>(), [0x2000]);
        assert!(counting().returns());
    }

    #[test]
    fn nothing_is_behind_a_call_that_does_not_return() {
        let graph = Graph::of(&counting(), |call| call.near_branch_target() != 0x2000, |_, _| None);
        assert_eq!(graph.blocks[2].instructions.len(), 1);
        let panics = Function { start: 0x1000, code: COUNTING[..14].to_vec() };
        assert!(!panics.returns());
    }

    /// `lea rcx,[0x1107]; movsxd rax,[rcx+rax*4]; add rax,rcx; jmp rax; ret; ret`
    #[test]
    fn a_jump_through_a_table_leads_where_its_entries_do() {
        let code = b"\x48\x8d\x0d\x00\x01\x00\x00\x48\x63\x04\x81\x48\x01\xc8\xff\xe0\xc3\xc3".to_vec();
        let entry = |table, n: u64| {
            assert_eq!(table, 0x1107);
            [0x1011, 0x1010, 0x1011, 0x9999, 0x1010].get(n as usize).copied()
        };
        let graph = Graph::of(&Function { start: 0x1000, code }, |_| true, entry);
        assert_eq!(starts(&graph), [0x1000, 0x1010, 0x1011]);
        assert_eq!(graph.blocks[0].successors, [2, 1]);
    }

    #[test]
    fn bytes_that_are_no_code_end_the_descent() {
        for code in [&b"\x06\x06"[..], b"\x0f", b""] {
            let graph = Graph::of(&Function { start: 0, code: code.to_vec() }, |_| true, |_, _| None);
            assert!(graph.blocks.iter().all(|block| block.successors.is_empty()));
        }
    }
}
