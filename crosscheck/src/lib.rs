//! Logits of septet beside those of candle-transformers, on small random models.
//!
//! [`Spec`] describes a model, [`Folder`] is its checkpoint on disk. Both implementations open the same
//! files and read the same [`Text`]: [`subject`] is septet, [`reference`] is candle. They share nothing
//! behind the files: candle reads a prompt at once under a causal mask, septet position by position.
//! [`distance`] says how far apart they are.

mod difference;
mod folder;
pub mod reference;
mod spec;
pub mod subject;
mod text;

pub use difference::{distance, favourite};
pub use folder::Folder;
pub use spec::{Architecture, Scaling, Spec};
pub use text::Text;
