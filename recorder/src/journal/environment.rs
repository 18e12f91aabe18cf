//! What [`super::slots`] stands on: atomics, a lock, and the sizes of the format. The model checker compiles the same
//! sources with its own in their place (`recorder/tests/loom.rs`).

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use tidegauge_schemas::journal::commit_word;

/// Slots of a chunk; few where every instruction is interpreted.
pub(crate) const SLOTS_PER_CHUNK: u64 =
    if cfg!(miri) { 64 } else { tidegauge_schemas::journal::SLOTS_PER_CHUNK };

/// Words of a chunk before its first slot.
pub(crate) const HEADER_WORDS: usize = tidegauge_schemas::journal::CHUNK_HEADER_BYTES / 8;
/// Chunks that the table can tell apart at once: 64 GiB of records, far beyond any cap.
pub(crate) const TABLE_LEN: u64 = 1 << 15;
/// How often a record looks again while another thread makes its chunk ready, before it makes one itself: well
/// under a millisecond.
pub(crate) const LATE_SPINS: u32 = 20_000;
