//! Sixteen rows interleaved: a vector of 64 bytes holds four pairs of each of them.
//!
//! Lane *r* (four bytes) of *code vector* `i` holds the pair codes `4i .. 4i + 4` of row *r*, so that
//! a four-way dot product with four activations leaves the sum of a row in each lane: no
//! horizontal sum, one stream for sixteen rows, sixteen scales at once.
//!
//! Codes of fewer than eight bits leave the top bits of their bytes free. A *unit* stores one code
//! vector in those of the others: seven vectors of septets hold an eighth, three of 6-bit codes a
//! fourth. Byte *l* of the hidden vector is made of the top bits of bytes *l*, the first vector's
//! lowest:
//!
//! ```text
//!   w4    bbbbbbbb              one code vector
//!   w3p5  7aaaaaaa … 7ggggggg   eight code vectors in seven; bit i of the eighth is in vector i
//!   w3    33aaaaaa … 33cccccc   four code vectors in three; bits 2i, 2i + 1 of the fourth
//! ```
//!
//! Codes are stored *biased*, with the sign bits of both members flipped: a field is one AND away
//! from the unsigned operand of the byte products.

use crate::format::Fields;

/// Rows of a stripe.
pub(crate) const STRIPE_ROWS: usize = 16;

/// Bytes of a code vector.
pub(crate) const VECTOR: usize = 64;

/// Pairs of each row in a code vector.
pub(crate) const VECTOR_PAIRS: usize = VECTOR / STRIPE_ROWS;

/// Code vectors that share bits.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// Vectors in memory.
    pub(crate) stored: usize,
    /// Code vectors in them: `stored`, or one more.
    pub(crate) codes: usize,
}

impl Unit {
    /// The unit of codes of 6, 7 or 8 bits.
    pub(crate) const fn of(pair_bits: u32) -> Self {
        let shift = pair_bits.trailing_zeros();
        Self { stored: (pair_bits >> shift) as usize, codes: 8 >> shift }
    }
}

/// Writes the pair codes of up to sixteen rows; absent rows are padded with zero weights.
pub(super) fn pack(fields: Fields, rows: &[&[u8]], bytes: &mut [u8]) {
    let pair_bits = fields.pair_bits();
    let Unit { stored, codes } = Unit::of(pair_bits);
    let signs = fields.code(-(1 << (fields.a_bits - 1)), -(1 << (fields.b_bits - 1)));
    for (unit, vectors) in bytes.chunks_exact_mut(stored * VECTOR).enumerate() {
        for lane in 0..VECTOR {
            let (row, pair) = (lane / VECTOR_PAIRS, lane % VECTOR_PAIRS);
            let code = |vector: usize| {
                signs ^ rows.get(row).map_or(0, |row| row[(unit * codes + vector) * VECTOR_PAIRS + pair])
            };
            let mut hidden = if codes > stored { u32::from(code(stored)) } else { 0 };
            for vector in 0..stored {
                vectors[vector * VECTOR + lane] = code(vector) | (hidden << pair_bits) as u8;
                hidden >>= 8 - pair_bits;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format::Format, level::Level};

    #[test]
    fn units_are_dense() {
        for &format in Format::ALL {
            let bits = format.fields().pair_bits();
            let Unit { stored, codes } = Unit::of(bits);
            assert_eq!(stored * 8, codes * bits as usize, "{format}");
        }
    }

    #[test]
    fn the_eighth_septet_lies_in_the_top_bits_of_seven() {
        let row: Vec<u8> = (0..32).map(|i| (i * 37 % 128) as u8).collect();
        let mut bytes = [0; 7 * VECTOR];
        pack(Format::W3p5.fields(), &[&row, &row], &mut bytes);
        let signs = 0b100_0100;
        for pair in 0..VECTOR_PAIRS {
            let byte = |vector: usize| bytes[vector * VECTOR + VECTOR_PAIRS + pair];
            for vector in 0..7 {
                assert_eq!(byte(vector) & 0x7f, row[vector * VECTOR_PAIRS + pair] ^ signs);
            }
            let hidden = (0..7).fold(0, |code, vector| code | byte(vector) >> 7 << vector);
            assert_eq!(hidden, row[7 * VECTOR_PAIRS + pair] ^ signs);
            assert_eq!(bytes[2 * VECTOR_PAIRS + pair] & 0x7f, signs, "padded rows are zero weights");
        }
    }
}
