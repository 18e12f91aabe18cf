//! The control file: counters that survive the process, and clock anchors.
//!
//! Bytes 0–63 head, 64–319 counters (a word each), from 4096 anchors (four words each: ticks, monotonic, wall,
//! check). Anchor 0 is the first ever; the others are in no order.

use std::path::Path;

use super::{Anchor, ClockMap, check_words, word_at};
use crate::error::{Error, Result};
use crate::process::Losses;
use crate::version::FORMAT_VERSION;

/// Name of the file that the recorder holds a lock on while it lives.
pub const LOCK_FILE: &str = "lock";
/// Name of the control file.
pub const CONTROL_FILE: &str = "control";
/// Byte of the first anchor.
pub const ANCHOR_OFFSET: usize = 4096;
/// Anchors that fit, beside the first: close ones for the last minutes, fewer for the last day. Which are kept is the
/// recorder's business.
pub const ANCHOR_CAPACITY: usize = 2047;
/// Bytes of the file.
pub const CONTROL_BYTES: usize = ANCHOR_OFFSET + (ANCHOR_CAPACITY + 1) * 32;

const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"TGCTRL01");
const COUNTER_OFFSET: usize = 64;

/// Where time stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// `clock_gettime(CLOCK_MONOTONIC)`.
    Monotonic,
    /// The cycle counter of x86.
    Tsc,
}

impl ClockSource {
    /// The word in `process.json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monotonic => "clock_monotonic",
            Self::Tsc => "tsc",
        }
    }
}

/// Counters in the control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Records dropped.
    Dropped,
    /// Slots in sealed chunks that were never committed.
    Uncommitted,
    /// Names that did not fit.
    OverflowedNames,
    /// Failed attempts at sealing.
    FailedSeals,
    /// Samples that came late.
    LateSamples,
    /// Samples that could not be taken.
    SkippedSamples,
    /// Bytes of sealed parts.
    WrittenBytes,
    /// Most bytes that the journal had.
    PeakJournalBytes,
    /// CPU time of the recorder's threads, nanoseconds.
    BackgroundCpuNanos,
    /// Allocation events left out: only the newest, or those of chosen steps, are kept.
    LeftOutEvents,
    /// Times that somebody, perhaps another process, asked for what is kept to be written.
    DumpRequests,
    /// Bytes of merged parts.
    MergedBytes,
}

impl Counter {
    /// Byte of the counter in the file.
    #[must_use]
    pub const fn offset(self) -> usize {
        COUNTER_OFFSET + self as usize * 8
    }
}

/// The first words of the file.
#[must_use]
pub fn control_head(source: ClockSource) -> [u64; 3] {
    [CONTROL_MAGIC, u64::from(FORMAT_VERSION), source as u64]
}

/// An anchor's words.
#[must_use]
pub fn anchor_words(anchor: Anchor) -> [u64; 4] {
    let words = [anchor.ticks, anchor.monotonic_nanos.cast_unsigned(), anchor.unix_nanos.cast_unsigned()];
    [words[0], words[1], words[2], check_words(words)]
}

/// A control file that was read.
#[derive(Debug, Clone)]
pub struct Control {
    bytes: Vec<u8>,
}

impl Control {
    /// Reads the control file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("reading", path))?;
        let damaged = |reason: String| Error::DamagedJournal { reason, path: path.to_owned() };
        if word_at(&bytes, 0) != Some(CONTROL_MAGIC) {
            return Err(damaged("it does not begin as a control file does".to_owned()));
        }
        if bytes.len() < CONTROL_BYTES {
            return Err(damaged(format!("it has {} bytes, expected {CONTROL_BYTES}", bytes.len())));
        }
        let version = word_at(&bytes, 8).and_then(|version| u32::try_from(version).ok()).unwrap_or(u32::MAX);
        Error::check_version(version, path)?;
        Ok(Self { bytes })
    }

    /// A counter's value.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        word_at(&self.bytes, counter.offset()).unwrap_or(0)
    }

    /// The counters of what could not be recorded.
    #[must_use]
    pub fn losses(&self) -> Losses {
        Losses {
            dropped_records: self.counter(Counter::Dropped),
            uncommitted_records: self.counter(Counter::Uncommitted),
            damaged_records: 0,
            overflowed_names: self.counter(Counter::OverflowedNames),
            failed_seals: self.counter(Counter::FailedSeals),
            late_samples: self.counter(Counter::LateSamples),
            skipped_samples: self.counter(Counter::SkippedSamples),
        }
    }

    /// The anchors that pass their check: one may be half written when the process dies.
    #[must_use]
    pub fn clock(&self) -> ClockMap {
        ClockMap::new(read_anchors(|number| word_at(&self.bytes, ANCHOR_OFFSET + number * 8)))
    }
}

/// The whole anchors among the words from [`ANCHOR_OFFSET`] on.
#[must_use]
pub fn read_anchors(word: impl Fn(usize) -> Option<u64>) -> Vec<Anchor> {
    let anchor = |number: usize| {
        let words = [word(number * 4)?, word(number * 4 + 1)?, word(number * 4 + 2)?];
        (word(number * 4 + 3)? == check_words(words)).then(|| Anchor {
            ticks: words[0],
            monotonic_nanos: words[1].cast_signed(),
            unix_nanos: words[2].cast_signed(),
        })
    };
    (0..=ANCHOR_CAPACITY).filter_map(anchor).collect()
}
