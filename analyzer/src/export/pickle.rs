//! A writer of pickles: dictionaries, lists, numbers and text, protocol 4.
//!
//! Only the instructions that PyTorch's viewer in the browser knows are used, which are fewer than Python's. Text is written
//! once and then referred to; so are containers that are remembered. What is written leaves memory frame by frame.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

/// Python's own writer ends a frame here.
const FRAME_BYTES: usize = 64 << 10;
/// And so many items are appended at once.
const BATCH_ITEMS: usize = 1000;

mod opcode {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const STOP: u8 = b'.';
    pub(super) const MARK: u8 = b'(';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SET_ITEMS: u8 = b'u';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const TUPLE_2: u8 = 0x86;
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const GET_8: u8 = b'h';
    pub(super) const GET_32: u8 = b'j';
    pub(super) const SHORT_TEXT: u8 = 0x8c;
    pub(super) const TEXT: u8 = b'X';
    pub(super) const INT_8: u8 = b'K';
    pub(super) const INT_16: u8 = b'M';
    pub(super) const INT_32: u8 = b'J';
    pub(super) const LONG: u8 = 0x8a;
    pub(super) const TRUE: u8 = 0x88;
    pub(super) const FALSE: u8 = 0x89;
}

/// What was remembered and can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered(u32);

/// A list being written.
#[derive(Debug)]
#[must_use]
pub(super) struct OpenList {
    items: usize,
}

/// A pickle being written. One value is written after the other; those between the beginning and the end of a container are
/// its items, in a dictionary key after value after key.
pub(super) struct PickleWriter<W: Write> {
    out: W,
    frame: Vec<u8>,
    texts: FxHashMap<Box<str>, Remembered>,
    remembered: u32,
}

