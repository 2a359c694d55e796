//! Writing a quantized checkpoint.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::f16;
use septet_kernels::PackedShape;
use serde_json::{Map, json};

use super::Checkpoint;
use super::encoding::Encoding;
use super::hugging_face::WEIGHTS;
use super::packed::{self, ALIGNMENT, MANIFEST, Manifest, Packing, SCHEMA};
use super::tensor::{StoredTensor, Tensor};
use crate::model::error::Error;
use crate::model::linear::{Linear, Place, Role, Storage};

/// How weights are rounded, for manifests.
const METHOD: &str = "round to nearest; the scale of a group is the best of twenty by squared error";

/// Values that are converted at a time.
const ROWS: usize = 64;

/// A tensor to be written.
struct Planned {
    tensor: Tensor,
    /// As safetensors calls it.
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: usize,
    /// Of packed layers.
    packed: Option<PackedShape>,
}

impl Checkpoint {
    /// Writes the model into `folder`, its linear layers packed as `storage` says; `done` is told the bytes of
    /// weights that are written so far, and of all. One layer is in memory at a time. Until all is written, the
    /// folder has `.partial` behind its name.
    ///
    /// Weights that are stored in blocks and belong to no linear layer become f16.
    ///
    /// # Errors
    ///
    /// When `folder` holds something, a file can not be written, and as [`Checkpoint::stored`]; for a storage in
    /// f32, and for another than that of a model that is quantized already. Then nothing is written.
    pub fn write_quantized(
        &self,
        folder: &Path,
        storage: impl Fn(Place) -> Storage,
        done: impl Fn(usize, usize),
    ) -> Result<Manifest, Error> {
        let planned = self.planned(&storage)?;
        let manifest = self.manifest(&planned);
        check_empty(folder)?;
        // The name that is asked for belongs to a whole model.
        let mut partial = folder.as_os_str().to_owned();
        partial.push(".partial");
        let partial = Path::new(&partial);
        // What an earlier attempt left has the file that is written first.
        let failed = |cause| Error::Write { file: partial.to_owned(), cause };
        if partial.join(MANIFEST).exists() {
            fs::remove_dir_all(partial).map_err(failed)?;
        }
        check_empty(partial)?;
        fs::create_dir_all(partial).map_err(failed)?;
        let written = self.write_files(partial, &planned, &manifest, &storage, done).and_then(|()| {
            // An empty folder gives way.
            fs::rename(partial, folder).map_err(|cause| Error::Write { file: folder.to_owned(), cause })
        });
        if written.is_err() {
            // All of it was written here; what can not be removed is told by its name.
            let _ = fs::remove_dir_all(partial);
        }
        written.map(|()| manifest)
    }

