//! GGUF files: metadata under keys, and named tensors.
//!
//! Versions 2 and 3 of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> are read, in
//! little-endian order; these two differ in nothing else. A file is a header, key–value pairs,
//! descriptions of tensors, and the data of the tensors, which begin at multiples of
//! `general.alignment`.
//!
//! A file may be damaged or hostile. What is kept beside its bytes is in proportion to them: no count of the file
//! reserves memory, and values stay where they lie until they are asked for.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::reader::{Kind, Reader, Scalar, quoted};
use crate::model::checkpoint::bytes::{FileBytes, FileSlice};
use crate::model::checkpoint::encoding::{Encoding, ggml_name};
use crate::model::checkpoint::tensor::{RowOrder, StoredTensor};
use crate::model::error::Error;

const MAGIC: &[u8] = b"GGUF";

const ALIGNMENT: &str = "general.alignment";

/// Where a file does not say it.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The number of files that a model is split into, in each of them.
const SPLIT_COUNT: &str = "split.count";

/// Bytes of a key at most. The format grants tensors 64 bytes; longer names do no harm, and occur.
const LONGEST_NAME: usize = u16::MAX as usize;

/// Dimensions of a tensor at most.
const MOST_DIMENSIONS: u32 = 4;

/// The remedy for what no transfer does to a file.
const CONVERT: &str = "convert the model again";

/// An open file, whose structure is checked; values of metadata are when they are asked for.
pub struct Gguf {
    bytes: Arc<FileBytes>,
    values: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

/// Where a metadata value lies.
struct Value {
    kind: Kind,
    /// Elements of an array; `None` for a scalar.
    elements: Option<u64>,
    /// Of the first byte after types and counts, in the file.
    offset: usize,
}

struct Tensor {
    /// Outermost dimension first.
    shape: Vec<usize>,
    encoding: Encoding,
    /// Of the file.
    bytes: Range<usize>,
}

impl Gguf {
    /// Reads the structure of a file and checks that all that it describes lies in it.
    ///
    /// # Errors
    ///
    /// When the bytes are no GGUF file, or one of another version or byte order; when the file is truncated; when it
    /// is one of several that hold a model; when names occur twice or are not UTF-8; and for a tensor of a
    /// type that [`Encoding`] lacks, or with dimensions or an offset that the format forbids.
    pub fn parse(bytes: FileBytes) -> Result<Self, Error> {
        let mut gguf = Self { bytes: Arc::new(bytes), values: BTreeMap::new(), tensors: BTreeMap::new() };
        let mut reader = Reader::new(&gguf.bytes, 0);
        let (tensors, values) = header(&mut reader).map_err(|reason| gguf.error("header", reason))?;
        let values = gguf.read_values(&mut reader, values)?;
        let described = reader.at();
        gguf.values = values;
        gguf.check_whole()?;
        gguf.tensors = gguf.read_tensors(described, tensors)?;
        Ok(gguf)
    }

    /// Where the file lies.
    pub fn file(&self) -> &Path {
        self.bytes.file()
    }

    /// The keys of the metadata, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The names of the tensors, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tensor of this name, whose rows are stored in `order`; nothing where there is none.
    ///
    /// # Errors
    ///
    /// For a tensor of more than two dimensions.
    pub fn tensor(&self, name: &str, order: RowOrder) -> Result<Option<StoredTensor>, Error> {
        let Some(Tensor { shape, encoding, bytes }) = self.tensors.get(name) else { return Ok(None) };
        let Some(bytes) = FileSlice::new(&self.bytes, bytes.clone()) else {
            return Err(self.error(place("tensor", name), "lies beyond the end of the file"));
        };
        StoredTensor::new(name.to_owned(), shape, *encoding, order, bytes).map(Some)
    }

    /// An integer of any width.
    ///
    /// # Errors
    ///
    /// When the value is something else, or negative.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, Error> {
        self.scalar(key, "an integer of at least 0", |scalar| match scalar {
            Scalar::Unsigned(value) => Some(value),
            Scalar::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        })
    }

