//! From a replay to a timeline: every change of the curves, phases, steps and what happened, in the order of time.
//!
//! Rows are told in the order of `seq`. Where the time of one lies before that of the one before it, which threads'
//! clocks can do, it is told at the latter's: a viewer sorts by time, and would take ends for other slices' ends.
//! Changes within one and the same nanosecond or, in recordings of other tools, microsecond are told as one, with the
//! highest and the lowest value in between, so that no extreme is lost.

use std::iter::Peekable;

use tidegauge_schemas::{CheckpointKind, EventKind, metrics};

use super::counters::Counters;
use super::display_ids::DisplayIds;
use super::process_tracks::{lanes, process_labels, process_name};
use super::slices::{Slice, Slices};
use super::timeline_sink::{Instant, ProcessHeader, TimelineSink};
use super::{Shown, write_error};
use crate::analysis::Curve;
use crate::error::Result;
use crate::load::{CheckpointRow, EventRow, Process, Rows, SampleRow, Source};
use crate::render::device_name;
use crate::replay::{DeviceState, Observed, Observer, Window, replay};

/// Tells `sink` of all processes, and returns what to know before believing it.
pub(super) fn feed(source: &Source, shown: Shown<'_>, sink: &mut impl TimelineSink) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut ids = DisplayIds::default();
    let real_pid = |process: &Process| process.info.as_ref().map_or(0, |info| info.pid);
    let pids: Vec<u32> = source.processes.iter().map(|process| ids.take(real_pid(process))).collect();
    for ((index, process), pid) in (0..).zip(&source.processes).zip(pids) {
        let slices = Slices::of(process)?;
        let start_nanos = Rows::new(process).first_nanos()?;
        let header = ProcessHeader {
            index,
            pid,
            name: process_name(process),
            command: process.info.as_ref().map_or(&[], |info| info.command.as_slice()),
            labels: process_labels(process, pid),
            start_nanos,
            has_times: process.has_times(),
            lanes: &lanes(&slices, pid, &mut ids),
        };
        sink.process(&header).map_err(write_error)?;
        let window = (shown.window_of)(process)?;
        let mut feed = Feed {
            sink,
            window,
            shows: shown.device,
            slices: &slices,
            next_slice: 0,
            open: Vec::new(),
            counters: Counters::default(),
            by_device: Vec::new(),
            node_samples: Rows::new(process).node_samples().peekable(),
            now_nanos: start_nanos,
            part: Part::at(start_nanos, window),
            failed: Ok(()),
        };
        let outcome = replay(process, window, &mut feed)?;
        feed.finish()?;
        let anomalies = outcome.anomalies.warnings();
        warnings.extend(anomalies.iter().map(|warning| format!("{}: {warning}", process.id)));
    }
    Ok(warnings)
}

/// Where the counters of a device are.
#[derive(Debug, Clone, Copy)]
struct DeviceCounters {
    allocated: usize,
    active: usize,
    /// `None` until a segment has been seen.
    reserved: Option<usize>,
}

/// Where in time a timeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before the window that is shown.
    Before,
    /// In it.
    Inside,
    /// Past it.
    After,
}

impl Part {
    fn at(time_nanos: i64, window: Window) -> Self {
        match time_nanos {
            before if before < window.start_nanos => Self::Before,
            after if after > window.end_nanos => Self::After,
            _ => Self::Inside,
        }
    }
}

struct Feed<'a, S> {
    sink: &'a mut S,
    window: Window,
    shows: &'a dyn Fn(i16) -> bool,
    slices: &'a Slices,
    /// The first that has not begun.
    next_slice: usize,
    /// Those that have begun and not ended, in the order of their beginnings.
    open: Vec<&'a Slice>,
    counters: Counters,
    /// By the replay's devices; `None` for those that are not shown, or not yet.
    by_device: Vec<Option<DeviceCounters>>,
    node_samples: Peekable<Box<dyn Iterator<Item = Result<SampleRow>> + 'a>>,
    now_nanos: i64,
    part: Part,
    /// What has gone wrong while the replay goes on, which cannot be told to stop.
    failed: Result<()>,
}

