//! The machine code that this process runs, read through `/proc`.
//!
//! The kernel's map of the process says which file an address was mapped from and where that file
//! begins in memory; its headers say which part is code; the table that unwinders search
//! (`.eh_frame_hdr`, never stripped) says where each function begins. `/proc/self/mem` gives the
//! bytes, so that no pointer is dereferenced.
//!
//! Addresses are those of the file, as `objdump` prints them: the same in every process.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
};

use iced_x86::{FlowControl, Instruction};

use super::Unavailable;

const MAPS: &str = "/proc/self/maps";
const MEMORY: &str = "/proc/self/mem";

/// Bytes of an ELF file's header and of each program header.
const HEADER: u64 = 64;
const PROGRAM_HEADER: usize = 56;
/// Types and flags of program headers.
const PT_LOAD: u64 = 1;
const PT_GNU_EH_FRAME: u64 = 0x6474_e550;
const PF_X: u64 = 1;
/// The encoding of `.eh_frame_hdr` that linkers write: version 1, then 4-byte fields, and a sorted
/// table whose entries are relative to the table's own address.
const SEARCH_TABLE: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// An executable in memory.
pub struct Image {
    memory: File,
    /// Added to an address of the file, gives the address in this process.
    bias: u64,
    text: Segment,
    /// Where each function begins, ascending.
    starts: Vec<u64>,
}

/// A function, or what a table without finer entries calls one.
pub struct Function {
    /// Address of the first byte.
    pub start: u64,
    /// Up to the beginning of the next function.
    pub code: Vec<u8>,
}

impl Image {
    /// The executable that holds the code at `address` of this process, and that address in it.
    pub fn locate(address: usize) -> Result<(Self, u64), Unavailable> {
        let maps = fs::read_to_string(MAPS).map_err(|e| Unavailable(format!("cannot read {MAPS}: {e}")))?;
        let base = base(&maps, address as u64)?;
        let memory = File::open(MEMORY).map_err(unreadable)?;
        let segments = segments(&memory, base)?;
        let first = segments.iter().find(|s| s.kind == PT_LOAD && s.offset == 0);
        let bias = base.wrapping_sub(first.ok_or_else(|| malformed("no segment holds its header"))?.address);
        let address = (address as u64).wrapping_sub(bias);
        let code = segments.iter().find(|s| s.kind == PT_LOAD && s.flags & PF_X != 0 && s.holds(address));
        let text = *code.ok_or_else(|| malformed("no segment holds the kernel's code"))?;
        let table = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME);
        let table = table.ok_or_else(|| malformed("it has no table of functions"))?;
        let starts = function_starts(&read(&memory, table.address.wrapping_add(bias), table.size)?, table.address)?;
        Ok((Self { memory, bias, text, starts }, address))
    }

    /// The function that holds `address`, from there on, if it is code of this executable.
    pub fn function(&self, address: u64) -> Result<Function, Unavailable> {
        if !self.text.holds(address) {
            return Err(malformed(&format!("{address:#x} is not code")));
        }
        let next = self.starts.partition_point(|start| *start <= address);
        let text_end = self.text.address.saturating_add(self.text.size);
        let end = self.starts.get(next).map_or(text_end, |next| text_end.min(*next));
        let code = read(&self.memory, address.wrapping_add(self.bias), end - address)?;
        Ok(Function { start: address, code })
    }

    /// Where entry `number` of the jump table at `table` leads: each is a distance from the table itself.
    pub fn entry(&self, table: u64, number: u64) -> Option<u64> {
        let at = table.wrapping_add(4 * number).wrapping_add(self.bias);
        let distance = read(&self.memory, at, 4).ok()?;
        Some(table.wrapping_add_signed(i64::from(self::number(&distance) as i32)))
    }

    /// Where a jump or call leads, if that is known: to a fixed address, or to one that the loader
    /// has written into a table.
    pub fn target(&self, instruction: &Instruction) -> Option<u64> {
        match instruction.flow_control() {
            FlowControl::IndirectCall | FlowControl::IndirectBranch if instruction.is_ip_rel_memory_operand() => {
                let slot = instruction.ip_rel_memory_address().wrapping_add(self.bias);
                read(&self.memory, slot, 8).ok().map(|pointer| number(&pointer).wrapping_sub(self.bias))
            }
            FlowControl::IndirectCall | FlowControl::IndirectBranch => None,
            _ => Some(instruction.near_branch_target()),
        }
    }
}

