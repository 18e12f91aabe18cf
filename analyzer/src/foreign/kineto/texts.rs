//! Texts that occur again and again, each kept once.

use rustc_hash::FxHashMap;

/// Bytes of all texts together: a file of nothing but different texts must not fill memory.
const MAX_BYTES: usize = 64 << 20;

/// Texts by number. Number 0 stands for all that no longer fitted.
#[derive(Debug)]
pub(super) struct Texts {
    numbers: FxHashMap<Box<[u8]>, u32>,
    written: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Texts {
    /// With a text for those that do not fit.
    pub(super) fn new(overflow: &str) -> Self {
        let overflow: Box<[u8]> = overflow.as_bytes().into();
        Self { numbers: FxHashMap::default(), written: vec![overflow], bytes: 0 }
    }

    /// The number of a text as it is written.
    pub(super) fn number(&mut self, written: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(written) {
            return *number;
        }
        if self.bytes + written.len() > MAX_BYTES {
            return 0;
        }
        self.bytes += 2 * written.len() + size_of::<(Box<[u8]>, Box<[u8]>, u64)>();
        let number = self.written.len() as u32;
        self.written.push(written.into());
        self.numbers.insert(written.into(), number);
        number
    }

    /// The text of a number, as it is written.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        self.written.get(number as usize).map_or(b"", |written| written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_too_many_share_one() {
        let mut texts = Texts::new("<more>");
        let first = texts.number(b"aten::mm");
        assert_eq!(texts.number(b"aten::mm"), first);
        assert_ne!(texts.number(b"aten::add"), first);
        assert_eq!(texts.get(first), b"aten::mm");
        let long = vec![b'x'; MAX_BYTES];
        assert_eq!(texts.number(&long), 0);
        assert_eq!(texts.get(0), b"<more>");
    }
}
