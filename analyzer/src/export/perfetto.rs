//! Perfetto's trace format, for ui.perfetto.dev and `trace_processor`.
//!
//! Each process is a packet sequence of its own, its packets in the order of time: a track for the process, one for each
//! thread with phases and steps as slices, one for each counter. Times are nanoseconds since 1970. Names of slices are
//! written once for each process and referred to by number.

use std::io::{self, Write};

use prost::Message as _;
use rustc_hash::FxHashMap;

use super::perfetto_proto::{
    BUILTIN_CLOCK_BOOTTIME, BUILTIN_CLOCK_REALTIME, Clock, ClockSnapshot, CounterDescriptor, DebugAnnotation,
    EventType, InternedData, InternedName, ProcessDescriptor, SEQ_INCREMENTAL_STATE_CLEARED,
    SEQ_NEEDS_INCREMENTAL_STATE, ThreadDescriptor, TracePacket, TrackDescriptor, TrackEvent, UNIT_SIZE_BYTES,
};
use super::slices::{Slice, SliceKind};
use super::timeline_feed::feed;
use super::timeline_sink::{Counter, Instant, ProcessHeader, TimelineSink};
use super::{Shown, write_error};
use crate::error::Result;
use crate::load::Source;
use crate::render::device_name;

/// Tag of `Trace.packet`: field 1, a message.
const PACKET_TAG: u8 = 0x0A;

/// Writes the timelines of all processes of `source`, and returns what to know before believing them.
///
/// # Errors
/// If the recording cannot be read, or `out` takes no more.
pub fn perfetto(source: &Source, shown: Shown<'_>, out: &mut dyn Write) -> Result<Vec<String>> {
    let mut writer = PerfettoWriter { out, packet: Vec::new(), sequence: Sequence::default() };
    let warnings = feed(source, shown, &mut writer)?;
    writer.out.flush().map_err(write_error)?;
    Ok(warnings)
}

/// Tracks of a process, which its own is the parent of.
#[derive(Debug, Clone, Copy)]
enum Track {
    Process,
    Lane(usize),
    Counter(usize),
    Happenings,
}

/// What is kept of the process that is being written.
#[derive(Debug, Default)]
struct Sequence {
    /// Its number among the sequences, from 1.
    id: u32,
    names: FxHashMap<String, u64>,
    categories: Vec<&'static str>,
    /// Whether the track of what is on no thread has been written.
    has_happenings: bool,
}

impl Sequence {
    fn uuid(&self, track: Track) -> u64 {
        let (kind, index) = match track {
            Track::Process => (0, 0),
            Track::Happenings => (1, 0),
            Track::Lane(index) => (2, index),
            Track::Counter(index) => (3, index),
        };
        u64::from(self.id) << 32 | kind << 28 | index as u64
    }
}

struct PerfettoWriter<'a> {
    out: &'a mut dyn Write,
    /// The packet that is being written.
    packet: Vec<u8>,
    sequence: Sequence,
}

impl PerfettoWriter<'_> {
    fn write(&mut self, packet: &TracePacket) -> io::Result<()> {
        self.packet.clear();
        self.packet.push(PACKET_TAG);
        packet.encode_length_delimited(&mut self.packet).map_err(io::Error::other)?;
        self.out.write_all(&self.packet)
    }

    fn packet(&self) -> TracePacket {
        TracePacket { trusted_packet_sequence_id: Some(self.sequence.id), ..TracePacket::default() }
    }

    fn describe(&mut self, track: TrackDescriptor) -> io::Result<()> {
        let packet = TracePacket { track_descriptor: Some(track), ..self.packet() };
        self.write(&packet)
    }

    fn child(&self, track: Track, parent: Track) -> TrackDescriptor {
        TrackDescriptor {
            uuid: Some(self.sequence.uuid(track)),
            parent_uuid: Some(self.sequence.uuid(parent)),
            ..TrackDescriptor::default()
        }
    }

    /// An event with a name and a category, which are interned with it if they are new.
    fn named(
        &mut self,
        time_nanos: i64,
        event_type: EventType,
        (track, name, category): (Track, &str, &'static str),
        debug_annotations: Vec<DebugAnnotation>,
    ) -> io::Result<()> {
        let mut interned = InternedData::default();
        let new = |iid: u64, name: &str| InternedName { iid: Some(iid), name: Some(name.to_owned()) };
        let name_iid = match self.sequence.names.get(name) {
            Some(iid) => *iid,
            None => {
                let iid = self.sequence.names.len() as u64 + 1;
                self.sequence.names.insert(name.to_owned(), iid);
                interned.event_names.push(new(iid, name));
                iid
            }
        };
        let known = self.sequence.categories.iter().position(|known| *known == category);
        let category_index = known.unwrap_or_else(|| {
            self.sequence.categories.push(category);
            let index = self.sequence.categories.len() - 1;
            interned.event_categories.push(new(index as u64 + 1, category));
            index
        });
        let is_new = !interned.event_names.is_empty() || !interned.event_categories.is_empty();
        let event = TrackEvent {
            category_iids: vec![category_index as u64 + 1],
            name_iid: Some(name_iid),
            debug_annotations,
            ..event(event_type, self.sequence.uuid(track))
        };
        let packet = TracePacket {
            timestamp: Some(timestamp(time_nanos)),
            interned_data: is_new.then_some(interned),
            sequence_flags: Some(SEQ_NEEDS_INCREMENTAL_STATE),
            track_event: Some(event),
            ..self.packet()
        };
        self.write(&packet)
    }
}

