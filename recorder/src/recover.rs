//! Sealing what a crash left.
//!
//! Parts say which chunks they consumed, so what is done is skipped: recovery can be repeated, and killed itself. Names
//! of parts follow from what they consume, so a second attempt at the same chunks makes the same part.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tidegauge_schemas::journal::SnapshotChunk;
use tidegauge_schemas::layout::{self, ProcessId};
use tidegauge_schemas::merge::remove_superseded;
use tidegauge_schemas::part::Range;
use tidegauge_schemas::part_target::{PartTarget, RangeSeal};
use tidegauge_schemas::process::{Ended, ProcessInfo, journal_folder};
use tidegauge_schemas::retention::FilterState;
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::run::sync_folder;
use tidegauge_schemas::string_rows::STRING_TABLES;
use tidegauge_schemas::{ProcessTrace, Table, Trace, liveness};

use crate::error::{Error, Result};
use crate::run_folder::say;

/// Chunks in a recovered part: half a million records.
const CHUNKS_PER_PART: usize = 16;

/// What recovery did for one process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// Which process.
    pub id: ProcessId,
    /// Records that were sealed.
    pub records: u64,
    /// Records that had been begun and not finished when it died.
    pub uncommitted_records: u64,
    /// What could not be trusted and was left out, one line each.
    pub damage: Vec<String>,
}

/// Seals the journals of every process of the trace in folder `run` that no longer records; those that were sealed.
///
/// # Errors
/// If the trace cannot be read or written, or a process still records.
pub fn recover(run: &Path) -> Result<Vec<Recovered>> {
    let trace = Trace::open(run)?;
    let mut recovered = Vec::new();
    for &id in trace.processes() {
        let _alone = Claimed::wait(&trace, id);
        let process = trace.process(id)?;
        if process.journal().is_none() {
            // One that nothing is known of may be about to begin.
            if !matches!(process.ended, Ended::Running | Ended::Unknown) {
                remove_half_written(&trace, &process)?;
            }
            continue;
        }
        if process.ended == Ended::Running {
            let pid = process.info.as_ref().map_or(0, |info| info.pid);
            return Err(Error::StillRecording { process: id.to_string(), pid, path: run.to_owned() });
        }
        recovered.push(recover_process(&trace, process, Ended::Killed)?);
    }
    Ok(recovered)
}

/// As [`recover`], of a run that others may still record into: processes that do, or that somebody else is sealing, are
/// left alone, and so are those of other hosts.
///
/// # Errors
/// If the trace cannot be read or written.
pub fn recover_dead(run: &Path) -> Result<Vec<Recovered>> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    recover_where(run, &|info| (info.host == host).then_some(Ended::Killed))
}

