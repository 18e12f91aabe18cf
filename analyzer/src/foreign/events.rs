//! Allocation events of a recording that another tool made, packed: a file may hold tens of millions.

use tidegauge_schemas::part::BATCH_ROWS;
use tidegauge_schemas::{Category, EventKind};

use crate::load::EventRow;

/// An event as an importer tells it; what is unknown is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForeignEvent {
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
    /// What happened; `None` for an action that this version does not know.
    pub kind: Option<EventKind>,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Address of the block or segment.
    pub address: Option<u64>,
    /// Requested size; of a free too, if the file tells it.
    pub size_bytes: Option<i64>,
    /// Number of a stream in [`super::ForeignProcess::stream_number`]; 0 for none.
    pub stream: u16,
    /// Number of a pool in [`super::ForeignProcess::pool_number`]; 0 for the default one.
    pub pool: u16,
    /// Thread; 0 for none.
    pub thread: u32,
    /// Site in [`super::Sites`]; 0 for none.
    pub site: u32,
    /// What the file says that the block is.
    pub category: Option<Category>,
}

/// An event in 48 bytes.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent {
    time_nanos: i64,
    address: u64,
    size_bytes: i64,
    seq: u32,
    site: u32,
    thread: u32,
    device: i16,
    stream: u16,
    pool: u16,
    /// Code of the kind; 0 unknown.
    kind: u8,
    /// Code of the category; 0 none.
    category: u8,
    known: u8,
}

const KNOWS_ADDRESS: u8 = 1;
const KNOWS_SIZE: u8 = 2;

impl StoredEvent {
    pub(super) fn new(seq: u32, event: &ForeignEvent) -> Self {
        let known = if event.address.is_some() { KNOWS_ADDRESS } else { 0 }
            | if event.size_bytes.is_some() { KNOWS_SIZE } else { 0 };
        Self {
            time_nanos: event.time_nanos,
            address: event.address.unwrap_or(0),
            size_bytes: event.size_bytes.unwrap_or(0),
            seq,
            site: event.site,
            thread: event.thread,
            device: event.device,
            stream: event.stream,
            pool: event.pool,
            kind: event.kind.map_or(0, |kind| kind as u8),
            category: event.category.map_or(0, |category| category as u8),
            known,
        }
    }

    /// Order within the process.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u64 {
        u64::from(self.seq)
    }

    /// Thread; 0 for none.
    #[must_use]
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Number of its stream; 0 for none.
    #[must_use]
    pub fn stream(&self) -> u16 {
        self.stream
    }

    /// Number of its pool; 0 for the default one.
    #[must_use]
    pub fn pool(&self) -> u16 {
        self.pool
    }

    /// As a row of `events`.
    #[inline]
    #[must_use]
    pub fn row(&self) -> EventRow {
        EventRow {
            seq: self.seq(),
            time_nanos: self.time_nanos,
            kind: EventKind::from_code(self.kind),
            device: self.device,
            address: (self.known & KNOWS_ADDRESS != 0).then_some(self.address),
            size_bytes: (self.known & KNOWS_SIZE != 0).then_some(self.size_bytes),
            site: self.site,
            category: Category::from_code(self.category),
            stream: None,
            pool: 0,
        }
    }
}

/// Events in the order of `seq`, in chunks: a list that doubles when it is full would need three times its size.
#[derive(Debug, Default)]
pub struct EventStore {
    chunks: Vec<Vec<StoredEvent>>,
}

impl EventStore {
    pub(super) fn push(&mut self, event: StoredEvent) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < BATCH_ROWS => chunk.push(event),
            // Most recordings of a few steps fit into the first one.
            _ => {
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 64 } else { BATCH_ROWS });
                chunk.push(event);
                self.chunks.push(chunk);
            }
        }
    }

    /// The events, some ten thousand at a time.
    pub fn chunks(&self) -> impl Iterator<Item = &[StoredEvent]> {
        self.chunks.iter().map(Vec::as_slice)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}
