//! What is kept of a trace while it is read: allocations, and the calls around them, packed.

use rustc_hash::FxHashMap;

use super::cursor::Scalar;
use super::event::{Event, Kind, MemoryArgs, text_argument};
use super::header::Header;
use super::texts::Texts;

/// Sizes above this, a pebibyte, are none.
const MAX_BYTES: i64 = 1 << 50;

/// A call of an operator or a Python function, or an annotation: 32 bytes, since a trace may have tens of millions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) begin_nanos: i64,
    pub(super) end_nanos: i64,
    pub(super) thread: u32,
    /// Place in the file, which decides where times are equal.
    pub(super) order: u32,
    pub(super) name: NameId,
    /// Number of the Python stack that it was called from, in traces of 2021; 0 unknown.
    pub(super) call_stack: u32,
}

/// A name together with what it is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameId(u32);

impl NameId {
    const KIND_SHIFT: u32 = 30;

    fn new(kind: Kind, number: u32) -> Self {
        let kind = match kind {
            Kind::Annotation => 1,
            Kind::Python => 2,
            _ => 0,
        };
        Self(kind << Self::KIND_SHIFT | number)
    }

    pub(super) const fn is_annotation(self) -> bool {
        self.0 >> Self::KIND_SHIFT == 1
    }

    pub(super) const fn is_python(self) -> bool {
        self.0 >> Self::KIND_SHIFT == 2
    }

    /// Number of the text.
    pub(super) const fn text(self) -> u32 {
        self.0 & ((1 << Self::KIND_SHIFT) - 1)
    }
}

/// An allocation or a free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) time_nanos: i64,
    /// Positive for an allocation, negative for a free.
    pub(super) bytes: i64,
    pub(super) address: Option<u64>,
    /// −1 unknown.
    total_allocated: i64,
    /// −1 unknown.
    total_reserved: i64,
    pub(super) thread: u32,
    /// Site in the process's [`crate::foreign::Sites`], once it is known; 0 none.
    pub(super) site: u32,
    pub(super) device: i16,
}

impl Memory {
    pub(super) fn total_allocated(&self) -> Option<i64> {
        Some(self.total_allocated).filter(|bytes| *bytes >= 0)
    }

    pub(super) fn total_reserved(&self) -> Option<i64> {
        Some(self.total_reserved).filter(|bytes| *bytes >= 0)
    }
}

/// A thread of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Thread {
    pub(super) pid: i64,
    pub(super) tid: i64,
}

/// All that is kept.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) header: Header,
    pub(super) threads: Vec<Thread>,
    pub(super) names: Texts,
    pub(super) call_stacks: Texts,
    pub(super) calls: Vec<Call>,
    pub(super) memory: Vec<Memory>,
    pub(super) process_names: Vec<(i64, String)>,
    /// Allocations that lack their time or their size, or have an absurd one.
    pub(super) unreadable: u64,
    /// Device number and the types of devices that have it.
    pub(super) device_types: Vec<(i16, i64)>,
    thread_numbers: FxHashMap<Thread, u32>,
    last_thread: u32,
}

impl Recording {
    pub(super) fn new() -> Self {
        Self {
            header: Header::default(),
            threads: Vec::new(),
            names: Texts::new("<more names>"),
            call_stacks: Texts::new(""),
            calls: Vec::new(),
            memory: Vec::new(),
            process_names: Vec::new(),
            unreadable: 0,
            device_types: Vec::new(),
            thread_numbers: FxHashMap::default(),
            last_thread: 0,
        }
    }

    /// Takes in what memory has to do with.
    #[inline]
    pub(super) fn take(&mut self, event: &Event<'_>) {
        match event.kind {
            Kind::Operator | Kind::Annotation | Kind::Python => self.call(event),
            Kind::Memory => {
                if self.memory(event).is_none() {
                    self.unreadable += 1;
                }
            }
            Kind::ProcessName => {
                if let Some(name) = text_argument(event.args, b"name") {
                    self.process_names.push((id(event.pid), super::cursor::text(name)));
                }
            }
            Kind::Other => {}
        }
    }

    fn call(&mut self, event: &Event<'_>) {
        // Without a time it is around nothing.
        let Some(begin_nanos) = event.begin_nanos else { return };
        let call_stack = match text_argument_of_2021(event) {
            Some(stack) => self.call_stacks.number(stack),
            None => 0,
        };
        let call = Call {
            begin_nanos,
            end_nanos: begin_nanos.saturating_add(event.duration_nanos),
            thread: self.thread(event),
            order: self.calls.len() as u32,
            name: NameId::new(event.kind, self.names.number(event.name)),
            call_stack,
        };
        self.calls.push(call);
    }

    fn memory(&mut self, event: &Event<'_>) -> Option<()> {
        let args = MemoryArgs::read(event.args).ok()?;
        let sane = |bytes: &i64| (-MAX_BYTES..=MAX_BYTES).contains(bytes);
        let total = |total: Option<i64>| total.filter(|bytes| *bytes >= 0 && sane(bytes)).unwrap_or(-1);
        let memory = Memory {
            time_nanos: event.begin_nanos?,
            bytes: args.bytes.filter(sane)?,
            // Blocks at address 0 are of allocators that have no addresses.
            address: args.address.filter(|address| *address != 0),
            total_allocated: total(args.total_allocated),
            total_reserved: total(args.total_reserved),
            thread: self.thread(event),
            site: 0,
            device: device(args.device_type, args.device_id)?,
        };
        let device_type = (memory.device, args.device_type.unwrap_or(0));
        if !self.device_types.contains(&device_type) && self.device_types.len() < 1 << 10 {
            self.device_types.push(device_type);
        }
        self.memory.push(memory);
        Some(())
    }

    /// The number of an event's thread; of one thread there are many events in a row.
    fn thread(&mut self, event: &Event<'_>) -> u32 {
        let thread = Thread { pid: id(event.pid), tid: id(event.tid) };
        if self.threads.get(self.last_thread as usize) == Some(&thread) {
            return self.last_thread;
        }
        let next = self.threads.len() as u32;
        self.last_thread = *self.thread_numbers.entry(thread).or_insert(next);
        if self.last_thread == next {
            self.threads.push(thread);
        }
        self.last_thread
    }
}

/// −1 the host, 0… accelerators; `None` for no device at all.
fn device(device_type: Option<i64>, device_id: Option<i64>) -> Option<i16> {
    match (device_type, device_id) {
        (Some(0), _) | (None, None | Some(-1)) => Some(-1),
        // Backends with one device do not number it.
        (_, None | Some(-1)) => Some(0),
        (_, Some(id)) => i16::try_from(id).ok().filter(|id| *id >= 0),
    }
}

/// A process or thread by its number; those of which only a name is told by a negative one made of that.
fn id(id: Scalar<'_>) -> i64 {
    match id {
        Scalar::Number(number) => super::cursor::integer(number).unwrap_or_else(|| hashed(number)),
        Scalar::Text(text) => hashed(text),
        Scalar::Other => 0,
    }
}

fn hashed(name: &[u8]) -> i64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault};
    let hash = BuildHasherDefault::<rustc_hash::FxHasher>::default().hash_one(name);
    (hash | 1 << 63).cast_signed()
}

/// The Python stack that an operator was called from: traces of 2021 have it as one text, innermost call first. Python
/// functions have events of their own since.
fn text_argument_of_2021<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    // Most events have none, and a search for it is a small part of reading them.
    const KEY: &[u8] = b"Call stack";
    if event.kind != Kind::Operator || event.args.len() < KEY.len() {
        return None;
    }
    text_argument(event.args, KEY)
}
