//! One column of a table: name, type, unit, nullability and meaning.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The types that columns have. On disk they are plain Parquet types that every reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 16-bit integer.
    I16,
    /// Double precision float.
    F64,
    /// UTF-8 text, dictionary-encoded.
    Text,
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    Time,
}

impl ColumnType {
    /// The Arrow type in memory: text is a dictionary, so that a repeated name costs four bytes a row.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::U64 => DataType::UInt64,
            Self::I64 => DataType::Int64,
            Self::U32 => DataType::UInt32,
            Self::I16 => DataType::Int16,
            Self::F64 => DataType::Float64,
            Self::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        }
    }

    /// Whether a file's column of Arrow type `found` holds this type.
    #[must_use]
    pub fn accepts(self, found: &DataType) -> bool {
        match (self, found) {
            (Self::Text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => true,
            (Self::Text, DataType::Dictionary(_, value)) => self.accepts(value),
            (Self::Time, DataType::Timestamp(TimeUnit::Nanosecond, Some(_))) => true,
            (Self::Time, _) => false,
            (_, found) => self.arrow() == *found,
        }
    }

    /// The type's name in `FORMAT.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::U32 => "u32",
            Self::I16 => "i16",
            Self::F64 => "f64",
            Self::Text => "text",
            Self::Time => "timestamp(ns, UTC)",
        }
    }

    /// The Parquet type on disk, as other readers call it.
    #[must_use]
    pub fn parquet(self) -> &'static str {
        match self {
            Self::U64 => "INT64 (UINT_64)",
            Self::I64 => "INT64",
            Self::U32 => "INT32 (UINT_32)",
            Self::I16 => "INT32 (INT_16)",
            Self::F64 => "DOUBLE",
            Self::Text => "BYTE_ARRAY (STRING)",
            Self::Time => "INT64 (TIMESTAMP(NANOS, UTC))",
        }
    }
}

/// A column as the format defines it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in files, reports and SQL.
    pub name: &'static str,
    /// Type.
    pub column_type: ColumnType,
    /// Whether null, which always means unknown or not applicable, may occur.
    pub nullable: bool,
    /// Unit, or empty for a pure number or name.
    pub unit: &'static str,
    /// What it holds.
    pub doc: &'static str,
}

impl Column {
    /// The Arrow field in memory.
    #[must_use]
    pub fn field(&self) -> Field {
        Field::new(self.name, self.column_type.arrow(), self.nullable)
    }
}
