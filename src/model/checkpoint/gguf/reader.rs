//! The primitives of GGUF, read one after the other, each checked against the end of the file.

use std::fmt;

/// Letters of a text that a message shows.
const SHOWN: usize = 80;

/// A text between `marks`, on one line and not longer than a message bears: files may hold anything.
pub fn quoted(text: &str, mark: char) -> String {
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("{mark}{shown}{rest}{mark}")
}

/// The type of a metadata value, but for arrays, which have one of their elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    U64,
    I64,
    F64,
}

impl Kind {
    /// The type number of an array.
    pub const ARRAY: u32 = 9;

    /// The kind of a type number. `None` for arrays and for numbers that the format does not have.
    pub fn of_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of a value. `None` for texts, which say their own length.
    fn width(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text => None,
        }
    }

    /// What several values of this kind are called.
    pub fn plural(self) -> &'static str {
        match self {
            Self::U8 | Self::I8 | Self::U16 | Self::I16 | Self::U32 | Self::I32 | Self::U64 | Self::I64 => "integers",
            Self::F32 | Self::F64 => "floats",
            Self::Bool => "booleans",
            Self::Text => "strings",
        }
    }
}

/// A metadata value that is no array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            // Digits after the point tell a float from an integer.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text, '"')),
        }
    }
}

/// Reads `bytes` from `at` on. Errors are the reason alone: the caller knows what was being read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of the file `bytes` that begins at byte `at`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The byte of the file that is read next.
    pub fn at(&self) -> usize {
        self.at
    }

    /// # Errors
    ///
    /// As every function here: when the file ends before.
    pub fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match usize::try_from(count).ok().and_then(|count| rest.get(..count)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(format!(
                "truncated: {count} bytes needed at byte {}, {} there: download the file again",
                self.at,
                rest.len()
            )),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and as many bytes of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, String> {
        let length = self.u64()?;
        let at = self.at;
        let bytes = self.take(length)?;
        str::from_utf8(bytes).map_err(|error| {
            let bad = at + error.valid_up_to();
            format!("is not UTF-8 at byte {bad} of the file; valid: UTF-8: the file is damaged or was written wrongly")
        })
    }

    /// A value of this kind.
    pub fn scalar(&mut self, kind: Kind) -> Result<Scalar<'a>, String> {
        Ok(match kind {
            Kind::U8 => Scalar::Unsigned(u8::from_le_bytes(self.array()?).into()),
            Kind::U16 => Scalar::Unsigned(u16::from_le_bytes(self.array()?).into()),
            Kind::U32 => Scalar::Unsigned(self.u32()?.into()),
            Kind::U64 => Scalar::Unsigned(self.u64()?),
            Kind::I8 => Scalar::Signed(i8::from_le_bytes(self.array()?).into()),
            Kind::I16 => Scalar::Signed(i16::from_le_bytes(self.array()?).into()),
            Kind::I32 => Scalar::Signed(i32::from_le_bytes(self.array()?).into()),
            Kind::I64 => Scalar::Signed(i64::from_le_bytes(self.array()?)),
            Kind::F32 => Scalar::Float(f32::from_le_bytes(self.array()?).into()),
            Kind::F64 => Scalar::Float(f64::from_le_bytes(self.array()?)),
            Kind::Bool => match self.array()? {
                [0] => Scalar::Bool(false),
                [1] => Scalar::Bool(true),
                [byte] => {
                    return Err(format!("holds the byte {byte}; valid for a boolean: 0 or 1: the file is damaged"));
                }
            },
            Kind::Text => Scalar::Text(self.text()?),
        })
    }

    /// Goes past `count` values of this kind.
    pub fn skip(&mut self, kind: Kind, count: u64) -> Result<(), String> {
        match kind.width() {
            // A product that is too large is beyond the end of every file, as is the largest number.
            Some(width) => self.take(count.saturating_mul(width)).map(drop),
            None => (0..count).try_for_each(|_| {
                let length = self.u64()?;
                self.take(length).map(drop)
            }),
        }
    }
}
