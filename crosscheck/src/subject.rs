//! The logits of septet.

use std::path::Path;
use std::sync::Arc;

use septet::model::{Checkpoint, Decoder, Execution};
use septet::pool::ThreadPool;

use crate::Text;

/// The logits (vocab) after the prompt and after each further token of `text`, of the model in `folder` with
/// its linear layers in `f32`.
///
/// # Panics
///
/// When septet refuses the model or the text: here, a failed check.
pub fn logits(folder: &Path, text: &Text) -> Vec<Vec<f32>> {
    let model = Checkpoint::open(folder).expect("opens");
    let sets = vec![model.linears().expect("finite")];
    let execution = Execution::fast(Arc::new(ThreadPool::new(1).expect("threads")));
    let positions = model.parts.config.context;
    let mut decoder = Decoder::new(model.parts, sets, execution, positions).expect("consistent");
    let mut logits = vec![decoder.prefill(&text.prompt).expect("finite").to_vec()];
    for &token in &text.further {
        logits.push(decoder.forward(token).expect("finite").to_vec());
    }
    logits
}
