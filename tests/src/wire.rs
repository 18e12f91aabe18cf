//! Protocol buffers read without any definitions: numbers of fields and what stands there.
//!
//! A second opinion on messages that the analyzer writes by its own definitions.

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Text, a message, or bytes.
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message<'a>(pub Vec<(u64, Value<'a>)>);

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn read(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Varint(varint(&mut bytes)),
                1 => Value::Fixed64(u64::from_le_bytes(take(&mut bytes))),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(value)
                }
                5 => Value::Fixed32(u32::from_le_bytes(take(&mut bytes))),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = Value<'a>> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| *value)
    }

    /// A number, if it is there.
    #[must_use]
    pub fn number(&self, field: u64) -> Option<u64> {
        self.all(field).next().map(|value| match value {
            Value::Varint(number) | Value::Fixed64(number) => number,
            other => panic!("field {field} is {other:?}"),
        })
    }

    /// A floating-point number, if it is there.
    #[must_use]
    pub fn float(&self, field: u64) -> Option<f64> {
        self.all(field).next().map(|value| match value {
            Value::Fixed64(bits) => f64::from_bits(bits),
            Value::Fixed32(bits) => f64::from(f32::from_bits(bits)),
            other => panic!("field {field} is {other:?}"),
        })
    }

    /// A text, if it is there.
    #[must_use]
    pub fn text(&self, field: u64) -> Option<String> {
        self.texts(field).into_iter().next()
    }

    /// Texts.
    #[must_use]
    pub fn texts(&self, field: u64) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_else(|error| panic!("{error}"));
        self.bytes(field).map(text).collect()
    }

    /// A message, if it is there.
    #[must_use]
    pub fn message(&self, field: u64) -> Option<Self> {
        self.bytes(field).next().map(Self::read)
    }

    /// Messages.
    pub fn messages(&self, field: u64) -> impl Iterator<Item = Self> {
        self.bytes(field).map(Self::read)
    }

    fn bytes(&self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        self.all(field).map(move |value| match value {
            Value::Bytes(bytes) => bytes,
            other => panic!("field {field} is {other:?}"),
        })
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes);
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number of more than ten bytes")
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((value, rest)) = bytes.split_first_chunk() else { panic!("the message ends in a value") };
    *bytes = rest;
    *value
}
