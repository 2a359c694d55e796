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