    /// A number. Integers beyond 2^53 are rounded; floats need not be finite.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.scalar(key, "a number", number)
    }

    /// A boolean.
    ///
    /// # Errors
    ///
    /// When the value is something else, or a byte that is neither 0 nor 1.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        self.scalar(key, "a boolean", |scalar| match scalar {
            Scalar::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A string.
    ///
    /// # Errors
    ///
    /// When the value is something else, or not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.scalar(key, "a string", text)
    }

    /// An array of strings.
    ///
    /// # Errors
    ///
    /// When the value is something else, or a string is not UTF-8. An empty array passes for one of any type, here
    /// and below.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        self.array(key, "an array of strings", text)
    }

    /// An array of numbers, rounded to `f32`; they need not be finite.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.array(key, "an array of numbers", |scalar| number(scalar).map(|value| value as f32))
    }

    /// An array of integers of any width.
    ///
    /// # Errors
    ///
    /// When the value is something else, or an integer does not fit.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, Error> {
        self.array(key, "an array of integers below 2^63", |scalar| match scalar {
            Scalar::Unsigned(value) => i64::try_from(value).ok(),
            Scalar::Signed(value) => Some(value),
            _ => None,
        })
    }

    /// `value`, which was looked for under `key`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| Error::MissingKey { file: self.file().to_owned(), key: key.to_owned() })
    }

    /// The error of a key that means nothing: what it is, and what would be valid.
    pub fn refuse(&self, key: &str, found: String, valid: &str) -> Error {
        Error::Config { file: self.file().to_owned(), key: key.to_owned(), found, valid: valid.to_owned() }
    }

    /// The scalar under `key` as `convert` takes it; `valid` says which ones it does.
    fn scalar<'a, T>(
        &'a self,
        key: &str,
        valid: &str,
        convert: impl Fn(Scalar<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        if let Some(elements) = value.elements {
            let found = format!("is an array of {elements} {}; valid: {valid}", value.kind.plural());
            return Err(self.error(place("key", key), found));
        }
        self.reader(value)
            .scalar(value.kind)
            .and_then(|scalar| convert(scalar).ok_or_else(|| format!("is {scalar}; valid: {valid}")))
            .map(Some)
            .map_err(|reason| self.error(place("key", key), reason))
    }

    /// The elements of the array under `key` as `convert` takes them; `valid` says which ones it does.
    fn array<'a, T>(
        &'a self,
        key: &str,
        valid: &str,
        convert: impl Fn(Scalar<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let mut reader = self.reader(value);
        let Some(elements) = value.elements else {
            let reason = match reader.scalar(value.kind) {
                Ok(scalar) => format!("is {scalar}; valid: {valid}"),
                Err(reason) => reason,
            };
            return Err(self.error(place("key", key), reason));
        };
        (0..elements)
            .map(|index| {
                let scalar = reader.scalar(value.kind).map_err(|reason| format!("element {index} {reason}"))?;
                convert(scalar).ok_or_else(|| format!("holds {scalar} at index {index}; valid: {valid}"))
            })
            .collect::<Result<_, _>>()
            .map(Some)
            .map_err(|reason| self.error(place("key", key), reason))
    }

    fn reader(&self, value: &Value) -> Reader<'_> {
        Reader::new(&self.bytes, value.offset)
    }

    /// Finds where `count` values lie.
    fn read_values(&self, reader: &mut Reader<'_>, count: u64) -> Result<BTreeMap<String, Value>, Error> {
        let mut values = BTreeMap::new();
        for index in 0..count {
            let key = name(reader).map_err(|reason| self.error(format!("key {} of {count}", index + 1), reason))?;
            let refuse = |reason| self.error(place("key", key), reason);
            let value = value(reader).map_err(refuse)?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err(refuse(format!("is there twice; valid: once: {CONVERT}")));
            }
        }
        Ok(values)
    }

    /// Refuses one of several files that hold a model together.
    fn check_whole(&self) -> Result<(), Error> {
        match self.integer(SPLIT_COUNT)? {
            Some(count) if count > 1 => Err(self.error(
                place("key", SPLIT_COUNT),
                format!(
                    "is {count}: the model is split into files; valid: 1: merge them with `llama-gguf-split --merge`"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Reads `count` descriptions of tensors from byte `at` on, and finds the data of each.
    fn read_tensors(&self, at: usize, count: u64) -> Result<BTreeMap<String, Tensor>, Error> {
        let alignment = self.alignment()?;
        let mut reader = Reader::new(&self.bytes, at);
        let mut tensors = BTreeMap::new();
        for index in 0..count {
            let name =
                name(&mut reader).map_err(|reason| self.error(format!("tensor {} of {count}", index + 1), reason))?;
            let refuse = |reason| self.error(place("tensor", name), reason);
            let tensor = tensor(&mut reader, alignment).map_err(refuse)?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return Err(refuse(format!("is there twice; valid: once: {CONVERT}")));
            }
        }
        let start = reader.at().checked_next_multiple_of(alignment);
        for (name, Tensor { bytes, .. }) in &mut tensors {
            let within = |offset: usize| start?.checked_add(offset).filter(|end| *end <= self.bytes.len());
            *bytes = within(bytes.start).zip(within(bytes.end)).map(|(start, end)| start..end).ok_or_else(|| {
                let (needed, length) = (bytes.len(), self.bytes.len());
                let reason = format!(
                    "truncated: its {needed} bytes begin at byte {} of the data, and the file, of {length} bytes, ends \
                     before they do: download the file again",
                    bytes.start
                );
                self.error(place("tensor", name), reason)
            })?;
        }
        self.check_apart(&tensors)?;
        Ok(tensors)
    }

    /// Refuses tensors that share bytes: what is decoded of a file would not be in proportion to it.
    fn check_apart(&self, tensors: &BTreeMap<String, Tensor>) -> Result<(), Error> {
        let mut places: Vec<(&Range<usize>, &String)> =
            tensors.iter().map(|(name, tensor)| (&tensor.bytes, name)).collect();
        places.sort_unstable_by_key(|(bytes, name)| (bytes.start, bytes.end, *name));
        match places.windows(2).find(|pair| pair[1].0.start < pair[0].0.end) {
            None => Ok(()),
            Some(pair) => {
                let reason = format!("begins within {}; valid: behind it: {CONVERT}", quoted(pair[0].1, '`'));
                Err(self.error(place("tensor", pair[1].1), reason))
            }
        }
    }

    /// Of the data as a whole, and of each tensor in it.
    fn alignment(&self) -> Result<usize, Error> {
        let found = self.integer(ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
        usize::try_from(found).ok().filter(|found| *found > 0 && found.is_multiple_of(8)).ok_or_else(|| {
            let reason = format!("is {found}; valid: a positive multiple of 8: {CONVERT}");
            self.error(place("key", ALIGNMENT), reason)
        })
    }

    fn error(&self, place: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Gguf { file: self.file().to_owned(), place: place.into(), reason: reason.into() }
    }
}

fn place(what: &str, name: &str) -> String {
    format!("{what} {}", quoted(name, '`'))
}

fn number(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Unsigned(value) => Some(value as f64),
        Scalar::Signed(value) => Some(value as f64),
        Scalar::Float(value) => Some(value),
        Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}

fn text(scalar: Scalar<'_>) -> Option<&str> {
    match scalar {
        Scalar::Text(text) => Some(text),
        _ => None,
    }
}

/// The number of tensors and of values.
fn header(reader: &mut Reader<'_>) -> Result<(u64, u64), String> {
    let magic = reader.take(MAGIC.len() as u64)?;
    if magic != MAGIC {
        return Err(format!("begins with the bytes {magic:02x?}; valid: \"GGUF\": this is no GGUF file"));
    }
    let version = reader.u32()?;
    match version {
        2 | 3 => Ok((reader.u64()?, reader.u64()?)),
        1 => Err(format!("is of version 1; valid: 2 and 3: {CONVERT}")),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            Err(format!("is of a big-endian file; valid: little-endian: {CONVERT} for this byte order"))
        }
        _ => Err(format!("is of version {version}; valid: 2 and 3: {CONVERT} to one of them")),
    }
}

/// The name of a tensor, or a key.
fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, String> {
    match reader.text()? {
        name if name.len() <= LONGEST_NAME => Ok(name),
        name => Err(format!("has a name of {} bytes; valid: at most {LONGEST_NAME}: {CONVERT}", name.len())),
    }
}

/// Finds where a value lies, and goes past it.
fn value(reader: &mut Reader<'_>) -> Result<Value, String> {
    let number = reader.u32()?;
    let (number, elements) = match number {
        Kind::ARRAY => (reader.u32()?, Some(reader.u64()?)),
        _ => (number, None),
    };
    let kind = Kind::of_number(number).ok_or_else(|| match number {
        Kind::ARRAY => format!("is an array of arrays; valid: arrays of numbers, booleans or strings: {CONVERT}"),
        _ => format!("has a value of type {number}; valid: types 0 to 12: the file is damaged or too new"),
    })?;
    let offset = reader.at();
    reader.skip(kind, elements.unwrap_or(1))?;
    Ok(Value { kind, elements, offset })
}

/// Reads what follows the name of a tensor; its bytes are counted from the beginning of the data.
fn tensor(reader: &mut Reader<'_>, alignment: usize) -> Result<Tensor, String> {
    let dimensions = reader.u32()?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(format!("has {dimensions} dimensions; valid: 1 to {MOST_DIMENSIONS}: {CONVERT}"));
    }
    let mut shape = (0..dimensions).map(|_| reader.u64()).collect::<Result<Vec<_>, _>>()?;
    // The file has the innermost dimension first.
    shape.reverse();
    let number = reader.u32()?;
    let offset = reader.u64()?;

    let encoding = Encoding::of_ggml(number).ok_or_else(|| {
        let valid: Vec<String> = Encoding::ALL.iter().map(Encoding::to_string).collect();
        format!("has type {}; valid: {}: {CONVERT} to one of them", ggml_name(number), valid.join(", "))
    })?;
    let (shape, length) = sizes(&shape, encoding)?;
    let misplaced = || format!("begins at byte {offset} of the data; valid: multiples of {alignment}: {CONVERT}");
    let offset = usize::try_from(offset).map_err(|_| misplaced())?;
    if !offset.is_multiple_of(alignment) {
        return Err(misplaced());
    }
    Ok(Tensor { shape, encoding, bytes: offset..offset.saturating_add(length) })
}

/// A shape, outermost first, and the bytes of all its values. Blocks do not reach from row to row.
fn sizes(found: &[u64], encoding: Encoding) -> Result<(Vec<usize>, usize), String> {
    if found.contains(&0) {
        return Err(format!("has shape {found:?}; valid: dimensions of at least 1: {CONVERT}"));
    }
    let too_large =
        || format!("has shape {found:?}, more than memory can hold: the file is damaged: download it again");
    let shape: Vec<usize> =
        found.iter().map(|&size| usize::try_from(size)).collect::<Result<_, _>>().map_err(|_| too_large())?;
    let block = encoding.block();
    if let Some(row) = shape.last().filter(|row| !row.is_multiple_of(block)) {
        return Err(format!(
            "has rows of {row} values in {encoding}; valid: multiples of its blocks of {block}: {CONVERT}"
        ));
    }
    let values = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let bytes = values.and_then(|values| encoding.bytes(values)).ok_or_else(too_large)?;
    Ok((shape, bytes))
}
