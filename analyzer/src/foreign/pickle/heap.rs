//! Values of a pickle, and the containers among them.
//!
//! A container is a number; its contents lie in a list of their own until a [`Fold`] turns them into something
//! smaller. Sharing stays sharing: what the file stores once is here once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Number of a text.
pub(crate) type TextId = u32;
/// Number of a container.
pub(crate) type ObjectId = u32;

/// A value: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above that range, for instance an address.
    Unsigned(u64),
    /// A float.
    Float(f64),
    /// A text.
    Text(TextId),
    /// A container: list, tuple or dict.
    Object(ObjectId),
    /// What a fold made of a dict.
    Folded(Folded),
    /// Something that no snapshot needs: bytes, an integer beyond 64 bits.
    Opaque,
}

/// What a fold made of a dict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folded {
    /// The folder's word for what it is.
    pub kind: u8,
    /// The folder's number for it.
    pub index: u32,
}

/// A container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Number of its contents.
    List(u32),
    /// A dict's contents are keys and values by turns.
    Dict(u32),
    Folded(Folded),
}

/// What has been read.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    texts: Vec<Arc<str>>,
    text_ids: FxHashMap<Arc<str>, TextId>,
    slots: Vec<Slot>,
    contents: Vec<Vec<Value>>,
    vacant: Vec<u32>,
    /// What all of it takes, without the allocator's rounding.
    bytes: u64,
}

/// What a text takes besides its own bytes: two counters, two pointers to it, its number, its part of the table.
const TEXT_BYTES: u64 = 80;
const SLOT_BYTES: u64 = size_of::<Slot>() as u64;
const CONTENTS_BYTES: u64 = size_of::<Vec<Value>>() as u64;
const VALUE_BYTES: u64 = size_of::<Value>() as u64;

impl Heap {
    /// With these texts, numbered from 0 on.
    #[must_use]
    pub(crate) fn with_texts(texts: &[&str]) -> Self {
        let mut heap = Self::default();
        for text in texts {
            heap.text_id(text);
        }
        heap
    }

    /// Memory that it takes, about.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of a text.
    pub(crate) fn text_id(&mut self, text: &str) -> TextId {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as TextId;
        let shared: Arc<str> = text.into();
        self.texts.push(Arc::clone(&shared));
        self.text_ids.insert(shared, id);
        self.bytes += TEXT_BYTES + text.len() as u64;
        id
    }

    /// The text of a number.
    #[must_use]
    pub(crate) fn text(&self, id: TextId) -> &str {
        &self.texts[id as usize]
    }

    /// A new list or tuple.
    pub(super) fn new_list(&mut self, values: &[Value]) -> Value {
        let contents = self.new_contents(values);
        self.new_slot(Slot::List(contents))
    }

    /// A new dict of keys and values by turns.
    pub(super) fn new_dict(&mut self, values: &[Value]) -> Value {
        let contents = self.new_contents(values);
        self.new_slot(Slot::Dict(contents))
    }

    fn new_contents(&mut self, values: &[Value]) -> u32 {
        self.bytes += VALUE_BYTES * values.len() as u64;
        if let Some(vacant) = self.vacant.pop() {
            self.contents[vacant as usize].extend_from_slice(values);
            return vacant;
        }
        self.contents.push(values.to_vec());
        self.bytes += CONTENTS_BYTES;
        self.contents.len() as u32 - 1
    }

    fn new_slot(&mut self, slot: Slot) -> Value {
        self.slots.push(slot);
        self.bytes += SLOT_BYTES;
        Value::Object(self.slots.len() as ObjectId - 1)
    }

    /// A dict without contents yet.
    pub(super) fn is_empty_dict(&self, id: ObjectId) -> bool {
        matches!(self.slots[id as usize], Slot::Dict(contents) if self.contents[contents as usize].is_empty())
    }

    /// Adds to a list; false if it is none.
    pub(super) fn extend_list(&mut self, id: ObjectId, values: &[Value]) -> bool {
        let Slot::List(contents) = self.slots[id as usize] else { return false };
        self.contents[contents as usize].extend_from_slice(values);
        self.bytes += VALUE_BYTES * values.len() as u64;
        true
    }

    /// Adds to a dict; false if it is none.
    pub(super) fn extend_dict(&mut self, id: ObjectId, values: &[Value]) -> bool {
        let Slot::Dict(contents) = self.slots[id as usize] else { return false };
        self.contents[contents as usize].extend_from_slice(values);
        self.bytes += VALUE_BYTES * values.len() as u64;
        true
    }

    /// Puts what a fold has made in the place of a container, whose contents are dropped.
    pub(crate) fn replace(&mut self, id: ObjectId, folded: Folded) {
        let slot = std::mem::replace(&mut self.slots[id as usize], Slot::Folded(folded));
        if let Slot::List(contents) | Slot::Dict(contents) = slot {
            let values = &mut self.contents[contents as usize];
            self.bytes -= VALUE_BYTES * values.len() as u64;
            // Lists of a hundred thousand entries are rare, and not to be kept for a dict of ten.
            if values.capacity() > 64 {
                *values = Vec::new();
            }
            values.clear();
            self.vacant.push(contents);
        }
    }

    /// A value, with what a fold has made in the place of a container.
    #[inline]
    #[must_use]
    pub(crate) fn resolve(&self, value: Value) -> Value {
        match value {
            Value::Object(id) => match self.slots[id as usize] {
                Slot::Folded(folded) => Value::Folded(folded),
                _ => value,
            },
            _ => value,
        }
    }

    /// The contents of a list or tuple.
    #[must_use]
    pub(crate) fn list(&self, value: Value) -> Option<&[Value]> {
        match self.slot(value)? {
            Slot::List(contents) => Some(&self.contents[contents as usize]),
            _ => None,
        }
    }

    /// The contents of a dict that was not folded: keys and values by turns.
    #[must_use]
    pub(crate) fn dict(&self, value: Value) -> Option<&[Value]> {
        match self.slot(value)? {
            Slot::Dict(contents) => Some(&self.contents[contents as usize]),
            _ => None,
        }
    }

    fn slot(&self, value: Value) -> Option<Slot> {
        match value {
            Value::Object(id) => self.slots.get(id as usize).copied(),
            _ => None,
        }
    }
}

impl Value {
    /// As an integer that is no address.
    #[must_use]
    pub(crate) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Bool(flag) => Some(i64::from(flag)),
            _ => None,
        }
    }

    /// As an address.
    #[must_use]
    pub(crate) fn as_u64(self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(number).ok(),
            Self::Unsigned(number) => Some(number),
            _ => None,
        }
    }

    /// As the number of a text.
    #[must_use]
    pub(crate) fn as_text(self) -> Option<TextId> {
        match self {
            Self::Text(id) => Some(id),
            _ => None,
        }
    }
}
