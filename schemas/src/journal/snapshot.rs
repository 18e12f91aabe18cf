//! A journal as a reader sees it: copied while it is written to, or read in place once its writer is gone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::chunk::{CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_PREFIX, ChunkHead, ChunkSlots, Scan};
use super::{CONTROL_FILE, ClockMap, Control, STRINGS_FILE, StringTable};
use crate::error::{Error, Result};
use crate::process::Losses;
use crate::retention::FilterState;

/// A slot that is written while it is copied may be torn in the copy. It is whole in the next one; what is not after
/// so many copies is damaged.
const TORN_READS: u32 = 8;

/// A chunk that holds records.
#[derive(Debug, Clone)]
pub struct SnapshotChunk {
    /// Its number: record `seq` lies in chunk `seq / SLOTS_PER_CHUNK`.
    pub index: u64,
    /// Its file.
    pub path: PathBuf,
    /// What a pass over it met.
    pub scan: Scan,
    copy: Option<Vec<u8>>,
    /// Records after this one are left out.
    last_seq: u64,
}

impl SnapshotChunk {
    /// Calls `each` for every committed slot, in order.
    pub fn for_each(&self, each: impl FnMut(u64, &super::Slot)) -> Result<Scan> {
        match &self.copy {
            Some(bytes) => Ok(ChunkSlots::new(self.index, bytes).up_to(self.last_seq).scan(each)),
            None => Ok(ChunkSlots::new(self.index, &read_chunk(&self.path)?).scan(each)),
        }
    }
}

/// The contents of a journal.
#[derive(Debug)]
pub struct JournalSnapshot {
    /// Chunks, ascending by index.
    pub chunks: Vec<SnapshotChunk>,
    /// Names.
    pub strings: StringTable,
    /// Times.
    pub clock: ClockMap,
    /// Counters of the writer so far; `damaged_records` is this reader's.
    pub losses: Losses,
    /// What is alive before the first chunk whose events are not sealed, if not all events are kept.
    pub state: Option<FilterState>,
    /// What of it could not be trusted. The rest is sound.
    pub damage: Vec<Error>,
}

impl JournalSnapshot {
    /// Reads the journal in `folder`. While its writer is `live`, chunks are copied: one that is recycled
    /// meanwhile is left out, since its records are then in a part. List parts only after this. Records that came after
    /// copying began are left out, so that those copied early and those copied late fit together.
    pub fn read(folder: &Path, live: bool) -> Result<Self> {
        let mut damage = Vec::new();
        let mut chunks = Vec::new();
        let last_seq = if live { newest_seq(folder)? } else { u64::MAX };
        for path in chunk_files(folder)? {
            match read_snapshot_chunk(&path, live, last_seq, &mut damage) {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => {}
                Err(error) => damage.push(error),
            }
        }
        // A file that lost the race for a chunk number may bear it for a moment; it has no records.
        chunks.sort_by_key(|chunk| (chunk.index, std::cmp::Reverse(chunk.scan.committed)));
        for pair in chunks.windows(2) {
            if pair[0].index == pair[1].index && pair[1].scan.committed > 0 {
                let reason = format!("chunk {} is also in {}", pair[0].index, pair[0].path.display());
                damage.push(Error::DamagedChunk { reason, path: pair[1].path.clone() });
            }
        }
        chunks.dedup_by_key(|chunk| chunk.index);
        for chunk in chunks.iter().filter(|chunk| chunk.scan.damaged > 0) {
            let reason = format!("{} of its slots fail their check and are left out", chunk.scan.damaged);
            damage.push(Error::DamagedChunk { reason, path: chunk.path.clone() });
        }
        // A chunk is recycled only after the state of what came of it: what is missing above is in this.
        let state = FilterState::read(folder).map_err(|error| damage.push(error)).ok().flatten();
        // Names and anchors are written before the slots that need them, so they are read after them.
        let strings = StringTable::read(&folder.join(STRINGS_FILE));
        let strings = strings.map_err(|error| damage.push(error)).unwrap_or_default();
        if strings.lost() > 0 {
            let reason = format!("{} names cannot be read and show as <lost name>", strings.lost());
            damage.push(Error::DamagedJournal { reason, path: folder.join(STRINGS_FILE) });
        }
        let control = Control::read(&folder.join(CONTROL_FILE)).map_err(|error| damage.push(error)).ok();
        let mut losses = control.as_ref().map(Control::losses).unwrap_or_default();
        losses.damaged_records = chunks.iter().map(|chunk| chunk.scan.damaged).sum();
        if !live {
            losses.uncommitted_records += chunks.iter().map(|chunk| chunk.scan.holes).sum::<u64>();
        }
        let clock = control.map_or_else(|| ClockMap::new(Vec::new()), |control| control.clock());
        Ok(Self { chunks, strings, clock, losses, state, damage })
    }
}

fn chunk_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("listing", folder))? {
        let entry = entry.map_err(Error::io("listing", folder))?;
        if entry.file_name().to_string_lossy().starts_with(CHUNK_PREFIX) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_chunk(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("opening", path))?;
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut bytes).map_err(Error::io("reading", path))?;
    Ok(bytes)
}

fn read_snapshot_chunk(
    path: &Path,
    live: bool,
    last_seq: u64,
    damage: &mut Vec<Error>,
) -> Result<Option<SnapshotChunk>> {
    let mut attempts = 0;
    loop {
        let bytes = match read_chunk(path) {
            // A live writer removes surplus chunks.
            Err(Error::Io { source, .. }) if live && source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        if bytes.len() < CHUNK_BYTES && !live {
            let reason = format!("it is cut short to {} bytes, expected {CHUNK_BYTES}", bytes.len());
            damage.push(Error::DamagedChunk { reason, path: path.to_owned() });
        }
        let ChunkHead::Holds(index) = ChunkHead::parse(&bytes, path)? else { return Ok(None) };
        if live && head_now(path) != Some(ChunkHead::Holds(index)) {
            return Ok(None);
        }
        let scan = ChunkSlots::new(index, &bytes).up_to(last_seq).scan(|_, _| ());
        attempts += 1;
        if live && scan.damaged > 0 && attempts < TORN_READS {
            continue;
        }
        return Ok(Some(SnapshotChunk {
            index,
            path: path.to_owned(),
            scan,
            copy: live.then_some(bytes),
            last_seq,
        }));
    }
}

/// The highest `seq` committed in the newest chunk that has any, or 0.
fn newest_seq(folder: &Path) -> Result<u64> {
    let mut heads: Vec<(u64, PathBuf)> = Vec::new();
    for path in chunk_files(folder)? {
        if let Some(ChunkHead::Holds(index)) = head_now(&path) {
            heads.push((index, path));
        }
    }
    heads.sort();
    for (index, path) in heads.iter().rev() {
        let Ok(bytes) = read_chunk(path) else { continue };
        let mut newest = None;
        ChunkSlots::new(*index, &bytes).scan(|seq, _| newest = Some(seq));
        if let Some(newest) = newest {
            return Ok(newest);
        }
    }
    Ok(0)
}

fn head_now(path: &Path) -> Option<ChunkHead> {
    let mut bytes = [0; CHUNK_HEADER_BYTES];
    File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    ChunkHead::parse(&bytes, path).ok()
}
