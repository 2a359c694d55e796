//! A quantized matrix in a layout: what a kernel reads.

use std::ops::Range;

use crate::{
    error::QuantizeError,
    format::Format,
    granularity::Granularity,
    layout::Layout,
    pages::{PagedBytes, Pages},
    quantized::QuantizedMatrix,
};

/// Readable bytes behind the last code, so that a kernel may load whole vectors at the end.
pub const TAIL: usize = 64;

/// Codes begin at a multiple of this many bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A `rows × cols` matrix, packed stripe after stripe.
#[derive(Debug)]
pub struct PackedMatrix {
    format: Format,
    layout: Layout,
    granularity: Granularity,
    rows: usize,
    cols: usize,
    /// `(stripes, segments, segment_bytes)`, then [`TAIL`] zero bytes.
    codes: PagedBytes,
    /// f16 bits, indexed by [`Layout::scale_index`].
    scales: Vec<u16>,
}

impl PackedMatrix {
    /// Packs `matrix` into `layout`.
    ///
    /// # Errors
    /// The layout is not offered for the matrix's format or granularity.
    pub fn pack(matrix: &QuantizedMatrix, layout: Layout) -> Result<Self, QuantizeError> {
        let format = matrix.format();
        let granularity = matrix.granularity();
        if let Some(reason) = layout.infeasible_under(format, granularity) {
            return Err(QuantizeError::Layout { layout, format, granularity, reason });
        }
        let mut packed = Self {
            format,
            layout,
            granularity,
            rows: matrix.rows(),
            cols: matrix.cols(),
            codes: PagedBytes::zeroed(0, ALIGNMENT, Pages::System),
            scales: layout.order_scales(matrix),
        };
        let (stripes, stripe_bytes, stripe_rows) = (packed.stripes(), packed.stripe_bytes(), layout.stripe_rows());
        packed.codes = packed.zeros(Pages::System);
        for (stripe, bytes) in packed.codes.chunks_exact_mut(stripe_bytes).take(stripes).enumerate() {
            let first = stripe * stripe_rows;
            let rows: Vec<&[u8]> =
                (first..(first + stripe_rows).min(matrix.rows())).map(|row| matrix.row_codes(row)).collect();
            layout.pack_stripe(format, &rows, bytes);
        }
        Ok(packed)
    }

    /// A copy at another address, for rotations that exceed the caches, in pages of the same kind.
    pub fn duplicate(&self) -> Self {
        self.duplicate_in(self.codes.pages())
    }

    /// A copy at another address whose codes lie in `pages`. Scales, a few hundredths of the bytes, stay
    /// where the system puts them.
    pub fn duplicate_in(&self, pages: Pages) -> Self {
        let mut codes = self.zeros(pages);
        codes.copy_from_slice(&self.codes);
        Self { codes, scales: self.scales.clone(), ..*self }
    }

    /// Room for the codes.
    fn zeros(&self, pages: Pages) -> PagedBytes {
        PagedBytes::zeroed(self.code_bytes() + TAIL, ALIGNMENT, pages)
    }

    /// The addresses of the codes, for asking the system which pages they lie in.
    pub fn code_addresses(&self) -> Range<usize> {
        self.codes.addresses()
    }

    /// Format of the codes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Layout of the codes.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Which weights share a scale.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Output channels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input dimension K.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Weights of one integer sum.
    pub fn segment(&self) -> usize {
        self.granularity.segment()
    }

    /// Segments of a row, the last one padded.
    pub fn segments(&self) -> usize {
        self.cols.div_ceil(self.segment())
    }

    /// Groups of [`Layout::stripe_rows`] rows, the last one padded.
    pub fn stripes(&self) -> usize {
        self.rows.div_ceil(self.layout.stripe_rows())
    }

    /// Bytes of the codes of one segment of a stripe.
    pub fn segment_bytes(&self) -> usize {
        self.segment() / 2 * self.layout.pair_bits(self.format) as usize / 8 * self.layout.stripe_rows()
    }

    /// Bytes of the codes of one stripe.
    pub fn stripe_bytes(&self) -> usize {
        self.segments() * self.segment_bytes()
    }

    /// Bytes that a product reads: codes, scales and padding.
    pub fn stored_bytes(&self) -> usize {
        self.code_bytes() + 2 * self.scales.len()
    }

