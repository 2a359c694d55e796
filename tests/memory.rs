//! What a model needs of memory: nothing for a token, and no `f32` copy of a layer that is quantized.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use septet::model::{Checkpoint, Decoder, Execution, LinearSet, Storage, builtin};
use septet::pool::ThreadPool;
use septet_kernels::{Format, Granularity};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Held by the one test that runs: the allocations of all threads are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts allocations from now on.
fn counting() -> dhat::Profiler {
    dhat::Profiler::builder().testing().build()
}

fn quantized() -> Storage {
    let layout = Execution::fast_layout();
    Storage::Quantized { format: Format::W3p5, layout, granularity: Granularity::Group128 }
}

fn decoder(model: &Checkpoint, linears: LinearSet, threads: usize) -> Decoder {
    let execution = Execution::fast(Arc::new(ThreadPool::new(threads).expect("threads")));
    Decoder::new(Arc::clone(&model.parts), vec![linears], execution, usize::MAX).expect("consistent")
}

#[test]
fn a_token_allocates_nothing() {
    let _alone = alone();
    let model = builtin::load().expect("built-in model");
    let prompt: Vec<u32> = (0..200).collect();
    for storage in [Storage::F32, quantized()] {
        for threads in [1, 2] {
            let mut decoder = decoder(&model, model.stored(|_| storage).expect("quantizes"), threads);
            decoder.prefill(&prompt).expect("finite");
            let _counting = counting();
            for token in 0..50 {
                decoder.forward(token).expect("finite");
            }
            decoder.reset();
            decoder.prefill(&prompt).expect("finite");
            assert_eq!(dhat::HeapStats::get().total_blocks, 0, "{storage} on {threads} threads");
        }
    }
}

/// The peak while a model is quantized: far less than its largest layer in `f32` beside what comes of it.
#[test]
fn a_quantized_layer_never_exists_in_f32() {
    let _alone = alone();
    let model = builtin::load().expect("built-in model");
    let config = &model.parts.config;
    let largest = 4 * config.vocab * config.hidden;
    // Threads of rayon's pool begin with the first work.
    model.stored(|_| quantized()).expect("quantizes");

    {
        let _counting = counting();
        let set = model.stored(|_| quantized()).expect("quantizes");
        let heap = dhat::HeapStats::get();
        assert!(heap.curr_bytes >= set.stored_bytes());
        assert!(heap.max_bytes < heap.curr_bytes + largest / 2, "{} of {}", heap.max_bytes, heap.curr_bytes);
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let _counting = counting();
    model.write_quantized(&folder.path().join("m"), |_| quantized(), |_, _| {}).expect("writes");
    let heap = dhat::HeapStats::get();
    assert!(heap.max_bytes < largest, "{} of {largest}", heap.max_bytes);
}
