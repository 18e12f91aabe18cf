//! The filter's state on disk, so that a recovery, or a reader of a live trace, goes on where the recorder was.
//!
//! Written as a whole under a temporary name and renamed. It is not synced: like the journal, it is to survive the
//! process, and would be of no use without the journal.

use std::path::Path;

use super::filter::{CounterNames, EventFilter};
use super::live_events::{DeviceBytes, LiveBlock, LiveEvents};
use super::{Retention, Windows};
use crate::error::{Error, Result};
use crate::journal::{EventSlot, Record, SLOT_WORDS, Slot};
use crate::layout::TEMPORARY_PREFIX;

/// Name of the file, in the journal's folder.
pub const STATE_FILE: &str = "live";

const MAGIC: u64 = u64::from_le_bytes(*b"TGLIVE01");
const HEAD_WORDS: usize = 12;
/// No window policy: a ring.
const RING: u64 = u64::MAX;

/// A filter as it was before a chunk of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterState {
    /// The first chunk that the filter has not seen.
    pub next_chunk: u64,
    /// The filter.
    pub filter: EventFilter,
}

/// What an entry is, in the three highest bits of its first word; the others hold its `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    Untold = 0,
    Told = 1,
    /// The free that the block in the entry before is waiting for.
    GivenUp = 2,
    Held = 3,
    UntoldThatHides = 4,
}

const SEQ_BITS: u32 = 61;

impl FilterState {
    /// That of a recording that begins; `None` if everything is kept.
    #[must_use]
    pub fn new(retention: Retention, names: CounterNames) -> Option<Self> {
        Some(Self { next_chunk: 0, filter: EventFilter::new(retention, names)? })
    }

    /// Reads the state in the journal's folder; `None` if none has been written.
    pub fn read(journal: &Path) -> Result<Option<Self>> {
        let path = journal.join(STATE_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("reading", &path))?,
        };
        let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Self::decode(&words).map(Some).ok_or_else(|| {
            let reason = "the state of what is alive fails its check".to_owned();
            Error::DamagedJournal { reason, path }
        })
    }

    /// Writes it into the journal's folder, as a whole or not at all; its bytes.
    pub fn write(&self, journal: &Path) -> Result<u64> {
        let (path, temporary) =
            (journal.join(STATE_FILE), journal.join(format!("{TEMPORARY_PREFIX}{STATE_FILE}")));
        let bytes: Vec<u8> = self.encode().iter().flat_map(|word| word.to_le_bytes()).collect();
        let written = std::fs::write(&temporary, &bytes).map_err(Error::io("writing", &temporary));
        let named = written
            .and_then(|()| std::fs::rename(&temporary, &path).map_err(Error::io("renaming", &temporary)));
        if named.is_err() {
            // On a full disk it would keep what little space there is.
            let _ = std::fs::remove_file(&temporary);
        }
        named.map(|()| bytes.len() as u64)
    }

    fn encode(&self) -> Vec<u64> {
        let filter = &self.filter;
        let (first, every) = filter.windows.map_or((RING, RING), |windows| (windows.first, windows.every));
        let mut words = vec![
            MAGIC,
            0,
            self.next_chunk,
            u64::from(filter.is_open) | u64::from(filter.is_opening) << 1,
            filter.steps,
            first,
            every,
        ];
        words.push(u64::from(filter.names.allocated) | u64::from(filter.names.peak_allocated) << 32);
        words.push(filter.live.devices.len() as u64);
        words.resize(HEAD_WORDS, 0);
        for (device, bytes) in &filter.live.devices {
            words.extend([i64::from(*device).cast_unsigned(), bytes.allocated, bytes.high]);
        }
        let mut entry = |kind: EntryKind, seq: u64, slot: &Slot| {
            words.push(seq | (kind as u64) << SEQ_BITS);
            words.extend(&slot[1..]);
        };
        for block in filter.live.blocks.values() {
            let kind = match (block.is_told, block.hides_told) {
                (true, _) => EntryKind::Told,
                (false, false) => EntryKind::Untold,
                (false, true) => EntryKind::UntoldThatHides,
            };
            entry(kind, block.seq, &block.alloc.encode());
            if let Some((seq, given_up)) = &block.given_up {
                entry(EntryKind::GivenUp, *seq, &given_up.encode());
            }
        }
        for (seq, slot) in &filter.live.held {
            entry(EntryKind::Held, *seq, slot);
        }
        words[1] = check(&words);
        words
    }

    fn decode(words: &[u64]) -> Option<Self> {
        let head = words.get(..HEAD_WORDS)?;
        if head[0] != MAGIC || head[1] != check(words) {
            return None;
        }
        let windows = (head[5] != RING).then_some(Windows { first: head[5], every: head[6] });
        let names = CounterNames { allocated: head[7] as u32, peak_allocated: (head[7] >> 32) as u32 };
        let (devices, entries) =
            words[HEAD_WORDS..].split_at_checked(usize::try_from(head[8]).ok()?.checked_mul(3)?)?;
        let mut live = LiveEvents::default();
        for device in devices.as_chunks::<3>().0 {
            let bytes = DeviceBytes { allocated: device[1], high: device[2] };
            live.devices.insert(i16::try_from(device[0].cast_signed()).ok()?, bytes);
        }
        let mut last = None;
        for entry in entries.as_chunks::<SLOT_WORDS>().0 {
            let (seq, kind) = (entry[0] & ((1 << SEQ_BITS) - 1), entry[0] >> SEQ_BITS);
            let mut slot: Slot = *entry;
            slot[0] = 0;
            if kind == EntryKind::Held as u64 {
                live.held.insert(seq, slot);
                continue;
            }
            let Some(Record::Event(event)) = Record::decode(&slot) else { return None };
            let place = place(&event)?;
            if kind == EntryKind::GivenUp as u64 {
                live.blocks.get_mut(&last?)?.given_up = Some((seq, event));
            } else {
                let is_told = kind == EntryKind::Told as u64;
                let hides_told = kind == EntryKind::UntoldThatHides as u64;
                let block = LiveBlock { seq, alloc: event, is_told, hides_told, given_up: None };
                live.blocks.insert(place, block);
                last = Some(place);
            }
        }
        let (is_open, is_opening, steps) = (head[3] & 1 != 0, head[3] & 2 != 0, head[4]);
        let filter = EventFilter { windows, is_open, is_opening, steps, names, live, left_out: 0 };
        Some(Self { next_chunk: head[2], filter })
    }
}

fn place(event: &EventSlot) -> Option<(i16, u64)> {
    Some((event.device, event.address?))
}

/// Of all words but the second, which holds it.
fn check(words: &[u64]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    for (_, word) in words.iter().enumerate().filter(|(at, _)| *at != 1) {
        hasher.update(&word.to_le_bytes());
    }
    // Its length too, so that a file cut at a whole word is seen even if the rest were zeros.
    u64::from(hasher.finalize()) | (words.len() as u64) << 32
}
