//! A small persistent thread pool for matrix-vector products.
//!
//! A decoder calls it hundreds of times per token, so a call allocates nothing, workers spin for a
//! short while before they sleep, and ownership is static: worker `w` of `n` owns one contiguous run
//! of 64-row tiles, the same in every call, so that its weights stay in its caches. Only a part that
//! its worker has not begun when the caller is done with its own, because the system runs something
//! else, is taken over by the caller. Which thread computes a row never changes the row's value.
//!
//! Unsafe code of this crate is here: lending a closure on the caller's stack to threads that
//! outlive it, and cutting one slice into disjoint mutable parts.
#![allow(unsafe_code)]

use std::any::Any;
use std::array;
use std::cell::UnsafeCell;
use std::hint;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use septet_kernels::ops::lanes::TILE;

use crate::affinity::{self, Bound};

/// Most threads of a pool: more than any one machine has, few enough to start.
pub const MAX_THREADS: usize = 1024;

/// Polls before a waiting thread parks: about 0.2 ms, longer than what lies between two products of
/// a token. Waking a parked thread takes as long as a product of a small layer.
const SPINS: u32 = 1 << 14;

/// What a call lends to the workers; valid while [`Shared::running`] is not zero.
#[derive(Clone)]
struct Call {
    body: *const (dyn Fn(usize) + Sync),
    caller: Thread,
}

/// State shared by the caller and the workers.
struct Shared {
    /// Number of calls so far; a change publishes `call`.
    epoch: AtomicUsize,
    /// Workers that have not finished the current call.
    running: AtomicUsize,
    /// For each worker but the caller, the last call whose part was begun, by it or by the caller.
    begun: Vec<AtomicUsize>,
    stop: AtomicBool,
    /// Whether workers that wait park at once.
    resting: AtomicBool,
    call: UnsafeCell<Option<Call>>,
    /// The first panic in the current call.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `call` is the only field that is not `Sync`. It is written only by the thread that holds
// `ThreadPool::turn` while `running` is zero. It is read only by a worker that has seen, with
// Acquire, the change of `epoch` that the writer made afterwards with Release, and that then won
// `begin` for this epoch: it counts in `running` until it is done.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `call` is to a `Sync` closure.
unsafe impl Send for Shared {}

/// Persistent workers; the calling thread is worker 0. Dropping the pool joins them.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a call: callers on several threads take turns.
    turn: Mutex<()>,
    /// Where the caller is bound as well.
    caller: Option<Bound>,
}