impl<W: Write> PickleWriter<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[opcode::PROTO, 4])?;
        Ok(Self {
            out,
            frame: Vec::with_capacity(2 * FRAME_BYTES),
            texts: FxHashMap::default(),
            remembered: 0,
        })
    }

    /// Ends the pickle.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.frame.push(opcode::STOP);
        self.end_frame()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if !self.frame.is_empty() {
            self.out.write_all(&[opcode::FRAME])?;
            self.out.write_all(&(self.frame.len() as u64).to_le_bytes())?;
            self.out.write_all(&self.frame)?;
            self.frame.clear();
        }
        Ok(())
    }

    pub(super) fn begin_dict(&mut self) {
        self.frame.extend([opcode::EMPTY_DICT, opcode::MARK]);
    }

    /// A dictionary that can be referred to.
    pub(super) fn begin_remembered_dict(&mut self) -> Remembered {
        self.frame.push(opcode::EMPTY_DICT);
        let remembered = self.remember();
        self.frame.push(opcode::MARK);
        remembered
    }

    pub(super) fn end_dict(&mut self) {
        self.frame.push(opcode::SET_ITEMS);
    }

    pub(super) fn begin_list(&mut self) -> OpenList {
        self.frame.push(opcode::EMPTY_LIST);
        OpenList { items: 0 }
    }

    /// A list that can be referred to.
    pub(super) fn begin_remembered_list(&mut self) -> (OpenList, Remembered) {
        let list = self.begin_list();
        (list, self.remember())
    }

    /// Announces an item of a list: comes before each. Returns what was written so far to the file.
    pub(super) fn item(&mut self, list: &mut OpenList) -> io::Result<()> {
        if list.items.is_multiple_of(BATCH_ITEMS) {
            if list.items > 0 {
                self.frame.push(opcode::APPENDS);
            }
            self.frame.push(opcode::MARK);
        }
        list.items += 1;
        if self.frame.len() >= FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    pub(super) fn end_list(&mut self, list: OpenList) {
        if list.items > 0 {
            self.frame.push(opcode::APPENDS);
        }
    }

    /// Makes a tuple of the two values that were written last.
    pub(super) fn pair(&mut self) {
        self.frame.push(opcode::TUPLE_2);
    }

    /// Remembers the value that has just been written; a container before it is filled, as Python does it.
    fn remember(&mut self) -> Remembered {
        self.frame.push(opcode::MEMOIZE);
        let remembered = Remembered(self.remembered);
        self.remembered += 1;
        remembered
    }

    /// The same value again, not a copy of it.
    pub(super) fn again(&mut self, Remembered(number): Remembered) {
        match u8::try_from(number) {
            Ok(number) => self.frame.extend([opcode::GET_8, number]),
            Err(_) => {
                self.frame.push(opcode::GET_32);
                self.frame.extend(number.to_le_bytes());
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        if let Some(known) = self.texts.get(text) {
            self.again(*known);
            return Ok(());
        }
        match (u8::try_from(text.len()), u32::try_from(text.len())) {
            (Ok(length), _) => self.frame.extend([opcode::SHORT_TEXT, length]),
            (_, Ok(length)) => {
                self.frame.push(opcode::TEXT);
                self.frame.extend(length.to_le_bytes());
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name of more than 4 GiB")),
        }
        self.frame.extend(text.as_bytes());
        let remembered = self.remember();
        self.texts.insert(text.into(), remembered);
        Ok(())
    }

    pub(super) fn int(&mut self, number: i64) {
        if let Ok(number) = u8::try_from(number) {
            self.frame.extend([opcode::INT_8, number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.frame.push(opcode::INT_16);
            self.frame.extend(number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.frame.push(opcode::INT_32);
            self.frame.extend(number.to_le_bytes());
        } else {
            self.long(i128::from(number));
        }
    }

    /// An address: past 2^63 too.
    pub(super) fn uint(&mut self, number: u64) {
        match i64::try_from(number) {
            Ok(number) => self.int(number),
            Err(_) => self.long(i128::from(number)),
        }
    }

    /// Two's complement in as few bytes as hold it with its sign.
    fn long(&mut self, number: i128) {
        let bytes = number.to_le_bytes();
        let unneeded = if number < 0 { number.leading_ones() } else { number.leading_zeros() } - 1;
        let length = bytes.len() - (unneeded / 8) as usize;
        self.frame.extend([opcode::LONG, length as u8]);
        self.frame.extend(&bytes[..length]);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.frame.push(if flag { opcode::TRUE } else { opcode::FALSE });
    }

    /// An item of a dictionary.
    pub(super) fn text_item(&mut self, key: &str, text: &str) -> io::Result<()> {
        self.text(key)?;
        self.text(text)
    }

    /// An item of a dictionary.
    pub(super) fn int_item(&mut self, key: &str, number: i64) -> io::Result<()> {
        self.text(key)?;
        self.int(number);
        Ok(())
    }

    /// An item of a dictionary.
    pub(super) fn uint_item(&mut self, key: &str, number: u64) -> io::Result<()> {
        self.text(key)?;
        self.uint(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut PickleWriter<Vec<u8>>)) -> Vec<u8> {
        let mut pickle = PickleWriter::new(Vec::new()).unwrap();
        write(&mut pickle);
        pickle.finish().unwrap()
    }

    /// As `pickle.dumps(number, 4)` has it between the frame's head and the stop.
    #[test]
    fn numbers_are_as_python_writes_them() {
        let cases: [(i128, &[u8]); 10] = [
            (0, b"K\x00"),
            (255, b"K\xff"),
            (256, b"M\x00\x01"),
            (65536, b"J\x00\x00\x01\x00"),
            (-1, b"J\xff\xff\xff\xff"),
            (1 << 31, b"\x8a\x05\x00\x00\x00\x80\x00"),
            (-(1 << 31) - 1, b"\x8a\x05\xff\xff\xff\x7f\xff"),
            (140_160_352_124_928, b"\x8a\x06\x00\x00\x00\xa0\x79\x7f"),
            (i64::MAX as i128, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
            (u64::MAX as i128, b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
        ];
        for (number, expected) in cases {
            let bytes = written(|pickle| match u64::try_from(number) {
                Ok(number) => pickle.uint(number),
                Err(_) => pickle.int(number as i64),
            });
            assert_eq!(&bytes[11..bytes.len() - 1], expected, "{number}");
        }
    }

    #[test]
    fn text_is_written_once() {
        let bytes = written(|pickle| {
            let mut list = pickle.begin_list();
            for text in ["action", "action"] {
                pickle.item(&mut list).unwrap();
                pickle.text(text).unwrap();
            }
            pickle.end_list(list);
        });
        assert_eq!(&bytes[11..], b"](\x8c\x06action\x94h\x00e.");
    }
}
