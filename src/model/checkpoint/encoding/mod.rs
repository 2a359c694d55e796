//! How files store the values of a tensor, and the `f32` values that they stand for.
//!
//! The encodings are those of GGUF files, under the names of ggml:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Beside plain floats they are formats
//! of blocks: a fixed number of values lies in a fixed number of bytes, as integers of few bits (the
//! codes) and the scales that they are multiplied by. All fields are little-endian.

mod k_quants;
mod legacy;

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A way to store values. Its [`Display`](fmt::Display) is ggml's name, as `Q4_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// ggml's types that are not read, by their numbers: those of its own computations, those that it no
/// longer writes, and those that the files of LLaMA models rarely hold.
const UNREAD: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// What identifies an encoding in a file, and the size of its blocks.
struct Facts {
    number: u32,
    name: &'static str,
    /// Values of a block.
    values: usize,
    /// Bytes of a block.
    bytes: usize,
}

impl Encoding {
    /// All of them.
    pub const ALL: &[Encoding] = &[
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Bytes of a block are the sum of its fields, in their order.
    const fn facts(self) -> Facts {
        let (number, name, values, bytes) = match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Bf16 => (30, "BF16", 1, 2),
            Self::Q8_0 => (8, "Q8_0", 32, 2 + 32),
            Self::Q4_0 => (2, "Q4_0", 32, 2 + 16),
            Self::Q4_1 => (3, "Q4_1", 32, 2 + 2 + 16),
            Self::Q5_0 => (6, "Q5_0", 32, 2 + 4 + 16),
            Self::Q5_1 => (7, "Q5_1", 32, 2 + 2 + 4 + 16),
            Self::Q2K => (10, "Q2_K", 256, 16 + 64 + 2 + 2),
            Self::Q3K => (11, "Q3_K", 256, 32 + 64 + 12 + 2),
            Self::Q4K => (12, "Q4_K", 256, 2 + 2 + 12 + 128),
            Self::Q5K => (13, "Q5_K", 256, 2 + 2 + 12 + 32 + 128),
            Self::Q6K => (14, "Q6_K", 256, 128 + 64 + 16 + 2),
        };
        Facts { number, name, values, bytes }
    }

    /// Values of a block: 1, 32 or 256.
    pub const fn block(self) -> usize {
        self.facts().values
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// Bytes of `values` values. `None` if they are no whole blocks, or the bytes too many for a `usize`.
    pub fn bytes(self, values: usize) -> Option<usize> {
        let Facts { values: block, bytes, .. } = self.facts();
        if values.is_multiple_of(block) { (values / block).checked_mul(bytes) } else { None }
    }

    /// Decodes the whole blocks in `bytes` to `values`, in the `f32` arithmetic of ggml's reference, in its
    /// order: the scale of a group is a rounded product before it meets a code.
    ///
    /// # Panics
    ///
    /// When `bytes` is not as long as [`Encoding::bytes`] says of the number of `values`.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        let (found, needed) = (bytes.len(), self.bytes(values.len()));
        assert_eq!(Some(found), needed, "{found} bytes are not {} values in {self}", values.len());
        match self {
            Self::F32 => each_block(bytes, values, |bytes, value| *value = [f32::from_le_bytes(*bytes)]),
            Self::F16 => halves(bytes, values),
            Self::Bf16 => each_block(bytes, values, |bytes, value| *value = [bf16::from_le_bytes(*bytes).to_f32()]),
            Self::Q8_0 => each_block(bytes, values, legacy::q8_0),
            Self::Q4_0 => each_block(bytes, values, legacy::q4_0),
            Self::Q4_1 => each_block(bytes, values, legacy::q4_1),
            Self::Q5_0 => each_block(bytes, values, legacy::q5_0),
            Self::Q5_1 => each_block(bytes, values, legacy::q5_1),
            Self::Q2K => each_block(bytes, values, k_quants::q2_k),
            Self::Q3K => each_block(bytes, values, k_quants::q3_k),
            Self::Q4K => each_block(bytes, values, k_quants::q4_k),
            Self::Q5K => each_block(bytes, values, k_quants::q5_k),
            Self::Q6K => each_block(bytes, values, k_quants::q6_k),
        }
    }

    /// The encoding that has this type number in GGUF. `None` for those that are not read, which
    /// [`ggml_name`] names.
    pub fn of_ggml(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|encoding| encoding.facts().number == number)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.facts().name)
    }
}

/// ggml's name of a type number of GGUF, as `IQ3_S`, also of those that are not read; the number
/// itself where there is no name.
pub fn ggml_name(number: u32) -> String {
    let unread = || UNREAD.iter().find(|(of, _)| *of == number).map(|(_, name)| *name);
    Encoding::of_ggml(number)
        .map(|encoding| encoding.facts().name)
        .or_else(unread)
        .map_or_else(|| format!("number {number}"), str::to_owned)
}

