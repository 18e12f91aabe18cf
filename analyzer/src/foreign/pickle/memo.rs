//! What a pickle has stored to refer to later.

use rustc_hash::FxHashMap;

use super::heap::Value;

/// Numbers are given out one after the other, in a list; others, which no pickler makes, are kept apart: a number says
/// nothing of how much there is to store.
#[derive(Debug, Default)]
pub(super) struct Memo {
    dense: Vec<Value>,
    sparse: FxHashMap<u64, Value>,
}

/// Of an entry that lies apart.
const SPARSE_BYTES: u64 = 48;

impl Memo {
    /// Stores under the next number.
    #[inline]
    pub(super) fn push(&mut self, value: Value) {
        if self.sparse.is_empty() {
            self.dense.push(value);
        } else {
            self.put((self.dense.len() + self.sparse.len()) as u64, value);
        }
    }

    #[inline]
    pub(super) fn put(&mut self, index: u64, value: Value) {
        if index == self.dense.len() as u64 {
            self.dense.push(value);
        } else if let Some(place) = self.dense.get_mut(usize::try_from(index).unwrap_or(usize::MAX)) {
            *place = value;
        } else {
            self.sparse.insert(index, value);
        }
    }

    #[inline]
    pub(super) fn get(&self, index: u64) -> Option<Value> {
        let dense = self.dense.get(usize::try_from(index).unwrap_or(usize::MAX));
        dense.or_else(|| self.sparse.get(&index)).copied()
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.dense.len() * size_of::<Value>()) as u64 + self.sparse.len() as u64 * SPARSE_BYTES
    }
}
