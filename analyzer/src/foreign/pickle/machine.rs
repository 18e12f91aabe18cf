//! The machine that a pickle is a program for: a stack, marks on it, and a memo.

use std::io::Read;

use super::bytes::Bytes;
use super::error::{PickleError, Result};
use super::heap::{Folded, Heap, ObjectId, Value};
use super::memo::Memo;
use super::opcode as op;

/// The highest protocol that there is.
const NEWEST_PROTOCOL: u8 = 5;
/// Open containers within each other; a snapshot has ten.
const MAX_DEPTH: usize = 200;
/// What any file may take.
const BASE_BYTES: u64 = 64 << 20;
/// And how many times its own size in addition. A snapshot takes less than once its size.
const SIZE_FACTOR: u64 = 2;
/// Longest integer that is read: a sign and 64 bits.
const LONG_BYTES: usize = 9;
/// Memory is looked at after as many opcodes.
const CHECK_INTERVAL: u32 = 1024;

/// Keeps what is needed of a dict, in place of the dict.
pub(crate) trait Fold {
    /// Given the keys and values of a dict, by turns: what is to stand for it, or `None` to keep it as it is.
    fn fold(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded>;

    /// Memory that was kept so far.
    fn bytes(&self) -> u64;
}

/// Reads one pickle; the result is its value and what that refers to. `total_bytes` is the length of the content, if it is
/// known.
///
/// # Errors
/// If it is damaged, would run code, or takes more memory than a snapshot of its size.
pub(crate) fn read(
    reader: &mut dyn Read,
    total_bytes: Option<u64>,
    heap: Heap,
    fold: &mut impl Fold,
) -> Result<(Value, Heap)> {
    let limit_bytes =
        BASE_BYTES + total_bytes.map_or(u64::MAX / 4, |total| total.saturating_mul(SIZE_FACTOR));
    let mut machine = Machine {
        bytes: Bytes::new(reader, total_bytes),
        heap,
        fold,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
        limit_bytes,
        code: 0,
        opcode_offset: 0,
    };
    let value = machine.run(total_bytes.is_some())?;
    Ok((machine.heap.resolve(value), machine.heap))
}

struct Machine<'a, F> {
    bytes: Bytes<'a>,
    heap: Heap,
    fold: &'a mut F,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Memo,
    limit_bytes: u64,
    /// The opcode that is being done, and where it is.
    code: u8,
    opcode_offset: u64,
}