    /// Writes all files into `folder`.
    fn write_files(
        &self,
        folder: &Path,
        planned: &[Planned],
        manifest: &Manifest,
        storage: &impl Fn(Place) -> Storage,
        done: impl Fn(usize, usize),
    ) -> Result<(), Error> {
        let text = |name: &str, bytes: &[u8]| {
            let file = folder.join(name);
            fs::write(&file, bytes).map_err(|cause| Error::Write { file, cause })
        };
        let json = serde_json::to_string_pretty(manifest).map(|json| json + "\n");
        text(MANIFEST, json.map_err(|cause| Error::Json { file: folder.join(MANIFEST), cause })?.as_bytes())?;
        text("config.json", &self.texts.config)?;
        text("tokenizer.json", &self.texts.tokenizer)?;
        for (name, found) in
            [("tokenizer_config.json", &self.texts.tokenizer_config), ("chat_template.jinja", &self.texts.template)]
        {
            if let Some(found) = found {
                text(name, found)?;
            }
        }

        let weights = folder.join(WEIGHTS);
        let failed = |cause| Error::Write { file: weights.clone(), cause };
        let mut file = BufWriter::new(File::create(&weights).map_err(failed)?);
        file.write_all(&header(planned)).map_err(failed)?;
        let total = planned.iter().map(|tensor| tensor.bytes).sum();
        let mut written = 0;
        for tensor in planned {
            self.write(tensor, storage, |bytes| file.write_all(bytes).map_err(failed))?;
            written += tensor.bytes;
            done(written, total);
        }
        file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)
    }

    /// Every tensor in the order of the file: packed layers first, so that they begin at cache lines.
    fn planned(&self, storage: &impl Fn(Place) -> Storage) -> Result<Vec<Planned>, Error> {
        let config = &self.parts.config;
        let places = (0..config.layers).flat_map(|layer| Role::ALL.map(|role| Place::Layer(layer, role)));
        let mut planned = Vec::new();
        for place in places.chain([Place::Head]) {
            let (rows, cols) = place.shape(config);
            let asked = storage(place);
            let Storage::Quantized { format, layout, granularity } = asked else {
                return Err(Error::NotQuantized { place });
            };
            if let Some(found) = self.packed_storage(place).filter(|found| *found != asked) {
                return Err(Error::Quantized { place, found, asked });
            }
            let shape = PackedShape { format, layout, granularity, rows, cols };
            let bytes = packed::stored_len(&shape);
            let tensor = Tensor::Linear(place);
            planned.push(Planned { tensor, dtype: "U8", shape: vec![bytes], bytes, packed: Some(shape) });
        }
        let layers = (0..config.layers).flat_map(|layer| {
            let biases = [Role::Q, Role::K, Role::V].map(|role| Tensor::Bias(layer, role));
            let biases = biases.into_iter().filter(|_| config.qkv_bias);
            [Tensor::AttentionNorm(layer), Tensor::FfnNorm(layer)].into_iter().chain(biases)
        });
        let others = [Tensor::Embedding, Tensor::FinalNorm].into_iter().chain(layers);
        let factors = self.tensors.find(Tensor::RopeFactors, config)?.map(|_| Tensor::RopeFactors);
        for tensor in others.chain(factors) {
            let stored = self.tensors.get(tensor, config)?;
            let (dtype, size) = match stored.encoding() {
                Encoding::F32 => ("F32", 4),
                Encoding::Bf16 => ("BF16", 2),
                _ => ("F16", 2),
            };
            let shape = tensor.shape(config);
            let bytes = size * shape.iter().product::<usize>();
            planned.push(Planned { tensor, dtype, shape, bytes, packed: None });
        }
        Ok(planned)
    }

    fn manifest(&self, planned: &[Planned]) -> Manifest {
        let bits_per_weight = |planned: &mut dyn Iterator<Item = &Planned>| {
            let (bytes, weights) = planned.fold((0, 0), |(bytes, weights), tensor| match &tensor.packed {
                Some(shape) => {
                    (bytes + shape.code_bytes() + 2 * shape.scale_count(), weights + shape.rows * shape.cols)
                }
                None => (bytes + tensor.bytes, weights + tensor.shape.iter().product::<usize>()),
            });
            8.0 * bytes as f64 / weights as f64
        };
        let packing = |tensor: &Planned| Some((tensor.tensor.hugging_face(), Packing::of(tensor.packed.as_ref()?)));
        Manifest {
            schema: SCHEMA,
            program: format!("septet {}", env!("CARGO_PKG_VERSION")),
            source_sha256: self.sha256(),
            method: METHOD.to_owned(),
            bits_per_weight: bits_per_weight(&mut planned.iter().filter(|tensor| tensor.packed.is_some())),
            bits_per_weight_overall: bits_per_weight(&mut planned.iter()),
            linears: planned.iter().filter_map(packing).collect(),
        }
    }

    /// Gives the bytes of a tensor to `write`.
    fn write(
        &self,
        planned: &Planned,
        storage: &impl Fn(Place) -> Storage,
        mut write: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match planned.tensor {
            Tensor::Linear(place) => match self.stored_linear(place).kept(place, storage(place))?.0 {
                Linear::Quantized(matrix) => write(&packed::to_bytes(&matrix)),
                Linear::F32(_) => Err(Error::NotQuantized { place }),
            },
            tensor => {
                let stored = self.tensors.get(tensor, &self.parts.config)?;
                for first in (0..stored.rows()).step_by(ROWS) {
                    write(&bytes_of(&stored, first)?)?;
                }
                Ok(())
            }
        }
    }
}

/// Up to [`ROWS`] rows from `first` on: as they are stored, or in f16.
fn bytes_of(tensor: &StoredTensor, first: usize) -> Result<Cow<'_, [u8]>, Error> {
    let rows = first..(first + ROWS).min(tensor.rows());
    if tensor.encoding().block() == 1 {
        return Ok(Cow::Borrowed(tensor.row_bytes(rows)));
    }
    let mut values = vec![0.0; rows.len() * tensor.cols()];
    tensor.read(rows, &mut values)?;
    let largest = f16::MAX.to_f32();
    let half = |value: &f32| f16::from_f32(value.clamp(-largest, largest)).to_le_bytes();
    Ok(Cow::Owned(values.iter().flat_map(half).collect()))
}

/// Refuses a folder that holds something.
fn check_empty(folder: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Write { file: folder.to_owned(), cause };
    match fs::read_dir(folder) {
        Ok(mut files) => match files.next() {
            None => Ok(()),
            Some(_) => Err(failed(io::Error::other("it holds files; name a new or an empty folder"))),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(failed(cause)),
    }
}

/// What a safetensors file begins with: the length of its description, the description, and spaces up to a
/// multiple of [`ALIGNMENT`].
fn header(planned: &[Planned]) -> Vec<u8> {
    let mut description = Map::new();
    let mut offset = 0;
    for Planned { tensor, dtype, shape, bytes, .. } in planned {
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, offset + bytes] });
        description.insert(tensor.hugging_face(), entry);
        offset += bytes;
    }
    let mut json = serde_json::Value::from(description).to_string().into_bytes();
    let length = (8 + json.len()).next_multiple_of(ALIGNMENT) - 8;
    json.resize(length, b' ');
    [&(length as u64).to_le_bytes()[..], &json].concat()
}
