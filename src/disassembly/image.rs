//! The machine code of this process, read from its executable.
//!
//! Linux maps the text of an executable from its file, unchanged, so the file tells what runs, and
//! no memory has to be read through pointers. The kernel's map of the process says where in the file
//! an address lies; the table that unwinders search (`.eh_frame_hdr`, never stripped) says where
//! each function begins.
//!
//! Addresses are those of the file, as `objdump` prints them: the same in every process.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use super::Unavailable;

const MAPS: &str = "/proc/self/maps";
const EXECUTABLE: &str = "/proc/self/exe";

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

/// The executable, and the segment of it that holds the code.
pub struct Image {
    file: File,
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
    /// The executable, and where in it the code lies that this process runs at `address`.
    pub fn locate(address: usize) -> Result<(Self, u64), Unavailable> {
        let maps = fs::read_to_string(MAPS).map_err(|e| Unavailable(format!("cannot read {MAPS}: {e}")))?;
        let in_file = file_offset(&maps, address as u64)?;
        let file = File::open(EXECUTABLE).map_err(unreadable)?;
        let segments = segments(&file)?;
        let holds = |s: &&Segment| s.kind == PT_LOAD && s.flags & PF_X != 0 && s.offset <= in_file && in_file < s.end();
        let text = *segments.iter().find(holds).ok_or_else(|| malformed("no segment holds the kernel's code"))?;
        let table = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME);
        let starts = function_starts(&file, table.ok_or_else(|| malformed("it has no table of functions"))?)?;
        Ok((Self { file, text, starts }, in_file - text.offset + text.address))
    }

    /// The function that holds `address`, from there on.
    pub fn function(&self, address: u64) -> Result<Function, Unavailable> {
        let text_end = self.text.address + self.text.size;
        if !(self.text.address..text_end).contains(&address) {
            return Err(malformed("a call leaves the code segment"));
        }
        let next = self.starts.partition_point(|start| *start <= address);
        let end = self.starts.get(next).map_or(text_end, |next| text_end.min(*next));
        let code = read(&self.file, address - self.text.address + self.text.offset, end - address)?;
        Ok(Function { start: address, code })
    }
}

/// Where in the executable the code at `address` comes from, according to the map of the process.
fn file_offset(maps: &str, address: u64) -> Result<u64, Unavailable> {
    let executable = fs::read_link(EXECUTABLE).map_err(unreadable)?;
    for line in maps.lines() {
        // `start-end permissions offset device inode path`, the path with its spaces.
        let mut fields = line.splitn(6, ' ');
        let mut field = || fields.next().unwrap_or_default();
        let (range, permissions, offset) = (field(), field(), field());
        let (_, _, path) = (field(), field(), field().trim_start());
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let bounds = range.split_once('-').and_then(|(start, end)| Some((hex(start)?, hex(end)?)));
        let (Some((start, end)), Some(offset)) = (bounds, hex(offset)) else { continue };
        if (start..end).contains(&address) {
            return if permissions.contains('x') && Path::new(path) == executable {
                Ok(address - start + offset)
            } else {
                Err(Unavailable(format!("{address:#x} is not code of the executable but of `{path}`")))
            };
        }
    }
    Err(Unavailable(format!("{MAPS} does not show {address:#x}")))
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
    /// Offset in the file behind the last byte.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

/// The program headers of a 64-bit little-endian ELF file.
fn segments(file: &File) -> Result<Vec<Segment>, Unavailable> {
    let header = read(file, 0, HEADER)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Err(malformed("it is not a 64-bit little-endian ELF file"));
    }
    let (table, count) = (number(&header[32..40]), number(&header[56..58]));
    let headers = read(file, table, count * PROGRAM_HEADER as u64)?;
    let segment = |h: &[u8]| Segment {
        kind: number(&h[..4]),
        flags: number(&h[4..8]),
        offset: number(&h[8..16]),
        address: number(&h[16..24]),
        size: number(&h[32..40]),
    };
    Ok(headers.chunks_exact(PROGRAM_HEADER).map(segment).collect())
}

/// Where functions begin, from the search table of `.eh_frame_hdr`.
fn function_starts(file: &File, table: &Segment) -> Result<Vec<u64>, Unavailable> {
    let bytes = read(file, table.offset, table.size)?;
    let (Some(encoding), Some(count), Some(entries)) = (bytes.get(..4), bytes.get(8..12), bytes.get(12..)) else {
        return Err(malformed("its table of functions is cut off"));
    };
    if encoding != SEARCH_TABLE {
        return Err(malformed("its table of functions has an encoding that is not known"));
    }
    let start = |entry: &[u8]| table.address.wrapping_add_signed(i64::from(number(&entry[..4]) as i32));
    Ok(entries.chunks_exact(8).take(number(count) as usize).map(start).collect())
}

fn read(mut file: &File, offset: u64, length: u64) -> Result<Vec<u8>, Unavailable> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(length).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(malformed("it is shorter than it says")) }
}

/// The little-endian number in up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn unreadable(error: std::io::Error) -> Unavailable {
    Unavailable(format!("cannot read {EXECUTABLE}: {error}"))
}

fn malformed(what: &str) -> Unavailable {
    Unavailable(format!("cannot make sense of {EXECUTABLE}: {what}"))
}