/// Where the file begins in memory from which the code at `address` was mapped.
fn base(maps: &str, address: u64) -> Result<u64, Unavailable> {
    let mappings: Vec<Mapping> = maps.lines().filter_map(Mapping::parse).collect();
    let holds = |mapping: &&Mapping| mapping.start <= address && address < mapping.end;
    let Some(code) = mappings.iter().find(holds) else {
        return Err(Unavailable(format!("{MAPS} does not show {address:#x}")));
    };
    if !code.executable || code.path.is_empty() {
        return Err(Unavailable(format!("{address:#x} is not the code of a file")));
    }
    let header = mappings.iter().find(|mapping| mapping.path == code.path && mapping.offset == 0);
    Ok(header.ok_or_else(|| Unavailable(format!("the header of {} is not mapped", code.path)))?.start)
}

/// A line of the map: `start-end permissions offset device inode path`, the path with its spaces.
struct Mapping<'a> {
    start: u64,
    end: u64,
    executable: bool,
    offset: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let [range, permissions, offset, _, _, path] = fields[..] else { return None };
        let (start, end) = range.split_once('-')?;
        let (start, end, offset) = (hex(start)?, hex(end)?, hex(offset)?);
        Some(Self { start, end, executable: permissions.contains('x'), offset, path: path.trim_start() })
    }
}

/// A program header.
#[derive(Clone, Copy)]
struct Segment {
    kind: u64,
    flags: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < self.size)
    }
}

/// The program headers of the 64-bit little-endian ELF file that begins at `base`.
fn segments(memory: &File, base: u64) -> Result<Vec<Segment>, Unavailable> {
    let header = read(memory, base, HEADER)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Err(malformed("it is not a 64-bit little-endian ELF file"));
    }
    let (table, count) = (number(&header[32..40]), number(&header[56..58]));
    let headers = read(memory, base.wrapping_add(table), count * PROGRAM_HEADER as u64)?;
    let segment = |h: &[u8]| Segment {
        kind: number(&h[..4]),
        flags: number(&h[4..8]),
        offset: number(&h[8..16]),
        address: number(&h[16..24]),
        size: number(&h[32..40]),
    };
    Ok(headers.chunks_exact(PROGRAM_HEADER).map(segment).collect())
}

/// Where functions begin, from the search table of `.eh_frame_hdr`, which lies at `address`.
fn function_starts(table: &[u8], address: u64) -> Result<Vec<u64>, Unavailable> {
    let (Some(encoding), Some(count), Some(entries)) = (table.get(..4), table.get(8..12), table.get(12..)) else {
        return Err(malformed("its table of functions is cut off"));
    };
    if encoding != SEARCH_TABLE {
        return Err(malformed("its table of functions has an encoding that is not known"));
    }
    let start = |entry: &[u8]| address.wrapping_add_signed(i64::from(number(&entry[..4]) as i32));
    Ok(entries.chunks_exact(8).take(number(count) as usize).map(start).collect())
}

fn read(mut from: &File, address: u64, length: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = Vec::new();
    from.seek(SeekFrom::Start(address)).and_then(|_| from.take(length).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(malformed("it is shorter than it says")) }
}

/// The little-endian number in up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn unreadable(error: std::io::Error) -> Unavailable {
    Unavailable(format!("cannot read {MEMORY}: {error}"))
}

fn malformed(what: &str) -> Unavailable {
    Unavailable(format!("cannot make sense of the executable: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MAPPED: &str = "\
5000-7000 r--p 00000000 fd:01 42                         /opt/a b/bench
7000-9000 r-xp 00002000 fd:01 42                         /opt/a b/bench
9000-a000 r-xp 00001000 fd:01 43                         /lib/libm.so
b000-c000 rwxp 00000000 00:00 0 
";

    #[test]
    fn code_belongs_to_the_file_that_it_was_mapped_from() {
        assert_eq!(base(MAPPED, 0x7010), Ok(0x5000));
        for (address, reason) in
            [(0x5010, "not the code"), (0x9010, "header of /lib"), (0xb010, "not the code"), (1, "show")]
        {
            let error = base(MAPPED, address).unwrap_err().to_string();
            assert!(error.contains(reason), "{address:#x}: {error}");
        }
    }

    #[test]
    fn a_malformed_file_is_a_reason_and_not_a_panic() {
        for bytes in
            [&b""[..], b"#!/bin/sh", &[0x7f; 64], b"\x7fELF\x02\x01", &[&b"\x7fELF\x02\x01"[..], &[1; 90]].concat()]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(segments(&file, 0).is_err());
        }
    }

    #[test]
    fn functions_begin_where_the_table_says() {
        let table = [1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 2, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0];
        assert_eq!(function_starts(&table, 0x100), Ok(vec![0xf0]), "an entry that is cut off does not count");
        assert!(function_starts(&table[..10], 0x100).is_err());
        assert!(function_starts(&[0; 12], 0x100).is_err());
    }
}
