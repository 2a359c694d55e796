//! The linear layers of a model, each in its own format: shared, immutable, and chosen apart from
//! everything else, so that one process can run many arms over one set of weights.

use std::array;
use std::ops::Index;
use std::sync::Arc;

use super::config::Config;
use super::error::Error;
use super::weights::Matrix;

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

/// One linear layer's weights, shared between the sets that use them.
#[derive(Clone, Debug)]
pub enum Linear {
    /// `f32` weights, multiplied in the canonical order of
    /// [`ops::linear`](septet_kernels::ops::linear).
    F32(Arc<Matrix>),
}

impl Linear {
    /// Output channels.
    pub fn rows(&self) -> usize {
        match self {
            Linear::F32(matrix) => matrix.rows,
        }
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        match self {
            Linear::F32(matrix) => matrix.cols,
        }
    }

    /// The same weights at another address.
    pub fn duplicate(&self) -> Self {
        match self {
            Linear::F32(matrix) => Linear::F32(Arc::new(Matrix::clone(matrix))),
        }
    }

    /// Bytes that one product reads: the weights with their scales and padding.
    pub fn stored_bytes(&self) -> usize {
        match self {
            Linear::F32(matrix) => size_of_val(matrix.values.as_slice()),
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
pub struct LinearSet {
    /// (layers)
    pub layers: Vec<LayerLinears>,
    /// (vocab, hidden); a shape model of some layers has none.
    pub head: Option<Linear>,
}

impl LinearSet {
    /// The same weights at other addresses.
    pub fn duplicate(&self) -> Self {
        Self {
            layers: self.layers.iter().map(|layer| LayerLinears(layer.0.each_ref().map(Linear::duplicate))).collect(),
            head: self.head.as_ref().map(Linear::duplicate),
        }
    }

    /// Checks that every layer is there and has the shape that `config` implies.
    pub(super) fn check(&self, config: &Config) -> Result<(), Error> {
        if self.layers.len() != config.layers {
            return Err(Error::Layers { found: self.layers.len(), expected: config.layers });
        }
        let check = |linear: &Linear, expected| match (linear.rows(), linear.cols()) {
            found if found == expected => Ok(()),
            found => Err(Error::LinearShape { found, expected }),
        };
        for layer in &self.layers {
            for role in Role::ALL {
                check(&layer[role], role.shape(config))?;
            }
        }
        self.head.iter().try_for_each(|head| check(head, (config.vocab, config.hidden)))
    }

    /// Every linear layer: layer by layer in the order of the forward pass, then the head.
    pub fn iter(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(|layer| layer.0.iter()).chain(&self.head)
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
