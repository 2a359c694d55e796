//! OpenBLAS, from the shared library that the system has. All its `unsafe` is here.
//!
//! The library is loaded when it is first asked for, so that a program that was built with this
//! feature starts without it, too. Its threads belong to the process: two products on different
//! numbers of threads share them, and take turns.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use libloading::Library;

use crate::{
    Error, Peer, Threads,
    dense::Matrix,
    library::{Backend, Multiply, Request, RowSource, Stored},
};

/// Where the library may be, in the order in which it is looked for. Fedora's has threads under the
/// name with a `p`, and none under the plain one.
const NAMES: [&str; 6] = [
    "libopenblasp.so.0",
    "libopenblas.so.0",
    "libopenblas.so",
    "libopenblas.dylib",
    "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
    "/usr/local/opt/openblas/lib/libopenblas.dylib",
];

/// Idle threads poll for 2²⁸ ticks of the time stamp counter (`THREAD_TIMEOUT`) before they sleep:
/// 0.27 s at 1 GHz, the slowest there is.
const UNTIL_ASLEEP: Duration = Duration::from_millis(270);

/// From `cblas.h`.
const ROW_MAJOR: c_int = 101;
const NO_TRANSPOSE: c_int = 111;
const TRANSPOSE: c_int = 112;

type Sgemv = unsafe extern "C" fn(
    order: c_int,
    transpose: c_int,
    m: c_int,
    n: c_int,
    alpha: f32,
    a: *const f32,
    lda: c_int,
    x: *const f32,
    incx: c_int,
    beta: f32,
    y: *mut f32,
    incy: c_int,
);
type Sgemm = unsafe extern "C" fn(
    order: c_int,
    transpose_a: c_int,
    transpose_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    a: *const f32,
    lda: c_int,
    b: *const f32,
    ldb: c_int,
    beta: f32,
    c: *mut f32,
    ldc: c_int,
);
type SetAffinity = unsafe extern "C" fn(worker: c_int, bytes: usize, mask: *const u64) -> c_int;
type Text = unsafe extern "C" fn() -> *const c_char;

/// The functions of the loaded library.
struct Blas {
    sgemv: Sgemv,
    sgemm: Sgemm,
    set_threads: unsafe extern "C" fn(c_int),
    threads: unsafe extern "C" fn() -> c_int,
    /// Not in every version, and on Linux only.
    set_affinity: Option<SetAffinity>,
    config: Text,
    core: Text,
    /// The file it was found in. Never unloaded: its threads run on.
    name: &'static str,
}

/// Held while the library's threads are counted, bound or at work.
static TURN: Mutex<()> = Mutex::new(());

impl Blas {
    /// The library, loaded once.
    fn get() -> Result<&'static Self, String> {
        static LOADED: OnceLock<Result<Blas, String>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, String> {
        // SAFETY: the initializer of OpenBLAS reads the environment and starts threads; it has no
        // precondition.
        let open = |name: &&'static str| unsafe { Library::new(*name) }.ok().map(|library| (*name, library));
        let (name, library) = NAMES.iter().find_map(open).ok_or_else(|| {
            format!("there is no OpenBLAS ({}); install it, for example the package libopenblas0", NAMES.join(", "))
        })?;
        // Threads that poll must find their code, whatever becomes of the caller.
        let library: &'static Library = Box::leak(Box::new(library));
        let missing = |error: libloading::Error| format!("{name} is not OpenBLAS: {error}; install another version");
        // SAFETY: the types are those of `cblas.h` of OpenBLAS with 32-bit integers; the names of
        // its 64-bit build have a suffix, and are not found.
        unsafe {
            Ok(Self {
                sgemv: *library.get::<Sgemv>(b"cblas_sgemv\0").map_err(missing)?,
                sgemm: *library.get::<Sgemm>(b"cblas_sgemm\0").map_err(missing)?,
                set_threads: *library.get(b"openblas_set_num_threads\0").map_err(missing)?,
                threads: *library.get(b"openblas_get_num_threads\0").map_err(missing)?,
                set_affinity: library.get::<SetAffinity>(b"openblas_setaffinity\0").ok().map(|symbol| *symbol),
                config: *library.get::<Text>(b"openblas_get_config\0").map_err(missing)?,
                core: *library.get::<Text>(b"openblas_get_corename\0").map_err(missing)?,
                name,
            })
        }
    }

    /// How it was built, in its own words.
    fn config(&self) -> String {
        // SAFETY: a text that stays.
        unsafe { CStr::from_ptr((self.config)()) }.to_string_lossy().trim().to_owned()
    }

