//! What one recorded process left: sealed parts and, if it still runs or crashed, its journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::journal::{JournalSnapshot, SnapshotChunk};
use crate::layout::{self, ProcessId};
use crate::liveness;
use crate::part::{BATCH_ROWS, Part};
use crate::part_catalog::PartCatalog;
use crate::part_list::PartList;
use crate::process::{Ended, Losses, ProcessInfo, journal_folder};
use crate::retention::{CounterNames, FilterState, KeptRows};
use crate::rows::SlotRows;
use crate::string_rows::{STRING_TABLES, string_rows};
use crate::table::Table;
use crate::trace_lock::TraceLock;

/// A state is written about as often as there are as many records as live blocks: seldom twice while it is read.
const MAX_ATTEMPTS: u32 = 5;

/// A journal of which not all events are kept has a state, if only that of its beginning.
fn with_state(mut journal: JournalSnapshot, info: Option<&ProcessInfo>) -> JournalSnapshot {
    let retention = info.map(|info| info.retention).unwrap_or_default();
    if journal.state.is_none() {
        journal.state = FilterState::new(retention, CounterNames::find(&journal.strings));
    }
    journal
}

/// One process of a trace, opened.
#[derive(Debug)]
pub struct ProcessTrace {
    /// Which one.
    pub id: ProcessId,
    /// What it says of itself; none if its `process.json` is missing or damaged, see `damage`.
    pub info: Option<ProcessInfo>,
    /// How it ended.
    pub ended: Ended,
    /// What could not be trusted; everything else was read.
    pub damage: Vec<Error>,
    journal: Option<JournalSnapshot>,
    parts: BTreeMap<Table, PartList>,
    /// While it is held no part is merged away. None once the process has closed its trace.
    _lock: Option<TraceLock>,
}

impl ProcessTrace {
    /// Opens process `id` of the trace folder `run`. The journal of a live process is copied first, then parts are
    /// listed: a chunk that was sealed in between is found in both and counted once. Until this is dropped the
    /// process's recorder merges no parts, see [`crate::trace_lock`].
    pub fn open(run: &Path, id: ProcessId) -> Result<Self> {
        let mut attempts = 0;
        loop {
            let process = Self::open_once(run, id)?;
            attempts += 1;
            if attempts == MAX_ATTEMPTS || !process.is_state_outdated(run) {
                return Ok(process);
            }
        }
    }

    /// Whether, of a journal of which not all events are kept, parts were sealed after its state was read: what the state
    /// still has to tell would be told twice.
    fn is_state_outdated(&self, run: &Path) -> bool {
        let Some(state) = self.journal.as_ref().and_then(|journal| journal.state.as_ref()) else {
            return false;
        };
        let home = layout::process_folder(run, self.id);
        let now = FilterState::read(&journal_folder(&home, self.info.as_ref()));
        self.ended == Ended::Running && now.is_ok_and(|now| now.is_some_and(|now| now != *state))
    }

