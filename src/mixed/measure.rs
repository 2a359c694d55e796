//! Measuring sensitivity: every linear layer quantized alone, in every format.

use std::sync::Arc;

use rayon::prelude::*;
use septet_kernels::{Format, Layout};

use super::{
    GRANULARITY,
    table::{Divergences, Tensor},
    tensors,
};
use crate::{
    model::{
        Checkpoint, Decoder, Error, Execution, LinearSet, Storage,
        perplexity::{Reference, Stream, Windows},
    },
    pool::ThreadPool,
};

/// How the text is cut.
const WINDOWS: Windows = Windows::BACK_TO_BACK;

/// What `model` predicts over `stream` as it is.
///
/// # Errors
/// As [`Reference::new`].
pub fn reference<'a>(model: &Checkpoint, stream: &'a Stream) -> Result<Reference<'a>, Error> {
    Reference::new(&mut decoder(model, model.linears()?)?, stream, WINDOWS)
}

/// The divergences of every linear layer of `model` from `reference`, in the order of the forward
/// pass. Layers are measured in parallel on the threads of the current rayon pool, each candidate
/// on one of them; `done` is called after each candidate, three for a layer.
///
/// # Errors
/// For weights that cannot be quantized, and logits that are not finite.
pub fn measure(model: &Checkpoint, reference: &Reference, done: impl Fn() + Sync) -> Result<Vec<Tensor>, Error> {
    let baseline = model.linears()?;
    let kld = |place, format| {
        let linears = baseline.stored(|other| if other == place { quantized(format) } else { Storage::F32 })?;
        let quality = reference.compare(&mut decoder(model, linears)?)?;
        done();
        Ok(quality.mean_kld)
    };
    let measured = |(place, (rows, cols))| -> Result<Tensor, Error> {
        let kld =
            Divergences { w4: kld(place, Format::W4)?, w3p5: kld(place, Format::W3p5)?, w3: kld(place, Format::W3)? };
        Ok(Tensor { place, rows, cols, kld })
    };
    tensors(&model.parts.config).into_par_iter().with_max_len(1).map(measured).collect()
}

/// Number of candidates that [`measure`] runs.
pub fn candidates(model: &Checkpoint) -> usize {
    3 * tensors(&model.parts.config).len()
}

fn quantized(format: Format) -> Storage {
    Storage::Quantized { format, layout: Layout::Dense, granularity: GRANULARITY }
}

/// A decoder on the calling thread alone.
fn decoder(model: &Checkpoint, linears: LinearSet) -> Result<Decoder, Error> {
    let pool = ThreadPool::new(1).map_err(|cause| Error::Threads { threads: 1, cause })?;
    Decoder::new(Arc::clone(&model.parts), vec![linears], Execution::fast(Arc::new(pool)), WINDOWS.length)
}
