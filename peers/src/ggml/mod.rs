//! ggml, the library of llama.cpp. All its `unsafe` is in this module.
//!
//! A product is what llama.cpp runs for a linear layer: a graph of one `MUL_MAT` node, computed by
//! the CPU backend, which quantizes the activations and then picks a kernel by the format of the
//! weights, by the buffer they lie in and by the number of columns.
#![allow(unsafe_code)]

mod facts;
mod log;
mod matrix;
mod product;

use std::{
    ffi::{CStr, c_char},
    ptr::{self, NonNull},
    sync::Arc,
};

use llama_cpp_sys_2 as ffi;

use self::matrix::Matrix;
use crate::{
    Error, Peer,
    library::{Backend, Request, RowSource, Stored},
    peer::{Engine, Format, Rows},
};

/// This library.
pub struct Ggml;

impl Backend for Ggml {
    fn available(&self, peer: Peer) -> Result<(), String> {
        let foreign = facts::foreign_instruction_sets();
        if !foreign.is_empty() {
            let foreign = foreign.join(", ");
            return Err(format!(
                "ggml was compiled for {foreign}, which this CPU does not have; build it on this machine"
            ));
        }
        match peer.engine() {
            Engine::Ggml(format, Rows::Repacked) if Node::new(format, 64, 256, 1).repacked().is_none() => Err(
                "ggml has no interleaved kernel for this format and CPU; build it on a CPU with AVX2 or dot products"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    fn store(&self, request: &Request, source: RowSource<'_>) -> Result<Arc<dyn Stored>, Error> {
        Ok(Arc::new(Matrix::new(request, source)?))
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts()
    }
}

/// ggml's name of a format.
fn ggml_type(format: Format) -> ffi::ggml_type {
    match format {
        Format::Q4_0 => ffi::GGML_TYPE_Q4_0,
        Format::Q4K => ffi::GGML_TYPE_Q4_K,
        Format::Iq4Nl => ffi::GGML_TYPE_IQ4_NL,
        Format::Iq4Xs => ffi::GGML_TYPE_IQ4_XS,
        Format::Q3K => ffi::GGML_TYPE_Q3_K,
        Format::Iq3S => ffi::GGML_TYPE_IQ3_S,
        Format::Iq3Xxs => ffi::GGML_TYPE_IQ3_XXS,
        Format::Tq2_0 => ffi::GGML_TYPE_TQ2_0,
        Format::Q8_0 => ffi::GGML_TYPE_Q8_0,
        Format::F16 => ffi::GGML_TYPE_F16,
    }
}

/// Bytes of a row of `cols` weights.
fn row_bytes(format: Format, cols: usize) -> usize {
    // SAFETY: a pure function of a table; `Weights::new` holds `cols` to whole blocks.
    unsafe { ffi::ggml_row_size(ggml_type(format), cols as i64) }
}

/// A text of ggml.
///
/// # Safety
///
/// `text` is null, or ends with a zero and is never changed.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's obligation.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A graph that multiplies once: tensors that describe the operands, and the node that joins them.
/// Operands have no memory of their own.
struct Node {
    context: NonNull<ffi::ggml_context>,
    /// (rows, cols)
    weights: *mut ffi::ggml_tensor,
    /// (columns, cols), f32
    x: *mut ffi::ggml_tensor,
    /// (columns, rows), f32; the node
    out: *mut ffi::ggml_tensor,
    graph: *mut ffi::ggml_cgraph,
}

// SAFETY: the context and all it holds belong to this value alone, and ggml keeps no state of a
// context in a thread.
unsafe impl Send for Node {}

impl Node {
    /// Nodes and leaves that the graph has room for; it needs three.
    const GRAPH_SIZE: usize = 8;

    fn new(format: Format, rows: usize, cols: usize, columns: usize) -> Self {
        log::listen();
        let [rows, cols, columns] = [rows, cols, columns].map(|n| n as i64);
        // SAFETY: `no_alloc` makes tensors without data; the size holds three of them and the graph
        // (ggml aborts where it does not). All pointers are ggml's own, valid as long as the context.
        unsafe {
            let overhead = 4 * ffi::ggml_tensor_overhead() + ffi::ggml_graph_overhead_custom(Self::GRAPH_SIZE, false);
            let context = ffi::ggml_init(ffi::ggml_init_params {
                mem_size: overhead,
                mem_buffer: ptr::null_mut(),
                no_alloc: true,
            });
            let context = NonNull::new(context).expect("ggml has some kilobytes");
            let weights = ffi::ggml_new_tensor_2d(context.as_ptr(), ggml_type(format), cols, rows);
            let x = ffi::ggml_new_tensor_2d(context.as_ptr(), ffi::GGML_TYPE_F32, cols, columns);
            let out = ffi::ggml_mul_mat(context.as_ptr(), weights, x);
            let graph = ffi::ggml_new_graph_custom(context.as_ptr(), Self::GRAPH_SIZE, false);
            ffi::ggml_build_forward_expand(graph, out);
            Self { context, weights, x, out, graph }
        }
    }

    /// Whether ggml multiplies weights that lie in buffers of type `buffers`, as llama.cpp asks
    /// before it loads them.
    fn supports(&self, buffers: ffi::ggml_backend_buffer_type_t) -> bool {
        // SAFETY: a buffer of zero bytes is a mere mark of its type; it is gone from the tensor
        // before it is freed. The device is ggml's own.
        unsafe {
            let mark = ffi::ggml_backend_buft_alloc_buffer(buffers, 0);
            (*self.weights).buffer = mark;
            let device = ffi::ggml_backend_reg_dev_get(ffi::ggml_backend_cpu_reg(), 0);
            let supports = ffi::ggml_backend_dev_supports_op(device, self.out);
            (*self.weights).buffer = ptr::null_mut();
            ffi::ggml_backend_buffer_free(mark);
            supports
        }
    }

    /// The buffers in which ggml keeps these weights in another layout, if it has one for them: the
    /// first that it offers, as in llama.cpp.
    fn repacked(&self) -> Option<ffi::ggml_backend_buffer_type_t> {
        // SAFETY: ggml documents the type of the function of this name, and that its list ends with
        // null and stays.
        unsafe {
            let registry = ffi::ggml_backend_cpu_reg();
            let name = c"ggml_backend_dev_get_extra_bufts";
            let function = ffi::ggml_backend_reg_get_proc_address(registry, name.as_ptr());
            let function: ffi::ggml_backend_dev_get_extra_bufts_t = std::mem::transmute(function);
            let mut next = function?(ffi::ggml_backend_reg_dev_get(registry, 0));
            while !next.is_null() && !(*next).is_null() {
                if self.supports(*next) {
                    return Some(*next);
                }
                next = next.add(1);
            }
            None
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { ffi::ggml_free(self.context.as_ptr()) }
    }
}
