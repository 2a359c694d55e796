//! Natural loops of a function: blocks that a jump back to a dominating block encloses.

use std::collections::BTreeMap;

use super::flow::Graph;

/// A natural loop, with every jump back to its header.
pub struct Loop {
    /// The only block through which the loop is entered.
    pub header: usize,
    /// Whether each block of the graph is part of the loop.
    pub members: Vec<bool>,
}

/// The loops of `graph` that hold no other loop.
pub fn innermost(graph: &Graph) -> Vec<Loop> {
    let count = graph.blocks.len();
    let mut loops: BTreeMap<usize, Loop> = BTreeMap::new();
    for header in 0..count {
        // The header dominates what cannot be reached without it.
        let without = reach(graph.entry, header, count, |block| graph.blocks[block].successors.as_slice());
        for tail in (0..count).filter(|tail| graph.blocks[*tail].successors.contains(&header) && !without[*tail]) {
            let body = reach_backwards(graph, tail, header);
            let enclosing = loops.entry(header).or_insert_with(|| Loop { header, members: vec![false; count] });
            for (member, inside) in enclosing.members.iter_mut().zip(body) {
                *member |= inside;
            }
        }
    }
    let headers: Vec<usize> = loops.keys().copied().collect();
    let innermost = |found: &Loop| headers.iter().all(|other| *other == found.header || !found.members[*other]);
    loops.into_values().filter(innermost).collect()
}

/// Blocks from which `tail` is reached without passing `header`, and the header.
fn reach_backwards(graph: &Graph, tail: usize, header: usize) -> Vec<bool> {
    let mut predecessors = vec![Vec::new(); graph.blocks.len()];
    for (block, from) in graph.blocks.iter().enumerate() {
        for &to in &from.successors {
            predecessors[to].push(block);
        }
    }
    let mut body = reach(tail, header, predecessors.len(), |block| predecessors[block].as_slice());
    body[header] = true;
    body
}

/// Which of `count` nodes can be reached from `start` without entering `barrier`.
fn reach<'a>(start: usize, barrier: usize, count: usize, next: impl Fn(usize) -> &'a [usize]) -> Vec<bool> {
    let mut reached = vec![false; count];
    let mut pending = vec![start];
    while let Some(node) = pending.pop() {
        if node != barrier && !std::mem::replace(&mut reached[node], true) {
            pending.extend(next(node));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use iced_x86::Instruction;

    use super::{super::flow::Block, *};

    fn found(successors: &[&[usize]]) -> Vec<(usize, Vec<usize>)> {
        let block = |next: &&[usize]| Block { instructions: vec![Instruction::default()], successors: next.to_vec() };
        let graph = Graph { blocks: successors.iter().map(block).collect(), entry: 0 };
        let members = |l: &Loop| (0..successors.len()).filter(|block| l.members[*block]).collect();
        innermost(&graph).iter().map(|l| (l.header, members(l))).collect()
    }

    #[test]
    fn a_loop_that_holds_another_is_not_innermost() {
        assert_eq!(found(&[&[1], &[2], &[2, 3], &[1, 4], &[]]), [(2, vec![2])]);
    }

    #[test]
    fn two_jumps_back_to_one_header_are_one_loop() {
        assert_eq!(found(&[&[1], &[2, 3], &[1], &[1, 4], &[]]), [(1, vec![1, 2, 3])]);
    }

    #[test]
    fn a_jump_back_into_the_middle_of_a_path_is_no_loop() {
        assert_eq!(found(&[&[1, 2], &[2], &[1]]), []);
        assert_eq!(found(&[&[]]), []);
    }
}
