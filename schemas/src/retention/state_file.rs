//! The filter's state on disk, so that a recovery, or a reader of a live trace, goes on where the recorder was.
//!
//! Written as a whole under a temporary name and renamed. It is not synced: like the journal, it is to survive the
//! process, and would be of no use without the journal.

use std::fs::File;
use std::io::{BufWriter, Write as _};
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
const HEAD_WORDS: usize = 8;
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

    /// Writes the state before chunk `next_chunk` into the journal's folder, as a whole or not at all. Takes no memory to
    /// speak of, however much is alive.
    pub fn write(journal: &Path, next_chunk: u64, filter: &EventFilter) -> Result<()> {
        let path = journal.join(STATE_FILE);
        let temporary = journal.join(format!("{TEMPORARY_PREFIX}{STATE_FILE}"));
        let written = write_words(&temporary, next_chunk, filter).map_err(Error::io("writing", &temporary));
        let named = written
            .and_then(|()| std::fs::rename(&temporary, &path).map_err(Error::io("renaming", &temporary)));
        if named.is_err() {
            // On a full disk it would keep what little space there is.
            let _ = std::fs::remove_file(&temporary);
        }
        named
    }

    fn decode(words: &[u64]) -> Option<Self> {
        let (&last, words) = words.split_last()?;
        let mut check = Check::default();
        words.iter().for_each(|word| check.add(*word));
        let head = words.get(..HEAD_WORDS)?;
        if head[0] != MAGIC || last != check.finish() {
            return None;
        }
        let windows = (head[4] != RING).then_some(Windows { first: head[4], every: head[5] });
        let names = CounterNames { allocated: head[6] as u32, peak_allocated: (head[6] >> 32) as u32 };
        let (devices, entries) =
            words[HEAD_WORDS..].split_at_checked(usize::try_from(head[7]).ok()?.checked_mul(3)?)?;
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
                live.hold(seq, slot);
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
        let (is_open, is_opening, steps) = (head[2] & 1 != 0, head[2] & 2 != 0, head[3]);
        let filter = EventFilter { windows, is_open, is_opening, steps, names, live, left_out: 0 };
        Some(Self { next_chunk: head[1], filter })
    }
}

fn place(event: &EventSlot) -> Option<(i16, u64)> {
    Some((event.device, event.address?))
}

fn write_words(path: &Path, next_chunk: u64, filter: &EventFilter) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut check = Check::default();
    let mut put = |word: u64| {
        check.add(word);
        file.write_all(&word.to_le_bytes())
    };
    let (first, every) = filter.windows.map_or((RING, RING), |windows| (windows.first, windows.every));
    let flags = u64::from(filter.is_open) | u64::from(filter.is_opening) << 1;
    let names = u64::from(filter.names.allocated) | u64::from(filter.names.peak_allocated) << 32;
    let devices = filter.live.devices.len() as u64;
    for word in [MAGIC, next_chunk, flags, filter.steps, first, every, names, devices] {
        put(word)?;
    }
    for (device, bytes) in &filter.live.devices {
        put(i64::from(*device).cast_unsigned())?;
        put(bytes.allocated)?;
        put(bytes.high)?;
    }
    let mut entry = |kind: EntryKind, seq: u64, slot: &Slot| {
        put(seq | (kind as u64) << SEQ_BITS)?;
        slot[1..].iter().try_for_each(|word| put(*word))
    };
    for block in filter.live.blocks.values() {
        let kind = match (block.is_told, block.hides_told) {
            (true, _) => EntryKind::Told,
            (false, false) => EntryKind::Untold,
            (false, true) => EntryKind::UntoldThatHides,
        };
        entry(kind, block.seq, &block.alloc.encode())?;
        if let Some((seq, given_up)) = &block.given_up {
            entry(EntryKind::GivenUp, *seq, &given_up.encode())?;
        }
    }
    for (seq, slot) in filter.live.held() {
        entry(EntryKind::Held, *seq, slot)?;
    }
    file.write_all(&check.finish().to_le_bytes())?;
    file.flush()
}

/// Of all words but the last, which holds it.
#[derive(Default)]
struct Check {
    hasher: crc32fast::Hasher,
    words: u64,
}

impl Check {
    fn add(&mut self, word: u64) {
        self.hasher.update(&word.to_le_bytes());
        self.words += 1;
    }

    /// With the number of words, so that a file cut at a whole word is seen whatever stands there.
    fn finish(self) -> u64 {
        u64::from(self.hasher.finalize()) | self.words << 32
    }
}