    fn open_once(run: &Path, id: ProcessId) -> Result<Self> {
        let folder = layout::process_folder(run, id);
        let mut damage = Vec::new();
        let info = ProcessInfo::read(&folder.join(layout::PROCESS_FILE));
        let mut info = info.map_err(|error| damage.push(error)).ok();
        let is_closed = info.as_ref().is_some_and(|info| info.ended.is_some());
        let lock = if is_closed { None } else { TraceLock::to_read(&folder) };
        let journal_folder = journal_folder(&folder, info.as_ref());
        let live = liveness::is_live(info.as_ref(), &journal_folder);
        let mut newest_chunk = if live { newest_sealed_chunk(run, id)? } else { None };
        let journal = match JournalSnapshot::read(&journal_folder, live) {
            Ok(mut journal) => {
                damage.append(&mut journal.damage);
                let with_records = journal.chunks.iter().filter(|chunk| chunk.scan.committed > 0);
                newest_chunk = newest_chunk.max(with_records.map(|chunk| chunk.index).max());
                Some(journal)
            }
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if live && let Ok(closed) = ProcessInfo::read(&folder.join(layout::PROCESS_FILE)) {
            // It may have been stopped while its journal was copied; what was removed under our hands is in parts.
            if closed.ended.is_some() {
                damage.clear();
            }
            info = Some(closed);
        }
        // How it ended is written before a journal is removed, so this one was lost, or lies on another machine.
        if !live && journal.is_none() && info.as_ref().is_some_and(|info| info.ended.is_none()) {
            let reason =
                "it is gone, and with it what was in no part yet (or it is on the machine that recorded)";
            damage.push(Error::DamagedJournal { reason: reason.to_owned(), path: journal_folder.clone() });
        }
        let journal = journal.map(|journal| with_state(journal, info.as_ref()));
        let mut parts = BTreeMap::new();
        for table in Table::ALL {
            let listed = PartList::read(run, table, id)?;
            // What was recorded after the journal was copied is in the parts of some tables and not of others, and not
            // all that was before it is in a part: it is left out.
            let is_cut = live
                && SlotRows::TABLES.contains(&table)
                && info.as_ref().is_none_or(|info| info.ended.is_none());
            parts.insert(table, if is_cut { listed.up_to(newest_chunk) } else { listed });
        }
        let unclosed = match (&info, &journal) {
            _ if live => Ended::Running,
            (None, None) => Ended::Unknown,
            _ => Ended::Killed,
        };
        let ended = info.as_ref().and_then(|info| info.ended).unwrap_or(unclosed);
        Ok(Self { id, info, ended, damage, journal, parts, _lock: lock })
    }

    /// What could not be recorded, as far as is known.
    #[must_use]
    pub fn losses(&self) -> Losses {
        match (&self.journal, &self.info) {
            (Some(journal), _) => journal.losses,
            (None, Some(info)) => info.losses,
            (None, None) => Losses::default(),
        }
    }

    /// Records that a cleanly ended process had written and that are in no part: parts are missing.
    #[must_use]
    pub fn missing_records(&self) -> u64 {
        let Some(info) = self.info.as_ref().filter(|info| info.ended == Some(Ended::Clean)) else { return 0 };
        if self.journal.is_some() || info.cost.records == 0 {
            return 0;
        }
        let rows: u64 =
            SlotRows::TABLES.into_iter().flat_map(|table| self.parts(table)).map(|part| part.rows).sum();
        info.cost.records.saturating_sub(rows)
    }

    /// The journal, while there is one.
    #[must_use]
    pub fn journal(&self) -> Option<&JournalSnapshot> {
        self.journal.as_ref()
    }

    /// The sealed parts of a table.
    #[must_use]
    pub fn parts(&self, table: Table) -> &[Part] {
        self.parts.get(&table).map_or(&[], PartList::parts)
    }

    /// Files of parts that a merged one supersedes: a merge was cut off before it could remove them. No row of them is
    /// read.
    pub fn superseded_parts(&self) -> impl Iterator<Item = &PathBuf> {
        self.parts.values().flat_map(PartList::superseded)
    }

    /// Chunks of the journal whose rows of `table` are in no part.
    pub fn unsealed_chunks(&self, table: Table) -> impl Iterator<Item = &SnapshotChunk> {
        let of_slots = SlotRows::TABLES.contains(&table);
        let chunks = self.journal.iter().flat_map(|journal| &journal.chunks);
        chunks.filter(move |chunk| of_slots && !self.is_consumed(table, chunk.index))
    }

    /// Whether a part of the table has consumed this chunk, or for [`STRING_TABLES`] this string id; events of a chunk also if
    /// they were left out for good.
    #[must_use]
    pub fn is_consumed(&self, table: Table, number: u64) -> bool {
        let state = self.journal.as_ref().and_then(|journal| journal.state.as_ref());
        let is_left_out = table == Table::Events && state.is_some_and(|state| number < state.next_chunk);
        is_left_out || self.parts.get(&table).is_some_and(|parts| parts.consumed(number))
    }

    /// Whether a part holds events of this chunk or a later one.
    #[must_use]
    pub fn has_events_from(&self, chunk: u64) -> bool {
        self.parts(Table::Events).last().is_some_and(|part| part.consumed.last >= chunk)
    }

    /// The number after that of the journal's last chunk.
    #[must_use]
    pub fn journal_end(&self) -> u64 {
        let last = self.journal.as_ref().and_then(|journal| journal.chunks.last());
        let state = self.journal.as_ref().and_then(|journal| journal.state.as_ref());
        last.map_or(0, |chunk| chunk.index + 1).max(state.map_or(0, |state| state.next_chunk))
    }

    /// The rows of one of [`STRING_TABLES`] that are in no part; none without a journal.
    #[must_use]
    pub fn unsealed_strings(&self, table: Table) -> Option<RecordBatch> {
        let journal = self.journal.as_ref()?;
        let ids = (1..=journal.strings.len()).filter(|&id| !self.is_consumed(table, u64::from(id)));
        let rows = string_rows(table, ids, &journal.strings, &journal.clock);
        (rows.num_rows() > 0).then_some(rows)
    }

    /// All rows of a table in the order of `seq`, the named columns at least, batch by batch: memory does not grow
    /// with the trace.
    pub fn batches<'a>(
        &'a self,
        table: Table,
        columns: &'a [&'a str],
    ) -> impl Iterator<Item = Result<RecordBatch>> + 'a {
        let parts = self.parts(table).iter().map(|part| (part.consumed.first, Source::Part(part)));
        self.rows_of(parts.collect(), table, columns)
    }

    /// The rows of a table that are in no part yet: those of a journal.
    pub fn unsealed_batches(&self, table: Table) -> impl Iterator<Item = Result<RecordBatch>> {
        self.rows_of(Vec::new(), table, &[])
    }

    /// Rows of these parts, by what they consumed first, and of the journal.
    fn rows_of<'a>(
        &'a self,
        mut sources: Vec<(u64, Source<'a>)>,
        table: Table,
        columns: &'a [&'a str],
    ) -> impl Iterator<Item = Result<RecordBatch>> + 'a {
        let state = self.journal.as_ref().and_then(|journal| journal.state.as_ref());
        // These follow from all records before them.
        let state = state.filter(|_| matches!(table, Table::Events | Table::Samples));
        let mut kept = state.zip(self.journal.as_ref()).map(|(state, journal)| {
            let chunks = journal.chunks.iter().filter(|chunk| chunk.index >= state.next_chunk);
            sources.extend(chunks.map(|chunk| (chunk.index, Source::Chunk(chunk))));
            sources.push((self.journal_end(), Source::JournalEnd));
            KeptRows::new(journal, state, table)
        });
        if kept.is_none() {
            sources.extend(self.unsealed_chunks(table).map(|chunk| (chunk.index, Source::Chunk(chunk))));
        }
        sources.sort_by_key(|(first, _)| *first);
        let unsealed = STRING_TABLES.contains(&table).then(|| self.unsealed_strings(table)).flatten();
        sources
            .into_iter()
            .flat_map(move |(_, source)| self.open_source(&source, table, columns, kept.as_mut()))
            .chain(unsealed.into_iter().map(Ok))
    }

    fn open_source<'a>(
        &'a self,
        source: &Source<'a>,
        table: Table,
        columns: &[&str],
        kept: Option<&mut KeptRows<'a>>,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch>> + 'a> {
        match source {
            Source::Part(part) => match part.batches(columns, BATCH_ROWS) {
                Ok(batches) => Box::new(batches),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
            Source::Chunk(chunk) if let Some(kept) = kept => {
                let is_wanted = !self.is_consumed(table, chunk.index);
                let rows = kept.read(chunk, is_wanted, !self.has_events_from(chunk.index));
                Box::new(rows.transpose().into_iter())
            }
            // A stop that was cut short has said it.
            Source::JournalEnd if self.has_events_from(self.journal_end()) => Box::new(std::iter::empty()),
            Source::JournalEnd => Box::new(kept.map(|kept| Ok(kept.finish())).into_iter()),
            Source::Chunk(chunk) => {
                let rows = self.journal.as_ref().map(|journal| {
                    let mut rows = SlotRows::new(&journal.clock, &journal.strings);
                    let scan = chunk.for_each(|seq, slot| {
                        rows.push(seq, slot);
                    });
                    scan.map(|_| rows.finish(table))
                });
                Box::new(rows.into_iter())
            }
        }
    }
}

/// The newest chunk that a part of any table begins with.
fn newest_sealed_chunk(run: &Path, id: ProcessId) -> Result<Option<u64>> {
    let mut newest =
        SlotRows::TABLES.into_iter().map(|table| PartCatalog::newest_first_chunk(run, table, id));
    newest.try_fold(None, |newest, chunk| Ok(newest.max(chunk?)))
}

enum Source<'a> {
    Part(&'a Part),
    Chunk(&'a SnapshotChunk),
    /// What follows from all chunks together.
    JournalEnd,
}
