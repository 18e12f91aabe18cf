//! Element types of tensors.

use super::error::{ModelError, known_words};

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// `float64`.
    Float64,
    /// `float32`.
    Float32,
    /// `float16`.
    Float16,
    /// `bfloat16`.
    BFloat16,
    /// `int64`: indices.
    Int64,
    /// `bool`: masks.
    Bool,
}

/// Every name of the element types that a model may have, torch's own first.
const NAMES: [(&str, DataType); 12] = [
    ("float32", DataType::Float32),
    ("fp32", DataType::Float32),
    ("float", DataType::Float32),
    ("bfloat16", DataType::BFloat16),
    ("bf16", DataType::BFloat16),
    ("float16", DataType::Float16),
    ("fp16", DataType::Float16),
    ("half", DataType::Float16),
    ("float64", DataType::Float64),
    ("fp64", DataType::Float64),
    ("double", DataType::Float64),
    ("int64", DataType::Int64),
];

impl DataType {
    /// Bytes of an element.
    #[must_use]
    pub const fn size_bytes(self) -> i64 {
        match self {
            Self::Float64 | Self::Int64 => 8,
            Self::Float32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
            Self::Bool => 1,
        }
    }

    /// Torch's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Int64 => "int64",
            Self::Bool => "bool",
        }
    }

    /// Whether it is a real number, that is: can have a gradient.
    #[must_use]
    pub const fn is_floating(self) -> bool {
        !matches!(self, Self::Int64 | Self::Bool)
    }

    /// Whether it has sixteen bits.
    #[must_use]
    pub const fn is_half(self) -> bool {
        matches!(self, Self::Float16 | Self::BFloat16)
    }

    /// The type of that name, with or without `torch.` before it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }

    /// The type of that name, for a parameter or an activation.
    ///
    /// # Errors
    /// If there is none, or it is no floating type.
    pub fn floating(at: &str, name: &str) -> Result<Self, ModelError> {
        Self::named(name).filter(|found| found.is_floating()).ok_or_else(|| ModelError::UnknownWord {
            at: at.to_owned(),
            what: "element type",
            found: name.to_owned(),
            known: known_words(
                NAMES.iter().filter(|(_, found)| found.is_floating()).map(|(known, _)| *known),
            ),
        })
    }
}
