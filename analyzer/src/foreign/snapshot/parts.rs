//! What a snapshot consists of, however it was written: entries, segments with their blocks, annotations.

use std::collections::BTreeMap;

use tidegauge_schemas::EventKind;

use super::entries::Entries;
use crate::foreign::process::ForeignProcess;
use crate::foreign::sites::{Frame, FrameId};

/// An entry of a trace, or what is wrong with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    /// Address; of an oom what the device had left.
    pub address: u64,
    /// Size.
    pub size_bytes: i64,
    /// Microseconds since 1970.
    pub time_micros: i64,
    /// Site of [`ForeignProcess::sites`].
    pub site: u32,
    /// Number of [`ForeignProcess::stream_number`].
    pub stream: u16,
    /// Number of [`ForeignProcess::pool_number`].
    pub pool: u16,
    /// Code of the kind; 0 unknown.
    pub kind: u8,
    /// Which of the above are known.
    pub known: u8,
}

/// Of [`Entry::known`].
pub(super) const HAS_ADDRESS: u8 = 1;
/// Of [`Entry::known`].
pub(super) const HAS_SIZE: u8 = 2;
/// Of [`Entry::known`].
pub(super) const HAS_TIME: u8 = 4;

impl Entry {
    /// What happened; `None` for an action that this version does not know.
    pub(super) fn kind(&self) -> Option<EventKind> {
        EventKind::from_code(self.kind)
    }

    /// Address, of everything but an oom.
    pub(super) fn address(&self) -> Option<u64> {
        (self.known & HAS_ADDRESS != 0 && self.kind() != Some(EventKind::Oom)).then_some(self.address)
    }

    /// What the device had left, of an oom.
    pub(super) fn device_free_bytes(&self) -> Option<u64> {
        (self.known & HAS_ADDRESS != 0 && self.kind() == Some(EventKind::Oom)).then_some(self.address)
    }

    /// Size.
    pub(super) fn size_bytes(&self) -> Option<i64> {
        (self.known & HAS_SIZE != 0).then_some(self.size_bytes)
    }

    /// When, nanoseconds since 1970.
    pub(super) fn time_nanos(&self) -> Option<i64> {
        Some(self.time_micros).filter(|_| self.known & HAS_TIME != 0).and_then(time_nanos)
    }
}

/// State of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockState {
    /// Held by the program.
    Allocated,
    /// Given up, and still used by a stream.
    Pending,
    /// Free to be used again.
    Inactive,
}

impl BlockState {
    /// From its text; documents and code differ on the second one.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        match text {
            "active_allocated" => Some(Self::Allocated),
            "active_pending_free" | "active_awaiting_free" => Some(Self::Pending),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// A block at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Address; not told by old files, where it follows from the blocks before.
    pub address: Option<u64>,
    /// Its size, rounded.
    pub size_bytes: i64,
    /// What was asked for; the size where the file does not tell it.
    pub requested_bytes: i64,
    /// State.
    pub state: BlockState,
    /// Who allocated it.
    pub site: u32,
}

/// A segment at the end.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Device.
    pub device: i16,
    /// Address.
    pub address: u64,
    /// Its size.
    pub total_bytes: i64,
    /// Number of its pool.
    pub pool: u16,
    /// Number of its stream.
    pub stream: u16,
    /// Its blocks, by address.
    pub blocks: Vec<Block>,
}

/// Times beyond this, in the year 2255, are none; differences of those below always fit.
const LAST_MICROS: i64 = 9_000_000_000_000_000;

/// Nanoseconds since 1970 of a time in microseconds, if it is one.
pub(super) fn time_nanos(micros: i64) -> Option<i64> {
    (0..=LAST_MICROS).contains(&micros).then(|| micros * 1000)
}

/// An annotation of the program, for instance by `record_function`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    /// Its name.
    pub name: String,
    /// Whether it begins.
    pub is_start: bool,
    /// When, nanoseconds since 1970; none are told of without.
    pub time_nanos: i64,
}

/// Everything that a file holds.
#[derive(Debug)]
pub(super) struct Parts {
    /// Sites, streams and pools; its rows come later.
    pub process: ForeignProcess,
    /// All entries, in the order of the file.
    pub entries: Entries,
    /// The lists of entries, by device: numbers in `entries`.
    pub traces: BTreeMap<i16, Vec<u32>>,
    /// Segments at the end; `None` if the file has no such list.
    pub segments: Option<Vec<Segment>>,
    /// Whether the file is nothing but a list of segments.
    pub is_bare_list: bool,
    /// Annotations, in the order of the file.
    pub annotations: Vec<Annotation>,
    /// Entries by an action that is not known.
    pub unknown_actions: BTreeMap<String, u64>,
    /// Things that are not as a snapshot has them, and were left out.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl Parts {
    pub(super) fn new(process: ForeignProcess) -> Self {
        Self {
            process,
            entries: Entries::default(),
            traces: BTreeMap::new(),
            segments: None,
            is_bare_list: false,
            annotations: Vec::new(),
            unknown_actions: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Counts something that is not as a snapshot has it.
    pub(super) fn leave_out(&mut self, what: &'static str) {
        *self.left_out.entry(what).or_default() += 1;
    }

    /// The site of a block that the program has named, with the stack of where it did.
    pub(super) fn annotated_site(&mut self, name: &str, site: u32) -> u32 {
        let sites = &mut self.process.sites;
        let frame = sites.frame_id(Frame::operator(name));
        let stack: Vec<FrameId> = std::iter::once(frame)
            .chain(sites.get(site).map(|site| site.stack.to_vec()).unwrap_or_default())
            .collect();
        sites.site_id(&stack, |_| name.to_owned())
    }

    /// The kind of an action; an unknown one is counted.
    pub(super) fn kind(&mut self, action: &str) -> u8 {
        match EventKind::from_text(action) {
            // Words of traces, which no allocator says.
            Some(
                EventKind::Baseline
                | EventKind::BaselinePending
                | EventKind::SegmentBaseline
                | EventKind::Free,
            )
            | None => {
                *self.unknown_actions.entry(action.to_owned()).or_default() += 1;
                0
            }
            Some(kind) => kind as u8,
        }
    }

    /// Why it cannot be a snapshot, if so.
    pub(super) fn is_no_snapshot(&self) -> Option<&'static str> {
        let has_segments = self.segments.as_ref().is_some_and(|segments| !segments.is_empty());
        if has_segments || !self.traces.is_empty() {
            return None;
        }
        // Torch itself writes an empty one where nothing was allocated.
        let is_other = self.segments.is_none() || self.is_bare_list || !self.left_out.is_empty();
        is_other.then_some("it has neither `segments` nor `device_traces`: another pickle or JSON file")
    }
}
