//! Having what is kept written now: from the program, or from another process.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tidegauge_schemas::journal::{CONTROL_FILE, Control, Counter, EventSlot};
use tidegauge_schemas::process::{ProcessInfo, journal_folder};
use tidegauge_schemas::{CheckpointKind, EventKind, Trace, layout, liveness};

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
    let (mut asked, mut failed) = (0, None);
    for &id in trace.processes() {
        let home = layout::process_folder(&trace.path, id);
        let info = ProcessInfo::read(&home.join(layout::PROCESS_FILE)).ok();
        let journal = journal_folder(&home, info.as_ref());
        if !liveness::is_live(info.as_ref(), &journal) {
            continue;
        }
        match ask(&journal.join(CONTROL_FILE)) {
            Ok(()) => asked += 1,
            // It has just ended.
            Err(tidegauge_schemas::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(asked), |error| Err(error.into()))
}

fn ask(control: &Path) -> tidegauge_schemas::Result<()> {
    let requests = Control::read(control)?.counter(Counter::DumpRequests) + 1;
    let file = OpenOptions::new().write(true).open(control);
    let written = file
        .and_then(|file| file.write_all_at(&requests.to_le_bytes(), Counter::DumpRequests.offset() as u64));
    written.map_err(tidegauge_schemas::Error::io("writing", control))
}