impl<F: Fold> Machine<'_, F> {
    fn run(&mut self, is_length_known: bool) -> Result<Value> {
        let mut until_check = CHECK_INTERVAL;
        loop {
            until_check -= 1;
            if until_check == 0 {
                until_check = CHECK_INTERVAL;
                if !is_length_known {
                    // What was decompressed so far.
                    self.limit_bytes = BASE_BYTES + self.bytes.offset().saturating_mul(SIZE_FACTOR);
                }
                self.check_memory()?;
            }
            self.opcode_offset = self.bytes.offset();
            let code = self.bytes.byte()?;
            self.code = code;
            match code {
                op::STOP => return self.pop("a value"),
                op::MARK => self.mark()?,
                op::NONE => self.stack.push(Value::None),
                op::NEWTRUE => self.stack.push(Value::Bool(true)),
                op::NEWFALSE => self.stack.push(Value::Bool(false)),
                op::BININT1 => {
                    let number = self.bytes.byte()?;
                    self.stack.push(Value::Int(i64::from(number)));
                }
                op::BININT2 => {
                    let number = u16::from_le_bytes(self.bytes.array()?);
                    self.stack.push(Value::Int(i64::from(number)));
                }
                op::BININT => {
                    let number = i32::from_le_bytes(self.bytes.array()?);
                    self.stack.push(Value::Int(i64::from(number)));
                }
                op::LONG1 => {
                    let length = self.bytes.byte()?;
                    self.long(u64::from(length))?;
                }
                op::LONG4 => {
                    let length = u32::from_le_bytes(self.bytes.array()?);
                    self.long(u64::from(length))?;
                }
                op::BINFLOAT => {
                    let number = f64::from_be_bytes(self.bytes.array()?);
                    self.stack.push(Value::Float(number));
                }
                op::SHORT_BINUNICODE | op::SHORT_BINSTRING => {
                    let length = self.bytes.byte()?;
                    self.text(u64::from(length))?;
                }
                op::BINUNICODE | op::BINSTRING => {
                    let length = u32::from_le_bytes(self.bytes.array()?);
                    self.text(u64::from(length))?;
                }
                op::BINUNICODE8 => {
                    let length = u64::from_le_bytes(self.bytes.array()?);
                    self.text(length)?;
                }
                op::EMPTY_DICT => {
                    let dict = self.heap.new_dict(&[]);
                    self.stack.push(dict);
                }
                op::EMPTY_LIST | op::EMPTY_TUPLE | op::EMPTY_SET => {
                    let list = self.heap.new_list(&[]);
                    self.stack.push(list);
                }
                op::MEMOIZE => {
                    let value = self.top()?;
                    self.memo.push(value);
                }
                op::BINPUT => {
                    let index = self.bytes.byte()?;
                    self.put(u64::from(index))?;
                }
                op::LONG_BINPUT => {
                    let index = u32::from_le_bytes(self.bytes.array()?);
                    self.put(u64::from(index))?;
                }
                op::BINGET => {
                    let index = self.bytes.byte()?;
                    self.get(u64::from(index))?;
                }
                op::LONG_BINGET => {
                    let index = u32::from_le_bytes(self.bytes.array()?);
                    self.get(u64::from(index))?;
                }
                op::SETITEMS => self.set_items()?,
                op::APPENDS | op::ADDITEMS => self.append_items()?,
                op::APPEND => {
                    let value = self.pop("a value")?;
                    self.extend_list(&[value])?;
                }
                op::SETITEM => {
                    let value = self.pop("a value")?;
                    let key = self.pop("a key")?;
                    self.extend_dict(&[key, value])?;
                }
                op::TUPLE1 => self.tuple(1)?,
                op::TUPLE2 => self.tuple(2)?,
                op::TUPLE3 => self.tuple(3)?,
                op::FRAME => {
                    let length = u64::from_le_bytes(self.bytes.array()?);
                    self.bytes.check(length, u64::MAX, "a frame")?;
                }
                op::PROTO => {
                    let protocol = self.bytes.byte()?;
                    if protocol > NEWEST_PROTOCOL {
                        return Err(PickleError::UnknownProtocol { protocol });
                    }
                }
                _ => self.seldom(code)?,
            }
        }
    }

    /// What snapshots do not have, or once.
    #[cold]
    fn seldom(&mut self, code: u8) -> Result<()> {
        let offset = self.opcode_offset;
        match code {
            op::LIST | op::TUPLE | op::FROZENSET => {
                let from = self.pop_mark()?;
                let list = self.heap.new_list(&self.stack[from..]);
                self.stack.truncate(from);
                self.stack.push(list);
            }
            op::DICT => {
                let from = self.pop_mark()?;
                let dict = self.new_dict(from)?;
                self.stack.truncate(from);
                self.stack.push(dict);
            }
            op::POP => {
                // A mark on the top is what is popped then.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop("a value")?;
                }
            }
            op::POP_MARK => {
                let from = self.pop_mark()?;
                self.stack.truncate(from);
            }
            op::DUP => {
                let value = self.top()?;
                self.stack.push(value);
            }
            op::INT | op::LONG => {
                let line = self.bytes.line()?;
                let text = std::str::from_utf8(&line).unwrap_or_default();
                let value = match text {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    number => integer(number).ok_or(PickleError::NoNumber { offset })?,
                };
                self.stack.push(value);
            }
            op::FLOAT => {
                let line = self.bytes.line()?;
                let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse().ok());
                self.stack.push(Value::Float(number.ok_or(PickleError::NoNumber { offset })?));
            }
            op::STRING | op::UNICODE => {
                let line = self.bytes.line()?;
                let text = String::from_utf8_lossy(&line);
                let text = if code == op::STRING { text.trim_matches(['\'', '"']) } else { &text };
                let id = self.heap.text_id(text);
                self.stack.push(Value::Text(id));
            }
            op::SHORT_BINBYTES => {
                let length = self.bytes.byte()?;
                self.opaque(u64::from(length))?;
            }
            op::BINBYTES => {
                let length = u32::from_le_bytes(self.bytes.array()?);
                self.opaque(u64::from(length))?;
            }
            op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = u64::from_le_bytes(self.bytes.array()?);
                self.opaque(length)?;
            }
            op::PUT | op::GET => {
                let line = self.bytes.line()?;
                let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse().ok());
                let index = number.ok_or(PickleError::NoNumber { offset })?;
                if code == op::PUT { self.put(index)? } else { self.get(index)? }
            }
            op::GLOBAL
            | op::STACK_GLOBAL
            | op::REDUCE
            | op::BUILD
            | op::INST
            | op::OBJ
            | op::NEWOBJ
            | op::NEWOBJ_EX
            | op::EXT1
            | op::EXT2
            | op::EXT4 => {
                let opcode = op::name(code).unwrap_or_default();
                return Err(PickleError::RunsCode { opcode, offset });
            }
            op::PERSID | op::BINPERSID | op::NEXT_BUFFER | op::READONLY_BUFFER => {
                let opcode = op::name(code).unwrap_or_default();
                return Err(PickleError::Elsewhere { opcode, offset });
            }
            code => return Err(PickleError::UnknownOpcode { code, offset }),
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<()> {
        let stack_bytes = (self.stack.len() * size_of::<Value>()) as u64;
        let bytes = self.heap.bytes() + self.memo.bytes() + stack_bytes + self.fold.bytes();
        if bytes > self.limit_bytes {
            let limit_bytes = self.limit_bytes;
            return Err(PickleError::TooMuchMemory { limit_bytes, offset: self.opcode_offset });
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() >= MAX_DEPTH {
            return Err(PickleError::TooDeep { limit: MAX_DEPTH, offset: self.opcode_offset });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    #[cold]
    fn misplaced(&self, expected: &'static str) -> PickleError {
        let opcode = op::name(self.code).unwrap_or_default();
        PickleError::Misplaced { opcode, expected, offset: self.opcode_offset }
    }

    /// Values above the last mark, which it takes away; their first index.
    #[inline]
    fn pop_mark(&mut self) -> Result<usize> {
        self.marks.pop().ok_or_else(|| self.misplaced("a mark"))
    }

    #[inline]
    fn top(&self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(value) if self.stack.len() > floor => Ok(*value),
            _ => Err(self.misplaced("a value")),
        }
    }

    #[inline]
    fn pop(&mut self, expected: &'static str) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.misplaced(expected));
        }
        self.stack.pop().ok_or_else(|| self.misplaced(expected))
    }

    /// The container on the top of the stack.
    #[inline]
    fn container(&self, expected: &'static str) -> Result<ObjectId> {
        match self.top()? {
            Value::Object(id) => Ok(id),
            _ => Err(self.misplaced(expected)),
        }
    }

    fn put(&mut self, index: u64) -> Result<()> {
        let value = self.top()?;
        self.memo.put(index, value);
        Ok(())
    }

    #[inline]
    fn get(&mut self, index: u64) -> Result<()> {
        let value = self.memo.get(index);
        let value = value.ok_or(PickleError::UnknownMemo { index, offset: self.opcode_offset })?;
        self.stack.push(self.heap.resolve(value));
        Ok(())
    }

    #[inline]
    fn set_items(&mut self) -> Result<()> {
        let from = self.pop_mark()?;
        if !(self.stack.len() - from).is_multiple_of(2) {
            return Err(self.misplaced("a value for each key"));
        }
        let Some(Value::Object(id)) = self.stack[..from].last().copied() else {
            return Err(self.misplaced("a dict"));
        };
        if self.heap.is_empty_dict(id)
            && let Some(folded) = self.fold.fold(&mut self.heap, &self.stack[from..])
        {
            self.heap.replace(id, folded);
            self.stack.truncate(from);
            self.stack[from - 1] = Value::Folded(folded);
            return Ok(());
        }
        if !self.heap.extend_dict(id, &self.stack[from..]) {
            return Err(PickleError::ChangedLater { offset: self.opcode_offset });
        }
        self.stack.truncate(from);
        Ok(())
    }

    #[inline]
    fn append_items(&mut self) -> Result<()> {
        let from = self.pop_mark()?;
        let Some(Value::Object(id)) = self.stack[..from].last().copied() else {
            return Err(self.misplaced("a list"));
        };
        if !self.heap.extend_list(id, &self.stack[from..]) {
            return Err(PickleError::ChangedLater { offset: self.opcode_offset });
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn extend_list(&mut self, values: &[Value]) -> Result<()> {
        let id = self.container("a list")?;
        if !self.heap.extend_list(id, values) {
            return Err(PickleError::ChangedLater { offset: self.opcode_offset });
        }
        Ok(())
    }

    fn extend_dict(&mut self, values: &[Value]) -> Result<()> {
        let id = self.container("a dict")?;
        if !self.heap.extend_dict(id, values) {
            return Err(PickleError::ChangedLater { offset: self.opcode_offset });
        }
        Ok(())
    }

    /// A dict of the values from there on.
    fn new_dict(&mut self, from: usize) -> Result<Value> {
        let items = &self.stack[from..];
        if !items.len().is_multiple_of(2) {
            return Err(self.misplaced("a value for each key"));
        }
        Ok(match self.fold.fold(&mut self.heap, items) {
            Some(folded) => Value::Folded(folded),
            None => self.heap.new_dict(items),
        })
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(length).filter(|from| *from >= floor);
        let from = from.ok_or_else(|| self.misplaced("as many values"))?;
        let tuple = self.heap.new_list(&self.stack[from..]);
        self.stack.truncate(from);
        self.stack.push(tuple);
        Ok(())
    }

    #[inline]
    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes.take(length, "a text")?;
        let id = match std::str::from_utf8(bytes) {
            Ok(text) => self.heap.text_id(text),
            // Python writes lone surrogates so.
            Err(_) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                self.heap.text_id(&text)
            }
        };
        self.stack.push(Value::Text(id));
        Ok(())
    }

    fn opaque(&mut self, length: u64) -> Result<()> {
        self.bytes.take(length, "bytes")?;
        self.stack.push(Value::Opaque);
        Ok(())
    }

    #[inline]
    fn long(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes.take(length, "an integer")?;
        if bytes.len() > LONG_BYTES {
            self.stack.push(Value::Opaque);
            return Ok(());
        }
        // Two's complement, the least byte first.
        let is_negative = bytes.last().is_some_and(|high| high & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.stack.push(narrow(i128::from_le_bytes(wide)));
        Ok(())
    }
}

fn narrow(number: i128) -> Value {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => Value::Int(number),
        (_, Ok(number)) => Value::Unsigned(number),
        _ => Value::Opaque,
    }
}

fn integer(text: &str) -> Option<Value> {
    text.trim_end_matches('L').parse().ok().map(narrow)
}
