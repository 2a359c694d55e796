//! The bytes of a file, mapped into memory: a tensor is read from disk when its values are asked for.
//!
//! The unsafe code of the model is here: the system is told to show a file as memory.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::model::error::Error;

/// A file and what it holds.
#[derive(Debug)]
pub struct FileBytes {
    file: PathBuf,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Constant(&'static [u8]),
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl FileBytes {
    /// The bytes of `file`, which must stay as it is for as long as they are used: one that is overwritten
    /// meanwhile changes them, and one that is cut short ends the program.
    ///
    /// # Errors
    ///
    /// When the file can not be opened or mapped.
    pub fn map(file: &Path) -> Result<Self, Error> {
        let failed = |cause| Error::Read { file: file.to_owned(), cause };
        let open = File::open(file).map_err(failed)?;
        // A system has no mapping of nothing.
        if open.metadata().map_err(failed)?.len() == 0 {
            return Ok(Self::owned(file.to_owned(), Vec::new()));
        }
        // SAFETY: the mapping is only read, and `open` is a file that was just opened for reading. Weights are read
        // as bytes, of which every value is valid; texts of a GGUF file are checked to be UTF-8 each time that they
        // are asked for, and copied by all who keep them. What the type system can not see is another program that
        // writes to the file meanwhile: the documentation of this function excludes it.
        let map = unsafe { Mmap::map(&open) }.map_err(failed)?;
        Ok(Self { file: file.to_owned(), memory: Memory::Mapped(map) })
    }

    /// The bytes of `file`, read now: of a small one.
    ///
    /// # Errors
    ///
    /// When the file can not be read.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let failed = |cause| Error::Read { file: file.to_owned(), cause };
        Ok(Self::owned(file.to_owned(), fs::read(file).map_err(failed)?))
    }

    /// Bytes in memory that stand for `file`.
    pub fn owned(file: PathBuf, bytes: Vec<u8>) -> Self {
        Self { file, memory: Memory::Owned(bytes) }
    }

    /// Bytes of the program that stand for `file`.
    pub fn constant(file: PathBuf, bytes: &'static [u8]) -> Self {
        Self { file, memory: Memory::Constant(bytes) }
    }

    /// Where they lie.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Constant(bytes) => bytes,
            Memory::Owned(bytes) => bytes,
            Memory::Mapped(map) => map,
        }
    }
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FileSlice {
    file: Arc<FileBytes>,
    range: Range<usize>,
}

impl FileSlice {
    /// The bytes `range` of `file`; nothing where they are not in it.
    pub fn new(file: &Arc<FileBytes>, range: Range<usize>) -> Option<Self> {
        file.get(range.clone())?;
        Some(Self { file: Arc::clone(file), range })
    }

    /// Where the file lies.
    pub fn file(&self) -> &Path {
        &self.file.file
    }

    /// A part of the part; nothing where it is not in it.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        self.get(range.clone())?;
        let range = self.range.start + range.start..self.range.start + range.end;
        Some(Self { file: Arc::clone(&self.file), range })
    }
}

impl Deref for FileSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_holds_what_the_file_holds() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("bytes");
        for bytes in [&b""[..], b"septet"] {
            std::fs::write(&file, bytes).expect("writes");
            let mapped = Arc::new(FileBytes::map(&file).expect("maps"));
            assert_eq!(**mapped, *bytes);
            assert_eq!(&*FileSlice::new(&mapped, 0..bytes.len()).expect("within"), bytes);
            assert!(FileSlice::new(&mapped, 0..bytes.len() + 1).is_none());
        }
        let Err(error) = FileBytes::map(&folder.path().join("none")) else { panic!("mapped nothing") };
        assert!(error.to_string().contains("none"), "{error}");
    }
}