    /// Stored bits for each weight: codes, scales and padding.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.stored_bytes() as f64 / (self.rows * self.cols) as f64
    }

    /// The codes of all rows, with [`TAIL`] readable bytes behind them.
    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The codes from the stripe on that begins with `row`, and [`TAIL`] bytes.
    pub(crate) fn codes_from(&self, row: usize) -> &[u8] {
        &self.codes()[row / self.layout.stripe_rows() * self.stripe_bytes()..]
    }

    fn code_bytes(&self) -> usize {
        self.stripes() * self.stripe_bytes()
    }

    /// f16 bits of all scales.
    pub(crate) fn scales(&self) -> &[u16] {
        &self.scales
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;

    fn packed(format: Format, layout: Layout, granularity: Granularity) -> PackedMatrix {
        PackedMatrix::pack(&QuantizedMatrix::random(3, 256, format, granularity, 1).unwrap(), layout).unwrap()
    }

    #[test]
    fn stored_bits_are_those_of_the_documentation() {
        let bits = |f, l, g| packed(f, l, g).bits_per_weight();
        let (dense, g128) = (Layout::Dense, Granularity::Group128);
        assert_eq!(bits(Format::W4, dense, g128), 4.125);
        assert_eq!(bits(Format::W3p5, dense, g128), 3.625);
        assert_eq!(bits(Format::W3, dense, g128), 3.125);
        assert_eq!(bits(Format::W3p5, Layout::BytePerPair, g128), 4.125);
        assert_eq!(bits(Format::W3p5, dense, Granularity::Group32), 4.0);
        assert_eq!(packed(Format::W3p5, dense, g128).segment_bytes(), 56);
    }

    #[test]
    fn padding_counts_as_stored() {
        let matrix = QuantizedMatrix::random(1, 172, Format::W3p5, Granularity::Group128, 1).unwrap();
        assert_eq!(PackedMatrix::pack(&matrix, Layout::Dense).unwrap().stored_bytes(), 2 * 56 + 2 * 2);
    }

    #[test]
    fn sixteen_rows_are_as_dense_as_one_and_padded_together() {
        for &format in Format::ALL {
            let pack = |rows, layout| {
                let matrix = QuantizedMatrix::random(rows, 256, format, Granularity::Group128, 1).unwrap();
                PackedMatrix::pack(&matrix, layout).unwrap().stored_bytes()
            };
            assert_eq!(pack(32, Layout::Rows16), pack(32, Layout::Dense));
            assert_eq!(pack(17, Layout::Rows16), pack(32, Layout::Dense));
        }
    }

    #[test]
    fn septets_refuse_groups_of_32_in_sixteen_rows() {
        let pack = |format, granularity| {
            PackedMatrix::pack(&QuantizedMatrix::random(3, 256, format, granularity, 1).unwrap(), Layout::Rows16)
        };
        assert!(matches!(pack(Format::W3p5, Granularity::Group32), Err(QuantizeError::Layout { .. })));
        assert!(pack(Format::W3p5, Granularity::Group64).is_ok());
        assert!(pack(Format::W3, Granularity::Group32).is_ok());
        assert!(pack(Format::W4, Granularity::Group32).is_ok());
    }

    #[test]
    fn a_duplicate_holds_the_same_codes_elsewhere() {
        let one = packed(Format::W3, Layout::Dense, Granularity::Channel);
        let two = one.duplicate();
        assert_eq!(one.codes(), two.codes());
        assert_ne!(one.codes().as_ptr(), two.codes().as_ptr());
        assert_eq!(two.codes().as_ptr() as usize % ALIGNMENT, 0);
    }

    #[test]
    fn codes_are_the_same_in_every_kind_of_page() {
        let one = packed(Format::W3p5, Layout::Rows16, Granularity::Group128);
        for &pages in Pages::ALL {
            let copy = one.duplicate_in(pages);
            assert_eq!((copy.codes(), copy.scales()), (one.codes(), one.scales()));
            assert_eq!(copy.duplicate().codes.pages(), pages);
            assert_eq!(copy.code_addresses().start % ALIGNMENT, 0);
        }
    }

    #[test]
    fn septets_lie_as_a_bit_stream() {
        let codes: Vec<u8> = (0..16).map(|i| (i * 37 % 128) as u8).collect();
        let mut bytes = [0u8; 14];
        Layout::Dense.pack_stripe(Format::W3p5, &[&codes], &mut bytes);
        let stream = bytes.iter().rev().fold(0u128, |s, &b| s << 8 | u128::from(b));
        let back: Vec<u8> = (0..16).map(|i| (stream >> (7 * i)) as u8 & 0x7f).collect();
        assert_eq!(back, codes);
    }
}
