//! A quantized matrix in a layout: what a kernel reads.

use std::{
    fmt,
    ops::{Deref, Range},
    sync::Arc,
};

use half::f16;

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

/// Bytes that belong to somebody else, such as a file that is mapped.
pub type SharedBytes = Arc<dyn Deref<Target = [u8]> + Send + Sync>;

/// Where the codes of a matrix lie.
enum Codes {
    Own(PagedBytes),
    /// At any address.
    Shared(SharedBytes),
}

impl Deref for Codes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Without the bytes, which may be gigabytes.
impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// What a packed matrix is: enough to say how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedShape {
    /// Format of the codes.
    pub format: Format,
    /// Layout of the codes.
    pub layout: Layout,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// Output channels.
    pub rows: usize,
    /// Input dimension K.
    pub cols: usize,
}

impl PackedShape {
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

    /// Bytes of the codes of all rows, padding included.
    pub fn code_bytes(&self) -> usize {
        self.stripes() * self.stripe_bytes()
    }

    /// Bytes of [`PackedMatrix::codes`]: the codes, and some that may be read behind the last.
    pub fn codes_len(&self) -> usize {
        self.code_bytes() + TAIL
    }

    /// Scales of all rows, padding included: the length of [`PackedMatrix::scales`].
    pub fn scale_count(&self) -> usize {
        self.granularity.scale_count(self.rows.next_multiple_of(self.layout.stripe_rows()), self.segments())
    }

    /// The shape, or why no matrix has it.
    fn checked(self) -> Result<Self, QuantizeError> {
        let Self { format, layout, granularity, rows, cols } = self;
        if rows == 0 || cols == 0 {
            return Err(QuantizeError::Empty { rows, cols });
        }
        match layout.infeasible_under(format, granularity) {
            Some(reason) => Err(QuantizeError::Layout { layout, format, granularity, reason }),
            None => Ok(self),
        }
    }
}

/// A `rows × cols` matrix, packed stripe after stripe.
#[derive(Debug)]
pub struct PackedMatrix {
    shape: PackedShape,
    /// `(stripes, segments, segment_bytes)`, then [`TAIL`] bytes.
    codes: Codes,
    /// f16 bits, indexed by [`Layout::scale_index`].
    scales: Vec<u16>,
}

impl PackedMatrix {
    /// Packs `matrix` into `layout`.
    ///
    /// # Errors
    /// The layout is not offered for the matrix's format or granularity.
    pub fn pack(matrix: &QuantizedMatrix, layout: Layout) -> Result<Self, QuantizeError> {
        let (format, granularity) = (matrix.format(), matrix.granularity());
        let shape = PackedShape { format, layout, granularity, rows: matrix.rows(), cols: matrix.cols() }.checked()?;
        let mut codes = zeros(&shape, Pages::System);
        let stripe_rows = layout.stripe_rows();
        for (stripe, bytes) in codes.chunks_exact_mut(shape.stripe_bytes()).take(shape.stripes()).enumerate() {
            let first = stripe * stripe_rows;
            let rows: Vec<&[u8]> =
                (first..(first + stripe_rows).min(matrix.rows())).map(|row| matrix.row_codes(row)).collect();
            layout.pack_stripe(format, &rows, bytes);
        }
        Ok(Self { shape, codes: Codes::Own(codes), scales: layout.order_scales(matrix) })
    }

    /// A matrix that was packed before: what [`PackedMatrix::codes`] and [`PackedMatrix::scales`] gave. Any
    /// codes stand for weights.
    ///
    /// # Errors
    /// An empty shape, a layout that is not offered, a wrong number of codes or scales, or a scale that is not
    /// finite.
    pub fn from_stored(shape: PackedShape, codes: SharedBytes, scales: Vec<u16>) -> Result<Self, QuantizeError> {
        let shape = shape.checked()?;
        let expected = (shape.codes_len(), shape.scale_count());
        if (codes.len(), scales.len()) != expected {
            let (codes, scales) = ((codes.len(), expected.0), (scales.len(), expected.1));
            return Err(QuantizeError::Parts { codes, scales });
        }
        match scales.iter().map(|bits| f16::from_bits(*bits)).find(|scale| !scale.is_finite()) {
            Some(scale) => Err(QuantizeError::Scale { value: scale.to_f32() }),
            None => Ok(Self { shape, codes: Codes::Shared(codes), scales }),
        }
    }

    /// A copy at another address, for rotations that exceed the caches, in pages of the same kind.
    pub fn duplicate(&self) -> Self {
        self.duplicate_in(match &self.codes {
            Codes::Own(bytes) => bytes.pages(),
            Codes::Shared(_) => Pages::System,
        })
    }