impl<S: TimelineSink> Feed<'_, S> {
    /// The recording ends: samples of devices that come later are told, and what is open ends.
    fn finish(mut self) -> Result<()> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        self.take_node_samples(i64::MAX)?;
        if self.part == Part::Inside {
            self.close()?;
        }
        Ok(())
    }

    /// Takes in the samples of devices up to `time_nanos`, then moves there.
    #[inline]
    fn arrive(&mut self, time_nanos: i64) -> Result<()> {
        if time_nanos <= self.now_nanos {
            return Ok(());
        }
        self.take_node_samples(time_nanos)?;
        self.move_to(time_nanos)
    }

    fn take_node_samples(&mut self, until_nanos: i64) -> Result<()> {
        let is_later = |row: &Result<SampleRow>| row.as_ref().is_ok_and(|row| row.time_nanos > until_nanos);
        while let Some(row) = self.node_samples.next_if(|row| !is_later(row)) {
            let row = row?;
            if row.metric == metrics::GPU_USED.name && (self.shows)(row.device) {
                self.move_to(row.time_nanos)?;
                let counter = self.counters.find(row.device, None, || format!("device {} used", row.device));
                self.set(counter, row.value as i64);
            }
        }
        Ok(())
    }

    fn move_to(&mut self, time_nanos: i64) -> Result<()> {
        if time_nanos <= self.now_nanos {
            return Ok(());
        }
        if self.part == Part::Before && time_nanos >= self.window.start_nanos {
            self.now_nanos = self.window.start_nanos;
            self.open()?;
        }
        if self.part == Part::Inside {
            self.counters.tell(self.now_nanos, self.sink).map_err(write_error)?;
            if time_nanos > self.window.end_nanos {
                self.now_nanos = self.window.end_nanos;
                self.close()?;
            }
        }
        self.now_nanos = time_nanos;
        Ok(())
    }

    /// The window begins: what is open and what was counted before is shown as it is now.
    fn open(&mut self) -> Result<()> {
        self.part = Part::Inside;
        for slice in std::mem::take(&mut self.open) {
            self.begin_slice(slice)?;
            self.open.push(slice);
        }
        self.counters.show();
        Ok(())
    }

    /// The window or the recording ends.
    fn close(&mut self) -> Result<()> {
        self.counters.tell(self.now_nanos, self.sink).map_err(write_error)?;
        while let Some(slice) = self.open.pop() {
            self.end_slice(slice)?;
        }
        self.part = Part::After;
        Ok(())
    }

    #[inline]
    fn set(&mut self, counter: usize, bytes: i64) {
        self.counters.set(counter, bytes, self.part == Part::Inside);
    }

    #[inline]
    fn event(&mut self, event: &EventRow, device_index: usize, device: &DeviceState) -> Result<()> {
        self.arrive(event.time_nanos)?;
        if device_index >= self.by_device.len() {
            self.by_device.resize(device_index + 1, None);
        }
        let known = self.by_device[device_index];
        let Some(mut of) = known.or_else(|| self.new_device(device.device)) else { return Ok(()) };
        self.set(of.allocated, device.allocated_bytes);
        self.set(of.active, device.active_bytes);
        if let Some(bytes) = device.reserved_bytes {
            let reserved = of.reserved.unwrap_or_else(|| self.find(device.device, Curve::Reserved));
            of.reserved = Some(reserved);
            self.set(reserved, bytes);
        }
        self.by_device[device_index] = Some(of);
        if event.kind == Some(EventKind::Oom) {
            self.instant(&Instant {
                name: "out of memory",
                category: "oom",
                lane: None,
                device: Some(event.device),
                asked_bytes: event.size_bytes,
                value: None,
            })?;
        }
        Ok(())
    }

    /// The counters of a device, unless it is not shown.
    fn new_device(&mut self, device: i16) -> Option<DeviceCounters> {
        (self.shows)(device).then(|| DeviceCounters {
            allocated: self.find(device, Curve::Allocated),
            active: self.find(device, Curve::Active),
            reserved: None,
        })
    }

    fn find(&mut self, device: i16, curve: Curve) -> usize {
        self.counters.find(device, Some(curve), || format!("{} {}", device_name(device), curve.as_str()))
    }

    fn sample(&mut self, row: &SampleRow) -> Result<()> {
        if !row.is_rss() || !(self.shows)(row.device) {
            return Ok(());
        }
        self.arrive(row.time_nanos)?;
        let is_tree = row.metric == metrics::TREE_RSS.name;
        let name = || if is_tree { "process tree rss" } else { "process rss" }.to_owned();
        let counter = self.counters.find(row.device, Some(Curve::Rss), name);
        self.set(counter, row.value as i64);
        Ok(())
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        self.arrive(row.time_nanos)?;
        self.end_slices(row.seq)?;
        let category = match row.kind {
            Some(CheckpointKind::Mark) => Some("mark"),
            Some(CheckpointKind::Oom) => Some("oom"),
            Some(CheckpointKind::Alert) => Some("alert"),
            _ => None,
        };
        if let Some(category) = category {
            let unnamed = if category == "oom" { "out of memory" } else { category };
            self.instant(&Instant {
                name: row.name.as_deref().unwrap_or(unnamed),
                category,
                lane: self.slices.own_lane(row.thread).filter(|_| category == "mark"),
                device: None,
                asked_bytes: None,
                value: row.value,
            })?;
        }
        self.begin_slices(row.seq)
    }

    fn end_slices(&mut self, seq: u64) -> Result<()> {
        while let Some(at) = self.open.iter().rposition(|slice| slice.end_seq <= seq) {
            let slice = self.open.remove(at);
            self.end_slice(slice)?;
        }
        Ok(())
    }

    fn begin_slices(&mut self, seq: u64) -> Result<()> {
        let slices = self.slices;
        while let Some(slice) = slices.slices.get(self.next_slice).filter(|slice| slice.begin_seq <= seq) {
            self.next_slice += 1;
            self.begin_slice(slice)?;
            if slice.end_seq <= seq {
                self.end_slice(slice)?;
            } else {
                self.open.push(slice);
            }
        }
        Ok(())
    }

    fn begin_slice(&mut self, slice: &Slice) -> Result<()> {
        if self.part != Part::Inside {
            return Ok(());
        }
        let end_nanos = slice.end_nanos.map(|end_nanos| end_nanos.min(self.window.end_nanos));
        self.sink.begin(self.now_nanos, slice, end_nanos).map_err(write_error)
    }

    fn end_slice(&mut self, slice: &Slice) -> Result<()> {
        if self.part != Part::Inside {
            return Ok(());
        }
        self.sink.end(self.now_nanos, slice).map_err(write_error)
    }

    fn instant(&mut self, instant: &Instant<'_>) -> Result<()> {
        if self.part != Part::Inside {
            return Ok(());
        }
        self.sink.instant(self.now_nanos, instant).map_err(write_error)
    }

    #[inline]
    fn take(&mut self, observed: &Observed<'_>) -> Result<()> {
        match observed {
            Observed::Event { event, device_index, device, .. } => self.event(event, *device_index, device),
            Observed::Checkpoint { row, .. } => self.checkpoint(row),
            Observed::Sample(row) => self.sample(row),
            // Samples of the node are taken in by their time.
            Observed::Phase(_) | Observed::Step { .. } | Observed::NodeSample(_) => Ok(()),
        }
    }
}

impl<S: TimelineSink> Observer for Feed<'_, S> {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        if self.failed.is_ok() && self.part != Part::After {
            self.failed = self.take(observed);
        }
    }
}
