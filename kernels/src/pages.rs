//! Which pages of memory hold weights, and bytes in such pages.

#[cfg(target_os = "linux")]
use std::io;
use std::ops::{Deref, DerefMut, Range};

#[cfg(target_os = "linux")]
use memmap2::{Advice, MmapMut};

use crate::level::Level;

/// Bytes of a huge page. A mapping of one's own begins at a multiple of it, whatever its pages.
pub const HUGE_PAGE: usize = 2 << 20;

/// Which pages the codes of a matrix lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pages {
    /// What the system gives to an ordinary allocation.
    System,
    /// 4 KiB, and no others.
    Base,
    /// 2 MiB where the system has them: it is asked, and may give smaller ones.
    Huge,
}

impl Level for Pages {
    const AXIS: &'static str = "pages";
    const ALL: &'static [Self] = &[Self::System, Self::Base, Self::Huge];

    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Base => "base",
            Self::Huge => "huge",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::System => "weights lie in the pages that the system gives",
            Self::Base => "weights lie in pages of 4 KiB, in mappings of their own",
            Self::Huge => "weights lie in transparent pages of 2 MiB, in mappings of their own",
        }
    }
}

/// Where bytes lie.
#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    #[cfg(target_os = "linux")]
    Mapped(MmapMut),
}

/// Bytes that begin as zeros, in pages of one kind.
#[derive(Debug)]
pub struct PagedBytes {
    pages: Pages,
    memory: Memory,
    /// Where they begin in the memory.
    start: usize,
    length: usize,
}

impl PagedBytes {
    /// `length` zeros at an address that is a multiple of `alignment`, a power of two of at most
    /// [`HUGE_PAGE`]. `pages` are a wish: where the system has no such pages, the bytes lie in others.
    pub fn zeroed(length: usize, alignment: usize, pages: Pages) -> Self {
        #[cfg(target_os = "linux")]
        if pages != Pages::System
            && let Ok(bytes) = Self::mapped(length, pages)
        {
            return bytes;
        }
        let heap = vec![0; alignment + length];
        let start = heap.as_ptr().align_offset(alignment).min(alignment);
        Self { pages, memory: Memory::Heap(heap), start, length }
    }

    /// The bytes in whole huge pages' worth of a mapping of their own.
    #[cfg(target_os = "linux")]
    fn mapped(length: usize, pages: Pages) -> io::Result<Self> {
        let whole = length.next_multiple_of(HUGE_PAGE);
        let map = MmapMut::map_anon(whole + HUGE_PAGE)?;
        let start = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        let advice = if pages == Pages::Huge { Advice::HugePage } else { Advice::NoHugePage };
        // A kernel without huge pages refuses the advice, and what it gives are pages all the same.
        let _ = map.advise_range(advice, start, whole);
        Ok(Self { pages, memory: Memory::Mapped(map), start, length })
    }

    /// The pages that were asked for.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// The addresses of the bytes.
    pub fn addresses(&self) -> Range<usize> {
        let bytes = self.as_ptr_range();
        bytes.start as usize..bytes.end as usize
    }
}

impl Deref for PagedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.memory {
            Memory::Heap(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Memory::Mapped(bytes) => bytes,
        };
        &all[self.start..][..self.length]
    }
}

impl DerefMut for PagedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let all: &mut [u8] = match &mut self.memory {
            Memory::Heap(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Memory::Mapped(bytes) => bytes,
        };
        &mut all[self.start..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_kind_are_zeros_that_can_be_written() {
        for &pages in Pages::ALL {
            for length in [0, 1, 4096, HUGE_PAGE + 1] {
                let mut bytes = PagedBytes::zeroed(length, 64, pages);
                assert_eq!((bytes.len(), bytes.pages()), (length, pages));
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(7);
                assert!(bytes.iter().all(|byte| *byte == 7));
                let alignment = if cfg!(target_os = "linux") && pages != Pages::System { HUGE_PAGE } else { 64 };
                assert_eq!(bytes.addresses().start % alignment, 0, "{pages:?}");
                assert_eq!(bytes.addresses().len(), length);
            }
        }
    }
}
