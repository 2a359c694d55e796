//! Quantized checkpoints: a Hugging Face folder whose linear layers are packed codes, which kernels read where
//! they are mapped.
//!
//! Beside `config.json` and the tokenizer lies `septet.json`, the manifest. In `model.safetensors` a linear
//! layer has the name that it has in other checkpoints and is a tensor of bytes: its codes as
//! [`PackedMatrix::codes`] gives them, its scales as [`PackedMatrix::scales`] does, little-endian, and
//! zeros up to a multiple of [`ALIGNMENT`]. These tensors come first, so that codes begin at a cache line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use septet_kernels::{Format, Granularity, Layout, Level, PackedMatrix, PackedShape};
use serde::{Deserialize, Serialize};

use super::bytes::{FileBytes, FileSlice};
use crate::model::error::Error;

/// The name of the manifest.
pub const MANIFEST: &str = "septet.json";

/// Version of the manifest and of what it describes.
pub const SCHEMA: u32 = 1;

/// Packed layers begin at multiples of this many bytes of a file: a cache line.
pub const ALIGNMENT: usize = 64;

/// What a quantized checkpoint was made of, and how its layers are packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file.
    pub schema: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// SHA-256 of the weights that were quantized.
    pub source_sha256: String,
    /// How weights were rounded.
    pub method: String,
    /// Stored bits of a weight of the linear layers, the head included: codes, scales and padding.
    pub bits_per_weight: f64,
    /// The same of all weights: embedding, norms and biases, too.
    pub bits_per_weight_overall: f64,
    /// The packed tensors by their names.
    pub linears: BTreeMap<String, Packing>,
}

/// How a tensor is packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packing {
    /// As `--format` has it.
    pub format: String,
    /// As the axis `layout` has it.
    pub layout: String,
    /// As the axis `granularity` has it.
    pub granularity: String,
}

impl Manifest {
    /// The manifest of `folder`; nothing where there is none.
    ///
    /// # Errors
    ///
    /// For a file that can not be read, is none, or is of a newer version.
    pub fn find(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let json = FileBytes::read(&path)?;
        let parsed: Result<Self, _> = serde_json::from_slice(&json);
        let manifest = parsed.map_err(|cause| Error::Json { file: path.clone(), cause })?;
        if manifest.schema == SCHEMA {
            Ok(Some(manifest))
        } else {
            let (found, valid) = (manifest.schema.to_string(), format!("{SCHEMA}: quantize the model again"));
            Err(Error::Config { file: path, key: "schema".to_owned(), found, valid })
        }
    }
}

impl Packing {
    /// Of a matrix of this shape.
    pub fn of(shape: &PackedShape) -> Self {
        Self {
            format: shape.format.name().to_owned(),
            layout: shape.layout.name().to_owned(),
            granularity: shape.granularity.name().to_owned(),
        }
    }

    /// The shape of a packed matrix of `rows` and `cols`; `folder` and `tensor` are for errors.
    ///
    /// # Errors
    ///
    /// For a level that does not exist.
    pub fn shape(&self, rows: usize, cols: usize, folder: &Path, tensor: &str) -> Result<PackedShape, Error> {
        fn level<T: Level>(name: &str, folder: &Path, tensor: &str) -> Result<T, Error> {
            T::parse(name).map_err(|unknown| Error::Config {
                file: folder.join(MANIFEST),
                key: format!("linears.{tensor}.{}", T::AXIS),
                found: unknown.found,
                valid: unknown.valid.join(", "),
            })
        }
        Ok(PackedShape {
            format: level::<Format>(&self.format, folder, tensor)?,
            layout: level::<Layout>(&self.layout, folder, tensor)?,
            granularity: level::<Granularity>(&self.granularity, folder, tensor)?,
            rows,
            cols,
        })
    }
}

/// Bytes of a packed layer in a file.
pub fn stored_len(shape: &PackedShape) -> usize {
    (shape.codes_len() + 2 * shape.scale_count()).next_multiple_of(ALIGNMENT)
}

/// The bytes of a packed layer in a file: [`stored_len`] of them.
pub fn to_bytes(matrix: &PackedMatrix) -> Vec<u8> {
    let length = stored_len(&matrix.shape());
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(matrix.codes());
    bytes.extend(matrix.scales().iter().flat_map(|scale| scale.to_le_bytes()));
    bytes.resize(length, 0);
    bytes
}

/// The packed layer in `bytes`; its codes stay where they are, its scales are copied.
///
/// # Errors
///
/// For bytes of another length, and a scale that is not finite.
pub fn from_bytes(bytes: &FileSlice, shape: PackedShape, tensor: &str) -> Result<PackedMatrix, Error> {
    let damaged = |reason: String| Error::Packed { file: bytes.file().to_owned(), tensor: tensor.to_owned(), reason };
    let (found, expected) = (bytes.len(), stored_len(&shape));
    let split = |range| bytes.part(range).filter(|_| found == expected);
    let scales_end = shape.codes_len() + 2 * shape.scale_count();
    let (Some(codes), Some(scales)) = (split(0..shape.codes_len()), split(shape.codes_len()..scales_end)) else {
        let PackedShape { format, layout, granularity, rows, cols } = shape;
        return Err(damaged(format!(
            "has {found} bytes, but {rows} x {cols} weights in {format}, {layout}, {granularity} have {expected}"
        )));
    };
    let (pairs, _) = scales.as_chunks::<2>();
    let scales = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    PackedMatrix::from_stored(shape, Arc::new(codes), scales).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use septet_kernels::QuantizedMatrix;

    use super::*;

    fn slice(bytes: Vec<u8>) -> FileSlice {
        let file = Arc::new(FileBytes::owned("m".into(), bytes));
        FileSlice::new(&file, 0..file.len()).expect("all of it")
    }

    #[test]
    fn a_layer_comes_back_as_it_was() {
        for &format in Format::ALL {
            for layout in [Layout::Dense, Layout::Rows16] {
                let matrix = QuantizedMatrix::random(37, 300, format, Granularity::Group128, 5).expect("a shape");
                let matrix = PackedMatrix::pack(&matrix, layout).expect("offered");
                let shape = matrix.shape();
                let packing = Packing::of(&shape);
                assert_eq!(packing.shape(37, 300, Path::new("m"), "t").expect("known"), shape);

                let bytes = to_bytes(&matrix);
                assert!(bytes.len().is_multiple_of(ALIGNMENT) && bytes.len() == stored_len(&shape));
                let again = from_bytes(&slice(bytes.clone()), shape, "t").expect("whole");
                assert_eq!((again.codes(), again.scales()), (matrix.codes(), matrix.scales()));

                let message = from_bytes(&slice(bytes[1..].to_vec()), shape, "t").expect_err("too short").to_string();
                assert!(message.contains("tensor `t`") && message.contains("37 x 300"), "{message}");
                let message = from_bytes(&slice(vec![255; bytes.len()]), shape, "t").expect_err("no scale").to_string();
                assert!(message.contains("does not fit f16"), "{message}");
            }
        }
    }

    #[test]
    fn levels_that_do_not_exist_are_named() {
        let packing = Packing { format: "w2".to_owned(), layout: "dense".to_owned(), granularity: "g128".to_owned() };
        let message = packing.shape(1, 1, Path::new("m"), "t").expect_err("no such format").to_string();
        assert!(message.contains("`linears.t.format` is w2") && message.contains("w3p5"), "{message}");
    }
}
