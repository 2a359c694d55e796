//! The linear layers of a model, each in its own format: shared, immutable, and chosen apart from
//! everything else, so that one process can run many arms over one set of weights.

use std::array;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::time::{Duration, Instant};

use septet_kernels::{Format, Granularity, Layout, PackedMatrix, Pages, QuantizeError, QuantizedMatrix};

use super::config::Config;
use super::error::Error;
use super::parts::Matrix;

/// What a linear layer is for. The head is not one of a layer's roles; it belongs to a
/// [`LinearSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Role {
    /// Every role, in the order of the forward pass.
    pub const ALL: [Role; 7] = [Role::Q, Role::K, Role::V, Role::O, Role::Gate, Role::Up, Role::Down];

    /// (rows, cols): outputs and inputs.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        let (hidden, ffn) = (config.hidden, config.ffn);
        match self {
            Role::Q => (config.q_width(), hidden),
            Role::K | Role::V => (config.kv_width(), hidden),
            Role::O => (hidden, config.q_width()),
            Role::Gate | Role::Up => (ffn, hidden),
            Role::Down => (hidden, ffn),
        }
    }
}

/// A linear layer's place in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a layer, counted from 0.
    Layer(usize, Role),
    /// After the last layer.
    Head,
}

impl Place {
    /// (rows, cols): outputs and inputs.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        match self {
            Self::Layer(_, role) => role.shape(config),
            Self::Head => (config.vocab, config.hidden),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer, role) => write!(f, "{role:?} of layer {layer}"),
            Self::Head => f.write_str("the head"),
        }
    }
}

/// How the weights of a linear layer are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    F32,
    Quantized { format: Format, layout: Layout, granularity: Granularity },
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::Quantized { format, layout, granularity } => write!(f, "{format} in {layout}, {granularity}"),
        }
    }
}

/// One linear layer's weights, shared between the sets that use them.
#[derive(Clone, Debug)]
pub enum Linear {
    /// `f32` weights, multiplied in the canonical order of
    /// [`ops::linear`](septet_kernels::ops::linear).
    F32(Arc<Matrix>),
    /// Quantized weights, packed for the kernels of their format and layout.
    Quantized(Arc<PackedMatrix>),
}

/// A linear layer whose codes, if it is quantized, do not lie in a layout yet.
#[derive(Clone, Debug)]
pub(super) enum Unpacked {
    /// Nothing is left to do.
    Ready(Linear),
    Codes(QuantizedMatrix, Layout),
}

impl Unpacked {
    /// `linear` rounded to the codes of `storage`; what is quantized already stays as it is.
    ///
    /// # Errors
    ///
    /// When a scale does not fit.
    fn new(linear: &Linear, storage: Storage) -> Result<Self, QuantizeError> {
        match (linear, storage) {
            (Linear::F32(matrix), Storage::Quantized { format, layout, granularity }) => {
                let Matrix { rows, cols, ref values } = **matrix;
                Ok(Self::Codes(QuantizedMatrix::quantize(values, rows, cols, format, granularity)?, layout))
            }
            _ => Ok(Self::Ready(linear.clone())),
        }
    }

    /// The layer with its codes in their layout.
    ///
    /// # Errors
    ///
    /// When the layout is not offered for the format.
    pub fn packed(&self) -> Result<Linear, QuantizeError> {
        match self {
            Self::Ready(linear) => Ok(linear.clone()),
            Self::Codes(matrix, layout) => Ok(Linear::Quantized(Arc::new(PackedMatrix::pack(matrix, *layout)?))),
        }
    }
}

impl LinearSet<Unpacked> {
    /// The set with its codes in their layouts, and how long that took.
    ///
    /// # Errors
    ///
    /// When a layout is not offered for the format.
    pub(super) fn packed(&self) -> Result<(LinearSet, Duration), Error> {
        let clock = Instant::now();
        let set = self.try_map(|place, linear| linear.packed().map_err(|cause| Error::Quantize { place, cause }))?;
        Ok((set, clock.elapsed()))
    }
}

impl Linear {
    /// Output channels.
    pub fn rows(&self) -> usize {
        match self {
            Linear::F32(matrix) => matrix.rows,
            Linear::Quantized(matrix) => matrix.rows(),
        }
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        match self {
            Linear::F32(matrix) => matrix.cols,
            Linear::Quantized(matrix) => matrix.cols(),
        }
    }

    /// The same weights at another address.
    pub fn duplicate(&self) -> Self {
        match self {
            Linear::F32(matrix) => Linear::F32(Arc::new(Matrix::clone(matrix))),
            Linear::Quantized(matrix) => Linear::Quantized(Arc::new(matrix.duplicate())),
        }
    }

