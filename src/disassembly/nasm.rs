//! Instructions as text, in the syntax of NASM.

use std::{collections::BTreeMap, fmt::Write};

use iced_x86::{Formatter, Instruction, NasmFormatter, SymbolResolver, SymbolResult};

/// One line an instruction, with labels where a jump among them leads.
pub fn listing(instructions: &[Instruction]) -> String {
    let labels = Labels::of(instructions);
    let mut formatter = NasmFormatter::with_options(Some(Box::new(labels.clone())), None);
    let mut text = String::new();
    for instruction in instructions {
        if let Some(label) = labels.0.get(&instruction.ip()) {
            writeln!(text, "{label}:").expect("writing to a string cannot fail");
        }
        text += "        ";
        formatter.format(instruction, &mut text);
        text.push('\n');
    }
    text
}

/// Names of addresses.
#[derive(Clone)]
struct Labels(BTreeMap<u64, String>);

impl Labels {
    /// `.1`, `.2`, … in the order of addresses.
    fn of(instructions: &[Instruction]) -> Self {
        let targets: Vec<u64> = instructions.iter().map(Instruction::near_branch_target).collect();
        let labelled = instructions.iter().map(Instruction::ip).filter(|address| targets.contains(address));
        Self(labelled.enumerate().map(|(i, address)| (address, format!(".{}", i + 1))).collect())
    }
}

impl SymbolResolver for Labels {
    fn symbol(
        &mut self,
        _instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        self.0.get(&address).map(|label| SymbolResult::with_str(address, label))
    }
}