/// As [`recover_dead`], of the processes that `choose` says how they ended of.
pub(crate) fn recover_where(
    run: &Path,
    choose: &dyn Fn(&ProcessInfo) -> Option<Ended>,
) -> Result<Vec<Recovered>> {
    let trace = Trace::open(run)?;
    let (mut recovered, mut failure) = (Vec::new(), None);
    for &id in trace.processes() {
        // Before the journal is read, which may be large: whose it is, and whether it is worth a look.
        let info = ProcessInfo::read(&layout::process_folder(run, id).join(layout::PROCESS_FILE));
        let Some((info, ended)) = info.ok().and_then(|info| choose(&info).map(|ended| (info, ended))) else {
            continue;
        };
        let home = layout::process_folder(run, id);
        let journal = journal_folder(&home, Some(&info));
        if !journal.exists() || liveness::is_live(Some(&info), &journal) {
            continue;
        }
        let Some(_alone) = Claimed::now(&trace, id) else { continue };
        let sealed = trace.process(id).map_err(Error::from).and_then(|process| {
            // Somebody may have been faster.
            let is_left = process.journal().is_some() && process.ended != Ended::Running;
            is_left.then(|| recover_process(&trace, process, ended)).transpose()
        });
        match sealed {
            Ok(sealed) => recovered.extend(sealed),
            // The others are sealed all the same.
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if recovered.is_empty() => Err(error),
        Some(error) => {
            say(&error.to_string());
            Ok(recovered)
        }
        None => Ok(recovered),
    }
}

/// The right to seal what a process has left: of two launchers whose children died at once, one has it. The kernel takes
/// it back from whoever dies. It is a lock on the journal's folder; that on the process's folder is for readers, of whom
/// the recovery is one.
struct Claimed {
    /// Locked; none where folders cannot be, or there is no journal any more.
    _folder: Option<File>,
}

impl Claimed {
    fn now(trace: &Trace, id: ProcessId) -> Option<Self> {
        Self::take(trace, id, FlockOperation::NonBlockingLockExclusive)
    }

    fn wait(trace: &Trace, id: ProcessId) -> Option<Self> {
        Self::take(trace, id, FlockOperation::LockExclusive)
    }

    fn take(trace: &Trace, id: ProcessId, how: FlockOperation) -> Option<Self> {
        let home = layout::process_folder(&trace.path, id);
        let info = ProcessInfo::read(&home.join(layout::PROCESS_FILE)).ok();
        let folder = File::open(journal_folder(&home, info.as_ref())).ok();
        loop {
            match folder.as_ref().map(|folder| rustix::fs::flock(folder, how)) {
                Some(Err(Errno::INTR)) => {}
                Some(Err(Errno::WOULDBLOCK)) => return None,
                _ => return Some(Self { _folder: folder }),
            }
        }
    }
}

/// Removes what the recorder, or an earlier recovery, was writing or removing when it died: no reader looks at it, but
/// it takes space.
fn remove_half_written(trace: &Trace, process: &ProcessTrace) -> Result<()> {
    let home = layout::process_folder(&trace.path, process.id);
    let journal = tidegauge_schemas::process::journal_folder(&home, process.info.as_ref());
    remove(&name_while_removed(&journal))?;
    let superseded: Vec<PathBuf> = process.superseded_parts().cloned().collect();
    remove_superseded(&superseded)?;
    let mut folders = vec![(home, String::new())];
    for table in Table::ALL {
        let table_folder = trace.path.join(table.name());
        let found = layout::part_folders(&trace.path, table, process.id);
        let found = found.map_err(tidegauge_schemas::Error::io("listing", table_folder))?;
        // With the dash: process 1 is not process 10.
        let stem = format!("{}-", layout::part_stem(table, process.id));
        folders.extend(found.into_iter().map(|folder| (folder, stem.clone())));
    }
    for (folder, stem) in folders {
        // Processes that share a folder keep what the others are writing.
        let half_written = format!("{}{stem}", layout::TEMPORARY_PREFIX);
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(tidegauge_schemas::Error::io("listing", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(tidegauge_schemas::Error::io("listing", &folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(half_written.as_bytes()) {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.map_err(tidegauge_schemas::Error::io("removing", path))?),
    }
}

/// Removes a journal that is sealed. It is gone at once, by a rename: a reader, or the next recovery, would take one
/// that misses a few files for a damaged one.
pub(crate) fn remove_journal(journal: &Path) -> Result<()> {
    let gone = name_while_removed(journal);
    std::fs::rename(journal, &gone).map_err(tidegauge_schemas::Error::io("removing", journal))?;
    if let Some(folder) = journal.parent() {
        sync_folder(folder)?;
    }
    remove(&gone)
}

fn name_while_removed(journal: &Path) -> PathBuf {
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    journal.with_file_name(format!("{}{name}", layout::TEMPORARY_PREFIX))
}

/// Seals the journal of a process that `ended` so, unless it says otherwise itself.
fn recover_process(trace: &Trace, mut process: ProcessTrace, ended: Ended) -> Result<Recovered> {
    // First, since the space may be needed.
    remove_half_written(trace, &process)?;
    // What could not be read now may be readable later, or by a newer version: it must not be removed.
    let is_unread = |error: &tidegauge_schemas::Error| {
        use tidegauge_schemas::Error as E;
        match error {
            // A process killed as it began has no process.json; that will not change.
            E::Io { source, .. } => source.kind() != std::io::ErrorKind::NotFound,
            error => matches!(error, E::TooNew { .. } | E::TooOld { .. }),
        }
    };
    if let Some(at) = process.damage.iter().position(is_unread) {
        return Err(process.damage.swap_remove(at).into());
    }
    let host = process.info.as_ref().map(|info| info.host.clone()).unwrap_or_default();
    let target =
        PartTarget { run: trace.path.clone(), run_id: trace.info.run_id.clone(), id: process.id, host };
    let mut result = Recovered {
        id: process.id,
        records: 0,
        uncommitted_records: process.losses().uncommitted_records,
        damage: process.damage.iter().map(ToString::to_string).collect(),
    };
    if let Some(journal) = process.journal() {
        let strings = &journal.strings;
        for table in STRING_TABLES {
            // A range of ids without a row has no part, so open ids may lie on both sides of sealed ones.
            let all = 1..=u64::from(strings.len());
            let open_ids: Vec<u64> = all.filter(|&id| !process.is_consumed(table, id)).collect();
            for ids in open_ids.chunk_by(|one, two| one + 1 == *two) {
                let ids = Range { first: ids[0], last: ids[ids.len() - 1] };
                target.seal_strings(table, ids, strings, &journal.clock)?;
            }
        }
        let chunks: Vec<&SnapshotChunk> = journal.chunks.iter().collect();
        let mut kept = journal.state.clone();
        let home = layout::process_folder(&trace.path, process.id);
        let state_folder = journal_folder(&home, process.info.as_ref());
        // A part holds consecutive chunks, all of them sealed for the same tables: those next to each other that
        // have the same tables still open.
        let open = |chunk: &SnapshotChunk| -> Vec<Table> {
            SlotRows::TABLES.into_iter().filter(|table| !process.is_consumed(*table, chunk.index)).collect()
        };
        let alike =
            |one: &&SnapshotChunk, two: &&SnapshotChunk| one.index + 1 == two.index && open(one) == open(two);
        for range in chunks.chunk_by(alike).flat_map(|range| range.chunks(CHUNKS_PER_PART)) {
            let tables = open(range[0]);
            let mut seal = RangeSeal::begin(&target, tables.into_iter(), &journal.clock, strings);
            for chunk in range {
                // What was left out for good, or sealed, is known to the state.
                let Some(FilterState { filter, .. }) =
                    kept.as_mut().filter(|kept| chunk.index >= kept.next_chunk)
                else {
                    chunk.for_each(|seq, slot| seal.push(seq, slot))?;
                    continue;
                };
                if !process.has_events_from(chunk.index) && !filter.is_open() {
                    filter.open_ring();
                    // From here on it is in parts: an attempt that comes after this one must know.
                    if filter.is_open() {
                        FilterState::write(&state_folder, chunk.index, filter)?;
                    }
                }
                chunk.for_each(|seq, slot| filter.push(seq, slot, &mut |seq, slot| seal.push(seq, slot)))?;
            }
            result.records += seal.records();
            let consumed = Range { first: range[0].index, last: range[range.len() - 1].index };
            seal.seal(consumed, &mut Vec::new())?;
        }
        let end = process.journal_end();
        // A stop that was cut short may have said what the end tells.
        if let Some(mut kept) = kept.filter(|_| !process.has_events_from(end)) {
            let mut seal = RangeSeal::begin(&target, [Table::Events].into_iter(), &journal.clock, strings);
            kept.filter.finish(&mut |seq, slot| seal.push(seq, slot));
            result.records += seal.records();
            seal.seal(Range { first: end, last: end }, &mut Vec::new())?;
        }
    }
    close(&target, &mut process, ended)?;
    Ok(result)
}

/// Says how it ended, removes the journal, then says that it is gone: a kill in between leaves what a second attempt
/// needs.
fn close(target: &PartTarget, process: &mut ProcessTrace, ended: Ended) -> Result<()> {
    let losses = process.losses();
    let clock_note = process.journal().and_then(|journal| journal.clock.step_note());
    let folder = layout::process_folder(&target.run, process.id);
    let journal = tidegauge_schemas::process::journal_folder(&folder, process.info.as_ref());
    if let Some(info) = &mut process.info {
        info.losses = losses;
        // An earlier attempt, or a stop, that came this far has said it.
        if info.ended.is_none() {
            info.notes.extend(clock_note);
        }
        info.ended.get_or_insert(ended);
        info.write(&target.process_file())?;
    }
    if process.damage.is_empty() {
        remove_journal(&journal)?;
    } else {
        // A damaged journal may hold more than we could read: kept for somebody to look at.
        let kept = journal.with_extension("damaged");
        std::fs::rename(&journal, &kept).map_err(tidegauge_schemas::Error::io("renaming", &journal))?;
    }
    if let Some(info) = process.info.as_mut().filter(|info| info.journal_path.is_some()) {
        info.journal_path = None;
        info.write(&target.process_file())?;
    }
    Ok(())
}
