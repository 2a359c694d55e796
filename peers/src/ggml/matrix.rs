//! Weights as ggml stores them.

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::Arc,
};

use llama_cpp_sys_2 as ffi;

use super::{Node, ggml_type, log, product::Product, row_bytes, text};
use crate::{
    Error, MAX_THREADS, Peer, Threads,
    library::{Multiply, Request, RowSource, Stored},
    peer::{Engine, Format, Rows},
    weights::DISTINCT_ROWS,
};

/// A quantized matrix in copies.
pub struct Matrix {
    pub peer: Peer,
    pub format: Format,
    pub rows: usize,
    pub cols: usize,
    copies: Vec<Copy>,
    /// The rows that differ, in the format's own order: a copy in another layout cannot be read back.
    distinct: Vec<u8>,
}

/// A matrix in a buffer of ggml.
pub struct Copy {
    pub buffer: ffi::ggml_backend_buffer_t,
    pub data: *mut c_void,
    /// What ggml remembers of the layout, for the tensor that describes the weights.
    pub extra: *mut c_void,
    /// The layout that ggml named when it was written, if another than that of a file.
    layout: Option<String>,
}

// SAFETY: a copy is written before anyone else sees it, and only read afterwards; what `extra` points
// to is a constant of ggml.
unsafe impl Send for Copy {}
// SAFETY: as above.
unsafe impl Sync for Copy {}

impl Matrix {
    /// The matrix that was asked for.
    ///
    /// # Errors
    /// A shape that ggml does not interleave, or too little memory.
    pub fn new(request: &Request, source: RowSource<'_>) -> Result<Self, Error> {
        let &Request { peer, rows, cols, copies } = request;
        let Engine::Ggml(format, layout) = peer.engine() else {
            let reason = "it is not of ggml; build it with its own library".to_owned();
            return Err(Error::Unavailable { peer, reason });
        };
        let node = Node::new(format, rows, cols, 1);
        let buffers = match layout {
            // SAFETY: a constant of ggml.
            Rows::Plain => unsafe { ffi::ggml_backend_cpu_buffer_type() },
            Rows::Repacked => node.repacked().ok_or_else(|| {
                let reason = "ggml interleaves a multiple of 8 rows (4 on some CPUs)".to_owned();
                Error::Shape { peer, rows, cols, reason }
            })?,
        };
        let distinct = quantize(format, request, source);
        let bytes = row_bytes(format, cols) * rows;
        let no_memory = || Error::Memory { peer, copies, bytes };
        let mut whole = Vec::new();
        whole.try_reserve_exact(bytes).map_err(|_| no_memory())?;
        whole.extend(distinct.iter().cycle().take(bytes));
        let copies = (0..copies).map(|_| Copy::new(&node, buffers, &whole).ok_or_else(no_memory));
        let copies = copies.collect::<Result<_, _>>()?;
        Ok(Self { peer, format, rows, cols, copies, distinct })
    }

    pub fn copy(&self, copy: usize) -> &Copy {
        &self.copies[copy]
    }

    /// How the copies lie in memory: the name of their buffers and, if ggml says it, of the layout.
    pub fn layout(&self) -> String {
        // SAFETY: the name is a constant of ggml.
        let buffers =
            unsafe { text(ffi::ggml_backend_buft_name(ffi::ggml_backend_buffer_get_type(self.copies[0].buffer))) };
        match &self.copies[0].layout {
            Some(layout) => format!("{buffers} {layout}"),
            None => buffers,
        }
    }
}

/// The rows of the source that differ, quantized.
fn quantize(format: Format, request: &Request, source: RowSource<'_>) -> Vec<u8> {
    let &Request { rows, cols, .. } = request;
    let bytes = row_bytes(format, cols);
    let mut distinct = vec![0; rows.min(DISTINCT_ROWS) * bytes];
    let mut weights = vec![0.0; cols];
    for (row, out) in distinct.chunks_exact_mut(bytes).enumerate() {
        source(row, &mut weights);
        // SAFETY: reads one row of `cols` floats, a multiple of the format's block, and writes
        // `row_bytes` bytes. None of these formats needs an importance matrix.
        unsafe {
            let (from, to) = (weights.as_ptr(), out.as_mut_ptr().cast());
            ffi::ggml_quantize_chunk(ggml_type(format), from, to, 0, 1, cols as i64, ptr::null());
        }
    }
    distinct
}

impl Copy {
    /// `bytes` in a new buffer, in its layout; none if there is no memory.
    fn new(node: &Node, buffers: ffi::ggml_backend_buffer_type_t, bytes: &[u8]) -> Option<Self> {
        // SAFETY: `node` has weights of this shape, without memory; the buffer is as large as its
        // type asks for them, and `bytes` as large as the tensor (ggml checks both). The tensor is
        // without memory again before this returns, so that it never refers to a freed buffer.
        unsafe {
            let tensor = node.weights;
            let size = ffi::ggml_backend_buft_get_alloc_size(buffers, tensor);
            let buffer = ffi::ggml_backend_buft_alloc_buffer(buffers, size);
            if buffer.is_null() {
                return None;
            }
            let data = ffi::ggml_backend_buffer_get_base(buffer);
            let status = ffi::ggml_backend_tensor_alloc(buffer, tensor, data);
            let mut copy = Self { buffer, data, extra: (*tensor).extra, layout: None };
            if status == ffi::GGML_STATUS_SUCCESS {
                log::layout();
                ffi::ggml_backend_tensor_set(tensor, bytes.as_ptr().cast(), 0, bytes.len());
                copy.layout = log::layout();
            }
            (*tensor).buffer = ptr::null_mut();
            (*tensor).data = ptr::null_mut();
            (*tensor).extra = ptr::null_mut();
            (status == ffi::GGML_STATUS_SUCCESS).then_some(copy)
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once; products hold the matrix.
        unsafe { ffi::ggml_backend_buffer_free(self.buffer) }
    }
}

impl Stored for Matrix {
    fn bytes(&self) -> usize {
        row_bytes(self.format, self.cols) * self.rows
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        let bytes = row_bytes(self.format, self.cols);
        let quantized = &self.distinct[row * bytes..][..bytes];
        assert_eq!(out.len(), self.cols);
        // SAFETY: reads a row of `cols` weights, writes as many floats: the slices are as long.
        unsafe {
            let traits = ffi::ggml_get_type_traits(ggml_type(self.format));
            let to_float = (*traits).to_float.expect("ggml reads every format that it quantizes to");
            to_float(quantized.as_ptr().cast(), out.as_mut_ptr(), self.cols as i64);
        }
    }

    fn product(self: Arc<Self>, columns: usize, threads: &Threads) -> Result<Box<dyn Multiply>, Error> {
        let peer = self.peer;
        let cpus = MAX_THREADS;
        if threads.cpus().iter().any(|&cpu| cpu >= cpus) {
            return Err(Error::Threads { peer, reason: format!("ggml binds to CPUs below {cpus}") });
        }
        Ok(Box::new(Product::new(self, columns, threads.count() as c_int, threads.cpus())))
    }
}