    /// The most threads that it was built for.
    fn most_threads(&self) -> Option<usize> {
        self.config().split_whitespace().find_map(|word| word.strip_prefix("MAX_THREADS=")?.parse().ok())
    }

    /// Makes the library use `count` threads, if it does not yet.
    fn use_threads(&self, count: c_int) {
        // SAFETY: no product runs, since `TURN` is held by every caller.
        unsafe {
            if (self.threads)() != count {
                (self.set_threads)(count);
            }
        }
    }

    /// Binds the workers to `cpus` without its first, the caller's.
    fn bind(&self, cpus: &[usize]) {
        let Some(set_affinity) = self.set_affinity else { return };
        for (worker, &cpu) in cpus.iter().skip(1).enumerate() {
            let mut mask = [0_u64; 16];
            if let Some(word) = mask.get_mut(cpu / 64) {
                *word |= 1 << (cpu % 64);
                // SAFETY: the mask is readable for the given number of bytes; a worker that does
                // not exist, or a system that refuses, is an error code, and leaves a thread free.
                unsafe {
                    set_affinity(worker as c_int, size_of_val(&mask), mask.as_ptr());
                }
            }
        }
    }
}

/// This library.
pub struct Openblas;

impl Backend for Openblas {
    fn available(&self, _: Peer) -> Result<(), String> {
        Blas::get().map(|_| ())
    }

    fn store(&self, request: &Request, source: RowSource<'_>) -> Result<Arc<dyn Stored>, Error> {
        Ok(Arc::new(Matrix::new(request, source, product)?))
    }

    fn facts(&self) -> Vec<(String, String)> {
        let blas = match Blas::get() {
            Ok(blas) => blas,
            Err(reason) => return vec![("openblas".to_owned(), reason)],
        };
        // SAFETY: a text that stays.
        let core = unsafe { CStr::from_ptr((blas.core)()) }.to_string_lossy();
        vec![
            ("openblas library".to_owned(), blas.name.to_owned()),
            ("openblas build".to_owned(), blas.config()),
            ("openblas kernel".to_owned(), format!("{core}, chosen at run time")),
            ("openblas threads".to_owned(), "its own; it decides from the shape how many of them to use".to_owned()),
        ]
    }
}

/// The product of `matrix` with `columns` vectors.
fn product(matrix: Arc<Matrix>, columns: usize, threads: &Threads) -> Result<Box<dyn Multiply>, Error> {
    let peer = Peer::OpenblasF32;
    let blas = Blas::get().map_err(|reason| Error::Unavailable { peer, reason })?;
    let most = blas.most_threads().unwrap_or(c_int::MAX as usize);
    if threads.count() > most {
        let reason = format!("{} were asked for, and this OpenBLAS has at most {most}", threads.count());
        return Err(Error::Threads { peer, reason });
    }
    let count = threads.count() as c_int;
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    blas.use_threads(count);
    blas.bind(threads.cpus());
    drop(turn);
    Ok(Box::new(Product { blas, matrix, columns, threads: count }))
}

struct Product {
    blas: &'static Blas,
    matrix: Arc<Matrix>,
    columns: usize,
    threads: c_int,
}

impl Multiply for Product {
    fn multiply(&mut self, copy: usize, x: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let Self { blas, columns, threads, .. } = *self;
        let (weights, rows, cols) = (self.matrix.copy(copy), self.matrix.rows(), self.matrix.cols());
        assert!(weights.len() == rows * cols && x.len() == columns * cols && out.len() == columns * rows);
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        blas.use_threads(threads);
        // `Weights::new` and `Product::new` hold these to 32 bits.
        let (columns, rows, cols) = (columns as c_int, rows as c_int, cols as c_int);
        let (weights, x, out) = (weights.as_ptr(), x.as_ptr(), out.as_mut_ptr());
        if columns == 1 {
            // SAFETY: a row-major rows × cols matrix with rows `cols` apart, a vector of `cols` and
            // a result of `rows` elements, all as long as the assertion says.
            unsafe { (blas.sgemv)(ROW_MAJOR, NO_TRANSPOSE, rows, cols, 1.0, weights, cols, x, 1, 0.0, out, 1) }
        } else {
            // SAFETY: as above; x is columns × cols, the weights are read as their transpose, and
            // the result is columns × rows.
            unsafe {
                (blas.sgemm)(
                    ROW_MAJOR,
                    NO_TRANSPOSE,
                    TRANSPOSE,
                    columns,
                    rows,
                    cols,
                    1.0,
                    x,
                    cols,
                    weights,
                    cols,
                    0.0,
                    out,
                    rows,
                );
            }
        }
        Ok(())
    }

    fn rest(&mut self) {
        if self.threads > 1 {
            thread::sleep(UNTIL_ASLEEP);
        }
    }
}