    /// A copy at another address whose codes lie in `pages`. Scales, a few hundredths of the bytes, stay
    /// where the system puts them.
    pub fn duplicate_in(&self, pages: Pages) -> Self {
        let mut codes = zeros(&self.shape, pages);
        codes.copy_from_slice(&self.codes);
        Self { shape: self.shape, codes: Codes::Own(codes), scales: self.scales.clone() }
    }

    /// The addresses of the codes, for asking the system which pages they lie in.
    pub fn code_addresses(&self) -> Range<usize> {
        let bytes = self.codes.as_ptr_range();
        bytes.start as usize..bytes.end as usize
    }

    /// Format, layout, granularity, rows and columns.
    pub fn shape(&self) -> PackedShape {
        self.shape
    }

    /// Format of the codes.
    pub fn format(&self) -> Format {
        self.shape.format
    }

    /// Layout of the codes.
    pub fn layout(&self) -> Layout {
        self.shape.layout
    }

    /// Which weights share a scale.
    pub fn granularity(&self) -> Granularity {
        self.shape.granularity
    }

    /// Output channels.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Input dimension K.
    pub fn cols(&self) -> usize {
        self.shape.cols
    }

    /// Weights of one integer sum.
    pub fn segment(&self) -> usize {
        self.shape.segment()
    }

    /// Segments of a row, the last one padded.
    pub fn segments(&self) -> usize {
        self.shape.segments()
    }

    /// Groups of [`Layout::stripe_rows`] rows, the last one padded.
    pub fn stripes(&self) -> usize {
        self.shape.stripes()
    }

    /// Bytes of the codes of one segment of a stripe.
    pub fn segment_bytes(&self) -> usize {
        self.shape.segment_bytes()
    }

    /// Bytes of the codes of one stripe.
    pub fn stripe_bytes(&self) -> usize {
        self.shape.stripe_bytes()
    }

    /// Bytes that a product reads: codes, scales and padding.
    pub fn stored_bytes(&self) -> usize {
        self.shape.code_bytes() + 2 * self.scales.len()
    }

    /// Stored bits for each weight: codes, scales and padding.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.stored_bytes() as f64 / (self.rows() * self.cols()) as f64
    }

    /// The codes of all rows, with some readable bytes behind them.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The codes from the stripe on that begins with `row`, and [`TAIL`] bytes.
    pub(crate) fn codes_from(&self, row: usize) -> &[u8] {
        &self.codes()[row / self.layout().stripe_rows() * self.stripe_bytes()..]
    }

    /// f16 bits of all scales, those of the rows of a stripe together.
    pub fn scales(&self) -> &[u16] {
        &self.scales
    }
}

/// Room for the codes of `shape`, in `pages`.
fn zeros(shape: &PackedShape, pages: Pages) -> PagedBytes {
    PagedBytes::zeroed(shape.codes_len(), ALIGNMENT, pages)
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
            let Codes::Own(bytes) = copy.duplicate().codes else { panic!("a copy is its own") };
            assert_eq!(bytes.pages(), pages);
            assert_eq!(copy.code_addresses().start % ALIGNMENT, 0);
        }
    }

    #[test]
    fn a_stored_matrix_is_the_same_and_must_be_whole() {
        for &layout in [Layout::Dense, Layout::Rows16].iter() {
            let one = packed(Format::W3p5, layout, Granularity::Group128);
            let shape = one.shape();
            let stored = |shape, codes: &[u8], scales: &[u16]| {
                PackedMatrix::from_stored(shape, Arc::new(codes.to_vec()), scales.to_vec())
            };
            let again = stored(shape, one.codes(), one.scales()).unwrap();
            assert_eq!((again.codes(), again.scales()), (one.codes(), one.scales()));
            assert_eq!(again.duplicate().codes(), one.codes());

            let parts = |result| matches!(result, Err(QuantizeError::Parts { .. }));
            assert!(parts(stored(shape, &one.codes()[1..], one.scales())));
            assert!(parts(stored(shape, one.codes(), &one.scales()[1..])));
            assert!(parts(stored(PackedShape { rows: 17, ..shape }, one.codes(), one.scales())));
            let infinite = vec![f16::INFINITY.to_bits(); one.scales().len()];
            assert!(matches!(stored(shape, one.codes(), &infinite), Err(QuantizeError::Scale { .. })));
            let empty = PackedShape { cols: 0, ..shape };
            assert!(matches!(stored(empty, one.codes(), one.scales()), Err(QuantizeError::Empty { .. })));
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
