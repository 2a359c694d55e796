//! stub
use crate::model::{Config, Place};
#[derive(Debug, thiserror::Error)]
#[error("no table")]
pub struct MixedError;
pub struct MixedFormats;
impl MixedFormats {
    pub fn for_model(_: &Config) -> Result<Self, MixedError> { Ok(Self) }
    pub fn format(&self, _: Place) -> septet_kernels::Format { septet_kernels::Format::W3p5 }
}