    /// The same weights at another address, the codes of quantized ones in `pages`.
    pub fn duplicate_in(&self, pages: Pages) -> Self {
        match self {
            Linear::F32(_) => self.duplicate(),
            Linear::Quantized(matrix) => Linear::Quantized(Arc::new(matrix.duplicate_in(pages))),
        }
    }

    /// Bytes that one product reads: the weights with their scales and padding.
    pub fn stored_bytes(&self) -> usize {
        match self {
            Linear::F32(matrix) => size_of_val(matrix.values.as_slice()),
            Linear::Quantized(matrix) => matrix.stored_bytes(),
        }
    }
}

/// One value for each [`Role`] of a layer.
#[derive(Clone, Debug)]
pub struct LayerLinears<T = Linear>([T; Role::ALL.len()]);

impl<T> LayerLinears<T> {
    /// Calls `make` for each role in the order of the forward pass.
    ///
    /// # Errors
    ///
    /// The first that `make` returns.
    pub fn try_from_fn<E>(mut make: impl FnMut(Role) -> Result<T, E>) -> Result<Self, E> {
        let mut made = Vec::with_capacity(Role::ALL.len());
        for role in Role::ALL {
            made.push(make(role)?);
        }
        let mut made = made.into_iter();
        // `made` has one element per role, so `next` can not come up empty.
        Ok(Self(array::from_fn(|_| made.next().expect("one for each role"))))
    }
}

impl<T> Index<Role> for LayerLinears<T> {
    type Output = T;

    fn index(&self, role: Role) -> &T {
        &self.0[role as usize]
    }
}

/// The linear layers of a whole model. Formats may differ from one to the next.
#[derive(Clone, Debug)]
pub struct LinearSet<T = Linear> {
    /// (layers)
    pub layers: Vec<LayerLinears<T>>,
    /// (vocab, hidden); a shape model of some layers has none.
    pub head: Option<T>,
}

impl<T> LinearSet<T> {
    /// A set of what `f` makes of each linear layer, in the order of the forward pass.
    ///
    /// # Errors
    ///
    /// The first that `f` returns.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(Place, &T) -> Result<U, E>) -> Result<LinearSet<U>, E> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for (layer, linears) in self.layers.iter().enumerate() {
            layers.push(LayerLinears::try_from_fn(|role| f(Place::Layer(layer, role), &linears[role]))?);
        }
        let head = self.head.as_ref().map(|head| f(Place::Head, head)).transpose()?;
        Ok(LinearSet { layers, head })
    }

    /// Every linear layer: layer by layer in the order of the forward pass, then the head.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.layers.iter().flat_map(|layer| layer.0.iter()).chain(&self.head)
    }
}

impl LinearSet {
    /// The set with each layer kept as `storage` says; formats may be mixed. What is quantized
    /// already stays as it is.
    ///
    /// # Errors
    ///
    /// When a matrix can not be quantized to its storage.
    pub fn stored(&self, storage: impl Fn(Place) -> Storage) -> Result<Self, Error> {
        self.try_map(|place, linear| {
            let stored = Unpacked::new(linear, storage(place)).and_then(|unpacked| unpacked.packed());
            stored.map_err(|cause| Error::Quantize { place, cause })
        })
    }

    /// The same weights at other addresses.
    pub fn duplicate(&self) -> Self {
        Self {
            layers: self.layers.iter().map(|layer| LayerLinears(layer.0.each_ref().map(Linear::duplicate))).collect(),
            head: self.head.as_ref().map(Linear::duplicate),
        }
    }

    /// The same weights at other addresses, the codes of quantized ones in `pages`.
    pub fn duplicate_in(&self, pages: Pages) -> Self {
        let layer = |layer: &LayerLinears| LayerLinears(layer.0.each_ref().map(|linear| linear.duplicate_in(pages)));
        Self {
            layers: self.layers.iter().map(layer).collect(),
            head: self.head.as_ref().map(|head| head.duplicate_in(pages)),
        }
    }

    /// Checks that every layer is there and has the shape that `config` implies.
    pub(super) fn check(&self, config: &Config) -> Result<(), Error> {
        if self.layers.len() != config.layers {
            return Err(Error::Layers { found: self.layers.len(), expected: config.layers });
        }
        let checked: Result<LinearSet<()>, Error> = self.try_map(|place, linear| {
            let expected = place.shape(config);
            match (linear.rows(), linear.cols()) {
                found if found == expected => Ok(()),
                found => Err(Error::LinearShape { place, found, expected }),
            }
        });
        checked.map(|_| ())
    }

    /// Bytes of weights that one token reads.
    pub fn stored_bytes(&self) -> usize {
        self.iter().map(Linear::stored_bytes).sum()
    }

    /// Number of weights, padding not counted.
    pub fn weights(&self) -> usize {
        self.iter().map(|linear| linear.rows() * linear.cols()).sum()
    }
}
