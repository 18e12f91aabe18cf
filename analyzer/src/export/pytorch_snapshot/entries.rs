//! The trace of one device: an entry for each thing that happened to a block or a segment.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use tidegauge_schemas::EventKind;

use super::changes::{Change, Changes};
use super::frames::FrameLists;
use crate::error::{Error, Result};
use crate::export::pickle::{OpenList, PickleWriter};
use crate::export::stream_column::StreamColumn;
use crate::load::{EventRow, Process};
use crate::replay::{Observed, Observer, Window};

/// Observes a replay and writes what it tells of one device.
pub(super) struct Entries<'a, W: Write> {
    device: i16,
    window: Window,
    has_times: bool,
    /// Memory of the device, as far as the trace says it.
    total_bytes: i64,
    /// What devices had free, by device and time.
    device_free: &'a BTreeMap<(i16, i64), i64>,
    /// Failed allocations at which that is not known.
    unknown_free: u64,
    changes: Changes,
    streams: StreamColumn<'a>,
    frames: &'a mut FrameLists,
    pickle: &'a mut PickleWriter<W>,
    list: OpenList,
    entries: u64,
    failure: Option<io::Error>,
}

impl<'a, W: Write> Entries<'a, W> {
    pub(super) fn new(
        process: &'a Process,
        device: i16,
        window: Window,
        device_free: &'a BTreeMap<(i16, i64), i64>,
        pickle: &'a mut PickleWriter<W>,
        frames: &'a mut FrameLists,
    ) -> Self {
        let infos = process.info.as_ref().map_or(&[][..], |info| &info.devices);
        let total_bytes = infos.iter().find(|info| info.index == device).and_then(|info| info.total_bytes);
        let list = pickle.begin_list();
        Self {
            device,
            window,
            has_times: process.has_times(),
            total_bytes: total_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0),
            device_free,
            unknown_free: 0,
            changes: Changes::default(),
            streams: StreamColumn::new(process),
            frames,
            pickle,
            list,
            entries: 0,
            failure: None,
        }
    }

    /// Ends the list.
    pub(super) fn finish(self, path: &Path) -> Result<Written> {
        self.streams.finish()?;
        self.pickle.end_list(self.list);
        match self.failure {
            Some(error) => Err(Error::io("writing", path)(error)),
            None => Ok(Written { entries: self.entries, unknown_free: self.unknown_free }),
        }
    }
}

/// What a trace has come to.
pub(super) struct Written {
    pub(super) entries: u64,
    /// Failed allocations at which it is not known what the device had free.
    pub(super) unknown_free: u64,
}

/// Writes entries of one event.
struct Writer<'a, W: Write> {
    event: &'a EventRow,
    stream: u64,
    has_times: bool,
    total_bytes: i64,
    /// What the device had free at the event, if that is known.
    free_bytes: Option<i64>,
    frames: &'a mut FrameLists,
    pickle: &'a mut PickleWriter<W>,
    list: &'a mut OpenList,
}

impl<W: Write> Writer<'_, W> {
    /// True if the change is an entry.
    fn write(&mut self, change: Change) -> io::Result<bool> {
        let (action, address, size_bytes, site) = match change {
            Change::Alloc { address, size_bytes, site } => ("alloc", address, size_bytes, site),
            Change::Requested { address, size_bytes } => {
                ("free_requested", address, size_bytes, self.event.site)
            }
            Change::Completed { address, size_bytes } => {
                ("free_completed", address, size_bytes, self.event.site)
            }
            Change::SegmentTaken { address, size_bytes, is_mapped } => {
                let action = if is_mapped { "segment_map" } else { "segment_alloc" };
                (action, address, size_bytes, self.event.site)
            }
            Change::SegmentReturned { address, size_bytes, is_mapped } => {
                let action = if is_mapped { "segment_unmap" } else { "segment_free" };
                (action, address, size_bytes, self.event.site)
            }
            Change::Oom { size_bytes, reserved_bytes } => {
                self.begin("oom")?;
                // A viewer needs a number: where it is not known, what would be free without other programs.
                let without_others = (self.total_bytes - reserved_bytes).max(0);
                self.pickle.int_item("device_free", self.free_bytes.unwrap_or(without_others))?;
                return self.end(size_bytes, self.event.site);
            }
            Change::Snapshot => ("snapshot", 0, 0, 0),
            Change::Found { .. }
            | Change::SegmentFound { .. }
            | Change::Annotated { .. }
            | Change::Anonymous => return Ok(false),
        };
        self.begin(action)?;
        self.pickle.uint_item("addr", address)?;
        self.end(size_bytes, site)
    }

    fn begin(&mut self, action: &str) -> io::Result<()> {
        self.pickle.item(self.list)?;
        self.pickle.begin_dict();
        self.pickle.text_item("action", action)
    }

    fn end(&mut self, size_bytes: i64, site: u32) -> io::Result<bool> {
        self.pickle.int_item("size", size_bytes)?;
        self.pickle.uint_item("stream", self.stream)?;
        if self.has_times {
            self.pickle.int_item("time_us", self.event.time_nanos.div_euclid(1000))?;
        }
        self.frames.write(site, self.pickle)?;
        self.pickle.end_dict();
        Ok(true)
    }
}

impl<W: Write> Observer for Entries<'_, W> {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        if device.device != self.device || event.time_nanos > self.window.end_nanos {
            return;
        }
        let is_shown = event.time_nanos >= self.window.start_nanos && self.failure.is_none();
        let free_bytes = self.device_free.get(&(event.device, event.time_nanos)).copied();
        let is_oom = event.kind == Some(EventKind::Oom);
        self.unknown_free += u64::from(is_shown && is_oom && free_bytes.is_none());
        let mut writer = Writer {
            event,
            stream: if is_shown { self.streams.of(event.seq) } else { 0 },
            has_times: self.has_times,
            total_bytes: self.total_bytes,
            free_bytes,
            frames: self.frames,
            pickle: self.pickle,
            list: &mut self.list,
        };
        let (entries, failure) = (&mut self.entries, &mut self.failure);
        self.changes.of(observed, |change| {
            if !is_shown {
                return;
            }
            match writer.write(change) {
                Ok(is_entry) => *entries += u64::from(is_entry),
                Err(error) => *failure = Some(error),
            }
        });
    }
}