impl TimelineSink for PerfettoWriter<'_> {
    fn process(&mut self, process: &ProcessHeader<'_>) -> io::Result<()> {
        self.sequence = Sequence { id: process.index + 1, ..Sequence::default() };
        let now = Some(timestamp(process.start_nanos));
        // With it a viewer can show the time of day.
        let clock = |clock_id| Clock { clock_id: Some(clock_id), timestamp: now };
        let clock_snapshot = ClockSnapshot {
            clocks: vec![clock(BUILTIN_CLOCK_BOOTTIME), clock(BUILTIN_CLOCK_REALTIME)],
            primary_trace_clock: Some(BUILTIN_CLOCK_BOOTTIME),
        };
        let first = TracePacket {
            timestamp: now,
            clock_snapshot: process.has_times.then_some(clock_snapshot),
            sequence_flags: Some(SEQ_INCREMENTAL_STATE_CLEARED),
            first_packet_on_sequence: Some(true),
            ..self.packet()
        };
        self.write(&first)?;
        let pid = i32::try_from(process.pid).ok();
        let of_process = ProcessDescriptor {
            pid,
            cmdline: process.command.to_vec(),
            process_name: Some(process.name.clone()),
            process_labels: process.labels.clone(),
        };
        let uuid = Some(self.sequence.uuid(Track::Process));
        self.describe(TrackDescriptor { uuid, process: Some(of_process), ..TrackDescriptor::default() })?;
        for (index, lane) in process.lanes.iter().enumerate() {
            let parent = lane.parent.map_or(Track::Process, Track::Lane);
            let mut track = self.child(Track::Lane(index), parent);
            if lane.is_thread {
                let thread_name = Some(lane.name.clone());
                track.thread = Some(ThreadDescriptor { pid, tid: Some(i64::from(lane.tid)), thread_name });
            } else {
                track.name = Some(lane.name.clone());
            }
            self.describe(track)?;
        }
        Ok(())
    }

    fn new_counter(&mut self, counter: &Counter) -> io::Result<()> {
        // What the kernel counts of the host is on another scale than what is allocated there.
        let is_of_device = counter.device >= 0 || counter.name.starts_with("host");
        let of_counter = CounterDescriptor {
            unit: Some(UNIT_SIZE_BYTES),
            y_axis_share_key: is_of_device.then(|| device_name(counter.device)),
        };
        self.describe(TrackDescriptor {
            name: Some(counter.name.clone()),
            counter: Some(of_counter),
            ..self.child(Track::Counter(counter.index), Track::Process)
        })
    }

    fn count(&mut self, time_nanos: i64, counter: &Counter, bytes: i64) -> io::Result<()> {
        let event = event(EventType::Counter, self.sequence.uuid(Track::Counter(counter.index)));
        let packet = TracePacket {
            timestamp: Some(timestamp(time_nanos)),
            track_event: Some(TrackEvent { counter_value: Some(bytes), ..event }),
            ..self.packet()
        };
        self.write(&packet)
    }

    fn begin(&mut self, time_nanos: i64, slice: &Slice, _: Option<i64>) -> io::Result<()> {
        let annotations = match slice.kind {
            SliceKind::Phase { step, .. } => vec![whole("step", step)],
            SliceKind::Step { epoch, loss, batch_size, .. } => {
                vec![whole("epoch", epoch), decimal("loss", loss), whole("batch_size", batch_size)]
            }
        };
        let annotations = annotations.into_iter().flatten().collect();
        let what = (Track::Lane(slice.lane), &*slice.name(), slice.category());
        self.named(time_nanos, EventType::SliceBegin, what, annotations)
    }

    fn end(&mut self, time_nanos: i64, slice: &Slice) -> io::Result<()> {
        let packet = TracePacket {
            timestamp: Some(timestamp(time_nanos)),
            track_event: Some(event(EventType::SliceEnd, self.sequence.uuid(Track::Lane(slice.lane)))),
            ..self.packet()
        };
        self.write(&packet)
    }

    fn instant(&mut self, time_nanos: i64, instant: &Instant<'_>) -> io::Result<()> {
        let track = instant.lane.map_or(Track::Happenings, Track::Lane);
        if instant.lane.is_none() && !std::mem::replace(&mut self.sequence.has_happenings, true) {
            let track = self.child(track, Track::Process);
            self.describe(TrackDescriptor { name: Some("alerts and failures".to_owned()), ..track })?;
        }
        let annotations = [
            whole("device", instant.device.map(i64::from)),
            whole("asked_bytes", instant.asked_bytes),
            decimal("value", instant.value),
        ];
        let annotations = annotations.into_iter().flatten().collect();
        self.named(time_nanos, EventType::Instant, (track, instant.name, instant.category), annotations)
    }
}

fn event(event_type: EventType, track_uuid: u64) -> TrackEvent {
    TrackEvent { r#type: Some(event_type as i32), track_uuid: Some(track_uuid), ..TrackEvent::default() }
}

/// The format knows no time before 1970.
fn timestamp(time_nanos: i64) -> u64 {
    u64::try_from(time_nanos).unwrap_or(0)
}

fn whole(name: &str, value: Option<i64>) -> Option<DebugAnnotation> {
    value.map(|value| DebugAnnotation {
        name: Some(name.to_owned()),
        int_value: Some(value),
        ..DebugAnnotation::default()
    })
}

fn decimal(name: &str, value: Option<f64>) -> Option<DebugAnnotation> {
    value.map(|value| DebugAnnotation {
        name: Some(name.to_owned()),
        double_value: Some(value),
        ..DebugAnnotation::default()
    })
}
