//! A product of ggml on a thread pool of its own.

use std::{
    ffi::{c_int, c_void},
    ptr::NonNull,
    sync::Arc,
};

use llama_cpp_sys_2 as ffi;

use super::{
    Node,
    matrix::{Copy, Matrix},
};
use crate::{Error, library::Multiply};

/// How long ggml's threads poll before they sleep, 0 to 100: its default, and llama.cpp's.
pub const POLL: u32 = 50;

/// A line of the memory that kernels quantize activations to; they align within it themselves, at
/// most to this.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A node, the memory that it computes in, and the threads that compute it.
pub struct Product {
    matrix: Arc<Matrix>,
    node: Node,
    plan: ffi::ggml_cplan,
    pool: Pool,
    /// Activations as ggml quantizes them, and whatever else its kernels keep.
    work: Vec<Line>,
}

// SAFETY: `plan` points to `work` and to `pool`, which belong to this value; the rest is `Send`. ggml's
// threads touch them only during `multiply`, and any thread may be the one that calls it.
unsafe impl Send for Product {}

impl Product {
    /// `matrix` times `columns` vectors. A thread of ggml may run on any CPU of the calling thread,
    /// or the second on `cpus[1]` and so on; the first is the caller.
    pub fn new(matrix: Arc<Matrix>, columns: usize, threads: c_int, cpus: &[usize]) -> Self {
        let pool = Pool::new(threads, cpus);
        let node = Node::new(matrix.format, matrix.rows, matrix.cols, columns);
        node.use_weights(matrix.copy(0));
        // SAFETY: the graph's operands have a shape, and the weights a buffer, which is what the
        // size of the work memory depends on. It is the same for each copy.
        let plan = unsafe { ffi::ggml_graph_plan(node.graph, threads, pool.threads.as_ptr()) };
        let work = vec![Line([0; 64]); plan.work_size.div_ceil(size_of::<Line>())];
        Self { matrix, node, plan, pool, work }
    }
}

impl Multiply for Product {
    fn multiply(&mut self, copy: usize, x: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let Self { matrix, node, plan, pool, work } = self;
        node.use_weights(matrix.copy(copy));
        plan.work_data = work.as_mut_ptr().cast();
        pool.wake();
        // SAFETY: ggml reads `nelements` floats of x and writes as many of out; the slices are as
        // long, which is asserted, and live until the graph is computed. The weights live in
        // `matrix`, and `work` is as long as the plan asks for.
        let status = unsafe {
            assert_eq!(x.len(), ffi::ggml_nelements(node.x) as usize);
            assert_eq!(out.len(), ffi::ggml_nelements(node.out) as usize);
            (*node.x).data = x.as_ptr().cast_mut().cast::<c_void>();
            (*node.out).data = out.as_mut_ptr().cast::<c_void>();
            ffi::ggml_graph_compute(node.graph, plan)
        };
        if status == ffi::GGML_STATUS_SUCCESS {
            return Ok(());
        }
        Err(Error::Failed { peer: matrix.peer, reason: format!("ggml_graph_compute gives status {status}") })
    }

    fn rest(&mut self) {
        self.pool.rest();
    }
}

impl Node {
    /// Makes the graph multiply `copy`.
    fn use_weights(&self, copy: &Copy) {
        // SAFETY: the tensor is this node's own and has the shape of the copy.
        unsafe {
            (*self.weights).buffer = copy.buffer;
            (*self.weights).data = copy.data;
            (*self.weights).extra = copy.extra;
        }
    }
}

/// Threads of ggml; the caller of a product is the first of them.
struct Pool {
    threads: NonNull<ffi::ggml_threadpool>,
    resting: bool,
}

// SAFETY: the pool is ggml's own; it is used by one thread at a time, whichever it is.
unsafe impl Send for Pool {}

impl Pool {
    fn new(threads: c_int, cpus: &[usize]) -> Self {
        // SAFETY: the parameters are initialized by ggml and changed to valid values; each CPU is
        // below the length of the mask (`Matrix::product`), or indexing panics.
        unsafe {
            let mut parameters = ffi::ggml_threadpool_params_default(threads);
            parameters.poll = POLL;
            // ggml binds its second thread to the first CPU of the mask, and so on. It would bind the
            // caller as well when it wakes a pool that rests, which `wake` does first.
            cpus.iter().skip(1).for_each(|&cpu| parameters.cpumask[cpu] = true);
            parameters.strict_cpu = true;
            parameters.paused = true;
            let threads = ffi::ggml_threadpool_new(&mut parameters);
            Self {
                threads: NonNull::new(threads).expect("ggml ends the process if it cannot start a thread"),
                resting: true,
            }
        }
    }

    fn wake(&mut self) {
        if self.resting {
            // SAFETY: a live pool.
            unsafe { ffi::ggml_threadpool_resume(self.threads.as_ptr()) }
            self.resting = false;
        }
    }

    fn rest(&mut self) {
        if !self.resting {
            // SAFETY: a live pool that computes nothing: `multiply` has returned.
            unsafe { ffi::ggml_threadpool_pause(self.threads.as_ptr()) }
            self.resting = true;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once; this joins its threads.
        unsafe { ffi::ggml_threadpool_free(self.threads.as_ptr()) }
    }
}