fn each_block<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let (blocks, _) = bytes.as_chunks();
    let (values, _) = values.as_chunks_mut();
    for (block, values) in blocks.iter().zip(values) {
        decode(block, values);
    }
}

/// What is left of a block, whose fields are taken in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes.
    fn bytes<const N: usize>(&mut self) -> &'a [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the fields of a block are as long as the block");
        self.0 = rest;
        field
    }

    /// The next F16.
    fn scale(&mut self) -> f32 {
        f16::from_le_bytes(*self.bytes()).to_f32()
    }
}

/// Values of F16, some at a time: conversions of whole vectors are ten times as fast as single ones.
fn halves(bytes: &[u8], values: &mut [f32]) {
    const RUN: usize = 64;
    let mut run = [f16::ZERO; RUN];
    for (bytes, values) in bytes.as_chunks().0.chunks(RUN).zip(values.chunks_mut(RUN)) {
        for (half, bytes) in run.iter_mut().zip(bytes) {
            *half = f16::from_le_bytes(*bytes);
        }
        run[..values.len()].convert_to_f32_slice(values);
    }
}

/// Codes of `bits` bits, which lie in planes: of every `run` bytes, the lowest bits of each hold the
/// first `run` codes, the next bits of each the next `run` codes, and so on.
fn unpack<const BYTES: usize, const CODES: usize>(packed: &[u8; BYTES], bits: u8, run: usize) -> [u8; CODES] {
    assert_eq!(8 * BYTES, usize::from(bits) * CODES, "the codes are as many as the bytes hold");
    let mask = (1 << bits) - 1;
    let mut codes = [0; CODES];
    let planes =
        packed.chunks_exact(run).flat_map(|run| (0..8).step_by(usize::from(bits)).map(move |shift| (run, shift)));
    for (codes, (bytes, shift)) in codes.chunks_exact_mut(run).zip(planes) {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code = byte >> shift & mask;
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ggml-blocks.json"));

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![f32::NAN; bytes.len() / encoding.block_bytes() * encoding.block()];
        encoding.decode(bytes, &mut values);
        values
    }

    fn from_hex(digits: &str) -> Vec<u8> {
        let (pairs, _) = digits.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
        pairs.iter().map(byte).collect()
    }

    #[test]
    fn blocks_decode_to_the_bits_of_another_implementation() {
        let golden: Value = serde_json::from_str(GOLDEN).expect("valid JSON");
        let golden = golden["encodings"].as_object().expect("an object");
        for encoding in Encoding::ALL.iter().filter(|encoding| encoding.block() > 1) {
            let blocks = &golden[&encoding.to_string()];
            let expected: Vec<f32> = blocks["values"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|v| v.as_f64().expect("a number") as f32)
                .collect();
            let found = decoded(*encoding, &from_hex(blocks["bytes"].as_str().expect("a string")));
            assert_eq!(found.len(), expected.len(), "{encoding}");
            assert!(found.len() >= 3 * encoding.block(), "{encoding}");
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.to_bits(), expected.to_bits(), "{encoding}, value {index}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn floats_decode_exactly() {
        for value in [0.0, -0.0, 1.0, -1.5, f32::INFINITY] {
            for (encoding, bytes) in [
                (Encoding::F32, value.to_le_bytes().to_vec()),
                (Encoding::F16, f16::from_f32(value).to_le_bytes().to_vec()),
                (Encoding::Bf16, bf16::from_f32(value).to_le_bytes().to_vec()),
            ] {
                let found = decoded(encoding, &bytes.repeat(2));
                assert_eq!(found.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [value.to_bits(); 2], "{encoding}");
            }
        }
    }

    #[test]
    fn only_whole_blocks_have_a_length() {
        assert_eq!(Encoding::Q4K.bytes(512), Some(288));
        assert_eq!(Encoding::Q4K.bytes(0), Some(0));
        assert_eq!(Encoding::Q4K.bytes(128), None);
        assert_eq!(Encoding::F32.bytes(usize::MAX), None);
    }

    #[test]
    #[should_panic(expected = "35 bytes are not 32 values in Q8_0")]
    fn part_of_a_block_is_refused() {
        Encoding::Q8_0.decode(&[0; 35], &mut [0.0; 32]);
    }

    #[test]
    fn a_number_has_one_name_and_a_name_one_number() {
        for &encoding in Encoding::ALL {
            assert_eq!(Encoding::of_ggml(encoding.facts().number), Some(encoding));
            assert_eq!(ggml_name(encoding.facts().number), encoding.to_string());
        }
        let names: BTreeSet<String> = (0..=41).map(ggml_name).collect();
        assert_eq!(names.len(), 42);
        assert_eq!(names.len(), Encoding::ALL.len() + UNREAD.len());
        assert_eq!(
            (ggml_name(21), ggml_name(23), ggml_name(99)),
            ("IQ3_S".into(), "IQ4_XS".into(), "number 99".into())
        );
        assert_eq!(Encoding::of_ggml(21), None);
    }
}
