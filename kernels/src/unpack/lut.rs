//! Sign extension by a table of 16 entries: the published "sign-extension LUT".

use super::{ScalarUnpack, Unpack, VectorUnpack, mask};
use crate::{format::PairFormat, isa::Vector};

/// The strategy `lut` as a type.
pub struct Lut;

/// Two's complement fields of 4 bits.
static SIGNED_4: [i8; 16] = signed(4);
/// Two's complement fields of 3 bits.
static SIGNED_3: [i8; 16] = signed(3);
/// The same fields plus 8, for the vector form.
static BIASED_4: [u8; 16] = biased(4);
/// The same fields plus 4.
static BIASED_3: [u8; 16] = biased(3);

const fn signed(bits: u32) -> [i8; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let field = (i as u32 & mask(bits)) as i8;
        table[i] = if field >= 1 << (bits - 1) { field - (1 << bits) } else { field };
        i += 1;
    }
    table
}

const fn biased(bits: u32) -> [u8; 16] {
    let signed = signed(bits);
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = (signed[i] + (1 << (bits - 1))) as u8;
        i += 1;
    }
    table
}

impl ScalarUnpack for Lut {
    const UNPACK: Unpack = Unpack::Lut;
    const BIASED: bool = false;

    #[inline(always)]
    fn weight(field: u32, bits: u32) -> i32 {
        let table = if bits == 4 { &SIGNED_4 } else { &SIGNED_3 };
        i32::from(table[(field & mask(bits)) as usize])
    }
}

/// The table of a byte shuffle is free to hold any bytes, so it holds the biased weights.
impl VectorUnpack for Lut {
    const UNPACK: Unpack = Unpack::Lut;

    #[inline(always)]
    fn a_shift<F: PairFormat, V: Vector>() -> u32 {
        0
    }

    #[inline(always)]
    fn fields<F: PairFormat, V: Vector>(v: V, codes: V::Bytes) -> (V::Bytes, V::Bytes) {
        let look_up = |field: V::Bytes, bits: u32| {
            let table = if bits == 4 { &BIASED_4 } else { &BIASED_3 };
            v.look_up(v.table(table), v.and(field, v.splat(mask(bits) as u8)))
        };
        (look_up(v.shift_right(codes, F::B_BITS), F::A_BITS), look_up(codes, F::B_BITS))
    }
}