impl ThreadPool {
    /// A pool of `threads` workers (at least one), of which the caller is one.
    ///
    /// # Errors
    ///
    /// When there are more than [`MAX_THREADS`], or the operating system refuses one.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        if threads > MAX_THREADS {
            let message = format!("at most {MAX_THREADS} threads are supported");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
        }
        let mut pool = Self {
            shared: Arc::new(Shared {
                epoch: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                begun: (1..threads).map(|_| AtomicUsize::new(0)).collect(),
                stop: AtomicBool::new(false),
                resting: AtomicBool::new(false),
                call: UnsafeCell::new(None),
                panic: Mutex::new(None),
            }),
            workers: Vec::new(),
            turn: Mutex::new(()),
            caller: None,
        };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("worker-{index}")).spawn(move || shared.work(index))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// As [`ThreadPool::new`], with each worker on a CPU of its own: the calling thread, too, until
    /// the pool is dropped. Workers are left to the system where [`affinity::placement`] says why.
    ///
    /// # Errors
    ///
    /// As [`ThreadPool::new`].
    pub fn bound(threads: usize) -> std::io::Result<Self> {
        let mut pool = Self::new(threads)?;
        if let Ok(cpus) = affinity::placement(pool.threads()) {
            // A system that refuses leaves the thread free, as it was.
            pool.caller = affinity::bind_for_now(cpus[0]).ok();
            pool.run(&|worker| {
                if worker > 0 {
                    let _ = affinity::bind(cpus[worker]);
                }
            });
        }
        Ok(pool)
    }

    /// Number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Lets workers sleep until the next call, so that they take no time from others.
    pub fn rest(&self) {
        self.shared.resting.store(true, Ordering::Relaxed);
    }

    /// Runs `body(w)` on every worker `w`, and returns when all have returned.
    ///
    /// # Panics
    ///
    /// With the panic of a worker, after all have finished. The pool stays usable.
    pub fn run(&self, body: &(dyn Fn(usize) + Sync)) {
        self.call(body, false);
    }

    /// As [`ThreadPool::run`]; with `take_over`, the caller runs parts that no worker has begun.
    fn call(&self, body: &(dyn Fn(usize) + Sync), take_over: bool) {
        if self.workers.is_empty() {
            return body(0);
        }
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers use the reference only while they count in
        // `running`, and this function does not return or unwind before that is zero.
        let body: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(body) };
        // SAFETY: `turn` is held and `running` is zero, so nobody else touches the cell (see
        // `Sync for Shared`).
        unsafe {
            *shared.call.get() = Some(Call { body, caller: thread::current() });
        }
        shared.resting.store(false, Ordering::Relaxed);
        shared.running.store(self.workers.len(), Ordering::Relaxed);
        let epoch = shared.epoch.fetch_add(1, Ordering::Release).wrapping_add(1);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        shared.run_part(body, 0);
        if take_over {
            for index in 1..self.threads() {
                if shared.begin(index, epoch) {
                    shared.run_part(body, index);
                    shared.running.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        wait_until(|| shared.running.load(Ordering::Acquire) == 0, || true);
        let panic = lock(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Splits `rows` at multiples of [`TILE`] and runs `body(tiles, rows, scratch)` on each worker
    /// that owns a part: the numbers of its tiles, their rows, and its own element of `scratch`.
    ///
    /// # Panics
    ///
    /// When `scratch` has fewer elements than there are workers, or as [`ThreadPool::run`].
    pub fn for_tiles<S: Send>(
        &self,
        rows: &mut [f32],
        scratch: &mut [S],
        body: impl Fn(Range<usize>, &mut [f32], &mut S) + Sync,
    ) {
        self.for_tiles_with(rows, &mut [], scratch, |tiles, rows, _, scratch| {
            body(tiles, rows, scratch);
        });
    }

    /// As [`ThreadPool::for_tiles`], with a second output that has one element per tile; it may be
    /// empty, and then every worker gets an empty part.
    ///
    /// # Panics
    ///
    /// When `per_tile` is neither empty nor one element per tile, or as [`ThreadPool::for_tiles`].
    pub fn for_tiles_with<S: Send>(
        &self,
        rows: &mut [f32],
        per_tile: &mut [f32],
        scratch: &mut [S],
        body: impl Fn(Range<usize>, &mut [f32], &mut [f32], &mut S) + Sync,
    ) {
        assert!(per_tile.is_empty() || per_tile.len() == rows.len().div_ceil(TILE));
        self.for_parts([(rows, TILE), (per_tile, 1)], scratch, |[rows, per_tile], scratch| {
            body(rows.units, rows.values, per_tile.values, scratch);
        });
    }

    /// Splits each of `outputs`, a slice and the length of its units, at multiples of a unit, all in
    /// one call: `body(parts, scratch)` runs once on each worker that owns a unit of any output, with
    /// its part of each, which may be empty. A worker owns the same units of an output as in a call
    /// for it alone.
    ///
    /// # Panics
    ///
    /// When a unit has no elements, when `scratch` has fewer elements than there are workers, or as
    /// [`ThreadPool::run`].
    pub fn for_parts<const N: usize, S: Send>(
        &self,
        outputs: [(&mut [f32], usize); N],
        scratch: &mut [S],
        body: impl Fn([Part<'_>; N], &mut S) + Sync,
    ) {
        let threads = self.threads();
        assert!(scratch.len() >= threads, "one scratch for each worker");
        let outputs = outputs.map(|(values, unit)| (values.len().div_ceil(unit), unit, Parts::new(values)));
        let scratch = Parts::new(scratch);
        let part = |worker| {
            let own = outputs.each_ref().map(|&(units, ..)| owned_units(worker, threads, units));
            if own.iter().all(Range::is_empty) {
                return;
            }
            // SAFETY: `owned_units` gives workers disjoint ranges of the units of each output, hence
            // of its elements, and the outputs are disjoint slices; `call` runs each part once and
            // returns before the slices are usable again. Ranges are cut to the slices by `part`.
            let parts = array::from_fn(|output| unsafe {
                let (units, (_, unit, values)) = (own[output].clone(), &outputs[output]);
                Part { values: values.part(units.start * unit..units.end * unit), units }
            });
            // SAFETY: as above; the element of a worker is its own.
            let scratch = unsafe { scratch.part(worker..worker + 1) };
            body(parts, &mut scratch[0]);
        };
        self.call(&part, true);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of the bodies it runs; there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The life of worker `index`: wait for a call, run its part, report.
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            wait_until(|| self.epoch.load(Ordering::Acquire) != seen, || !self.resting.load(Ordering::Relaxed));
            seen = self.epoch.load(Ordering::Acquire);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if !self.begin(index, seen) {
                continue;
            }
            // SAFETY: `epoch` was read with Acquire and `begin` won, so the caller has written the
            // cell and does not write it again before this worker has left `running`.
            let Some(call) = (unsafe { (*self.call.get()).clone() }) else {
                return;
            };
            // SAFETY: the caller keeps the closure alive until this worker has left `running`.
            self.run_part(unsafe { &*call.body }, index);
            if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
                call.caller.unpark();
            }
        }
    }

    /// Whether the part of worker `index` in call `epoch` is for the asking thread to run: true for
    /// the first that asks. Every part of the call before has begun.
    fn begin(&self, index: usize, epoch: usize) -> bool {
        self.begun[index - 1]
            .compare_exchange(epoch.wrapping_sub(1), epoch, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Runs one part and keeps its panic for the caller.
    fn run_part(&self, body: &(dyn Fn(usize) + Sync), index: usize) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(index))) {
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

/// Units of worker `worker`: contiguous, in worker order, sizes differing by at most one.
fn owned_units(worker: usize, threads: usize, units: usize) -> Range<usize> {
    units * worker / threads..units * (worker + 1) / threads
}

/// Spins while it `may_spin` and not too long, then parks, until `done`. Whoever makes that true unparks this
/// thread afterwards.
fn wait_until(done: impl Fn() -> bool, may_spin: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if done() {
            return;
        }
        if !may_spin() {
            break;
        }
        hint::spin_loop();
    }
    while !done() {
        thread::park();
    }
}

/// Locks a mutex whose data is valid after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker owns of an output.
pub struct Part<'a> {
    /// Numbers of its units.
    pub units: Range<usize>,
    /// Their elements; the last unit of an output may be short.
    pub values: &'a mut [f32],
}

/// A mutable slice that workers cut disjoint parts from.
struct Parts<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: parts are handed to different threads, which needs `T: Send`, and `part` requires that
// they are disjoint.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The elements of `range` that exist.
    ///
    /// # Safety
    ///
    /// - The slice given to `new` is still mutably borrowed by the caller.
    /// - No other part that is alive overlaps `range`.
    #[expect(clippy::mut_from_ref, reason = "parts are disjoint by the safety contract")]
    unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        // SAFETY: `start..end` lies inside the slice; the rest is the caller's obligation.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), end - start) }
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::{
        Activations, Format, GemvJob, Granularity, Layout, Output, PackedMatrix, Prefetch, QuantizedMatrix, Scratch,
        reference, registry,
    };

    use super::*;

    #[test]
    fn every_row_is_given_to_exactly_one_worker() {
        for threads in [1, 2, 3, 7] {
            let pool = ThreadPool::new(threads).expect("threads");
            for rows in [0, 1, 63, 64, 65, 1000] {
                let mut out = vec![0.0; rows];
                let mut per_tile = vec![0.0; rows.div_ceil(TILE)];
                let mut scratch = vec![0_usize; threads];
                pool.for_tiles_with(&mut out, &mut per_tile, &mut scratch, |tiles, out, per_tile, scratch| {
                    assert_eq!(tiles.len(), per_tile.len());
                    for (i, out) in out.iter_mut().enumerate() {
                        *out += (tiles.start * TILE + i) as f32;
                    }
                    per_tile.iter_mut().for_each(|tile| *tile += 1.0);
                    *scratch += tiles.len();
                });
                assert!(out.iter().enumerate().all(|(i, &x)| x == i as f32));
                assert!(per_tile.iter().all(|&x| x == 1.0));
                assert_eq!(scratch.iter().sum::<usize>(), per_tile.len());
            }
        }
    }

    #[test]
    fn every_unit_of_every_output_is_given_to_exactly_one_worker() {
        for threads in [1, 2, 3, 7] {
            let pool = ThreadPool::new(threads).expect("threads");
            for (first, second) in [(0, 0), (0, 5), (1, 0), (7, 700), (640, 63)] {
                let (mut a, mut b) = (vec![0.0; first], vec![0.0; second]);
                let mut calls = vec![0_usize; threads];
                pool.for_parts([(&mut a, 5), (&mut b, TILE)], &mut calls, |parts, calls| {
                    for (part, unit) in parts.into_iter().zip([5, TILE]) {
                        assert_eq!(part.units.len(), part.values.len().div_ceil(unit));
                        for (i, value) in part.values.iter_mut().enumerate() {
                            *value += (part.units.start * unit + i) as f32;
                        }
                    }
                    *calls += 1;
                });
                assert!([a, b].iter().all(|values| values.iter().enumerate().all(|(i, &x)| x == i as f32)));
                let most = first.div_ceil(5).max(second.div_ceil(TILE)).min(threads);
                assert!(calls.iter().all(|&calls| calls <= 1) && calls.iter().sum::<usize>() >= most, "{calls:?}");
            }
        }
    }

    #[test]
    fn many_calls_and_sleeping_workers() {
        let pool = ThreadPool::new(3).expect("threads");
        let count = AtomicUsize::new(0);
        for call in 0..2000 {
            pool.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            if call % 500 == 0 {
                thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert_eq!(count.into_inner(), 6000);
    }

    #[test]
    fn run_uses_every_thread_once() {
        let pool = ThreadPool::new(3).expect("threads");
        let ids = Mutex::new(Vec::new());
        pool.run(&|_| lock(&ids).push(thread::current().id()));
        let mut ids = ids.into_inner().expect("no panic");
        ids.sort_by_key(|id| format!("{id:?}"));
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn bound_workers_have_cpus_of_their_own() {
        let Ok(cpus) = affinity::placement(2) else {
            println!("skipped: {}", affinity::placement(2).unwrap_err());
            return;
        };
        let before = thread::available_parallelism().expect("a number");
        let pool = ThreadPool::bound(2).expect("threads");
        let found = Mutex::new(vec![None; 2]);
        pool.run(&|worker| lock(&found)[worker] = affinity::current());
        assert_eq!(*lock(&found), [Some(cpus[0]), Some(cpus[1])]);
        drop(pool);
        assert_eq!(thread::available_parallelism().expect("a number"), before);
    }

    #[test]
    fn more_threads_than_cpus_are_left_free_and_finish() {
        let threads = 4 * thread::available_parallelism().expect("a number").get();
        let before = thread::available_parallelism().expect("a number");
        let pool = ThreadPool::bound(threads).expect("threads");
        let count = AtomicUsize::new(0);
        for _ in 0..200 {
            pool.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(count.into_inner(), 200 * threads);
        assert_eq!(thread::available_parallelism().expect("a number"), before);
    }

    /// Shares of a product are the same numbers whoever computes them, also where a worker's turn comes so late
    /// that the caller has taken its part over.
    #[test]
    fn twice_as_many_threads_as_cpus_give_the_same_bits() {
        let matrix = QuantizedMatrix::random(1000, 256, Format::W3p5, Granularity::Group128, 3).expect("a shape");
        let weights = PackedMatrix::pack(&matrix, Layout::Dense).expect("offered for every format");
        let x: Vec<f32> = (0..256).map(|k| (k as f32).sin()).collect();
        let mut activations = Activations::default();
        activations.quantize(&x, weights.segment()).expect("finite values");
        let variant = "gemv/w3p5/dense/bit_parallel/u4/scalar".parse().expect("a variant");
        let kernel = registry::find(variant).expect("scalar kernels are always compiled").bind().expect("no vectors");
        let expected = reference::gemv(&matrix, &x);
        let cpus = thread::available_parallelism().expect("a number").get();
        for threads in [cpus, 2 * cpus] {
            let pool = ThreadPool::bound(threads).expect("threads");
            let mut scratch = vec![Scratch::default(); threads];
            for _ in 0..200 {
                let mut out = vec![f32::NAN; 1000];
                pool.for_tiles(&mut out, &mut scratch, |tiles, out, scratch| {
                    let (weights, activations, output) = (&weights, &activations, Output::Store(out));
                    kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch: Prefetch::None, scratch });
                });
                assert_eq!(out, expected, "{threads} threads on {cpus} CPUs");
            }
        }
    }

    #[test]
    fn a_part_is_begun_by_the_first_that_asks() {
        let pool = ThreadPool::new(2).expect("threads");
        // Numbers of calls that this pool, which has run none, does not give out here.
        assert!(pool.shared.begin(1, 1) && !pool.shared.begin(1, 1) && !pool.shared.begin(1, 3));
        assert!(pool.shared.begin(1, 2) && !pool.shared.begin(1, 2));
    }

    /// A worker without work polls for a while only, and then leaves its CPU to others.
    #[test]
    #[cfg(target_os = "linux")]
    fn workers_without_work_sleep() {
        let threads = 2 * thread::available_parallelism().expect("a number").get();
        let pool = ThreadPool::new(threads).expect("threads");
        let ids = Mutex::new(Vec::new());
        pool.run(&|worker| {
            if worker > 0 {
                lock(&ids).push(rustix::thread::gettid().as_raw_nonzero());
            }
        });
        let ids = ids.into_inner().expect("no panic");
        assert_eq!(ids.len(), threads - 1);
        let sleeps = |id| {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).expect("a thread of this process");
            // The state stands behind the name in parentheses.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
        };
        let begin = std::time::Instant::now();
        while !ids.iter().all(|&id| sleeps(id)) {
            assert!(begin.elapsed().as_secs() < 60, "a worker polls for a minute");
            thread::sleep(std::time::Duration::from_millis(1));
        }
        let count = AtomicUsize::new(0);
        pool.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), threads);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = ThreadPool::new(2).expect("threads");
        for culprit in [0, 1] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|worker| assert_ne!(worker, culprit, "on purpose"));
            }));
            assert!(result.is_err());
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.for_tiles(&mut [0.0; 2 * TILE], &mut [(); 2], |tiles, _, ()| {
                    assert_ne!(tiles.start, culprit, "on purpose");
                });
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        pool.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 2);
    }
}
