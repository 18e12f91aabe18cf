//! Having what is kept written now: from the program, or from another process.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tidegauge_schemas::journal::{CONTROL_FILE, Control, Counter, EventSlot};
use tidegauge_schemas::process::{Ended, journal_folder};
use tidegauge_schemas::{CheckpointKind, EventKind, Trace, layout};

use crate::active::{Checkpoint, active};
use crate::error::Result;

/// Has what a ring keeps written, and without a ring what is recorded so far. Returns at once: it is done in the
/// background. When no recorder is on it does nothing.
pub fn dump() {
    if let Some(active) = active() {
        active.journal.request_dump();
    }
}

/// Records that `device` (0…, −1 the host) could not give `requested_bytes`, and has what a ring keeps written.
pub fn oom(device: i16, requested_bytes: u64) {
    if let Some(active) = active() {
        let event = EventSlot { kind: EventKind::Oom, device, ..EventSlot::BARE };
        active.event(&EventSlot { size_bytes: Some(requested_bytes), ..event });
        active.checkpoint(Checkpoint::new(CheckpointKind::Oom, 0));
        active.journal.request_dump();
    }
}

/// As [`dump`], for every process that records into the trace folder `run` on this machine; how many those are.
///
/// # Errors
/// If the trace cannot be read, or a journal not be written to.
pub fn request_dump(run: &Path) -> Result<usize> {
    let trace = Trace::open(run)?;
    let mut asked = 0;
    for &id in trace.processes() {
        let Ok(process) = trace.process(id) else { continue };
        if process.ended != Ended::Running {
            continue;
        }
        let folder = layout::process_folder(&trace.path, id);
        let path = journal_folder(&folder, process.info.as_ref()).join(CONTROL_FILE);
        let requests = Control::read(&path)?.counter(Counter::DumpRequests) + 1;
        let file = OpenOptions::new().write(true).open(&path);
        let written = file.and_then(|file| {
            file.write_all_at(&requests.to_le_bytes(), Counter::DumpRequests.offset() as u64)
        });
        written.map_err(tidegauge_schemas::Error::io("writing", &path))?;
        asked += 1;
    }
    Ok(asked)
}
