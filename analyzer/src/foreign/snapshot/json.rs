//! From a JSON copy of a snapshot to [`Parts`], entry by entry.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::WHAT;
use super::parts::{
    Annotation, Block, BlockState, Entry, HAS_ADDRESS, HAS_SIZE, HAS_TIME, Parts, Segment, time_nanos,
};
use super::site_names::site_name;
use crate::error::Result;
use crate::foreign::input::Input;
use crate::foreign::sites::{Frame, FrameId};

/// Reads a JSON snapshot into `parts`.
pub(super) fn read(input: &mut Input, parts: &mut Parts) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_reader(input.reader());
    let read = Snapshot(parts).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| {
        let reason = if error.is_eof() {
            format!("it ends in the middle (line {}, column {})", error.line(), error.column())
        } else {
            error.to_string()
        };
        input.error(WHAT, reason)
    })
}

#[derive(Deserialize)]
struct JsonFrame {
    #[serde(default)]
    name: String,
    filename: Option<String>,
    line: Option<i64>,
}

#[derive(Deserialize)]
struct JsonEntry {
    action: String,
    addr: Option<u64>,
    device_free: Option<u64>,
    size: Option<i64>,
    /// As other programs write it: microseconds fit a float exactly.
    time_us: Option<f64>,
    stream: Option<u64>,
    pool_id: Option<(i64, i64)>,
    user_metadata: Option<String>,
    frames: Option<Vec<JsonFrame>>,
}

#[derive(Deserialize)]
struct JsonHistory {
    real_size: Option<i64>,
    frames: Option<Vec<JsonFrame>>,
}

#[derive(Deserialize)]
struct JsonBlock {
    address: Option<u64>,
    size: i64,
    requested_size: Option<i64>,
    state: String,
    frames: Option<Vec<JsonFrame>>,
    history: Option<Vec<JsonHistory>>,
}

#[derive(Deserialize)]
struct JsonSegment {
    device: Option<i16>,
    address: u64,
    total_size: i64,
    stream: Option<u64>,
    segment_pool_id: Option<(i64, i64)>,
    blocks: Vec<JsonBlock>,
}

#[derive(Deserialize)]
struct JsonAnnotation {
    name: String,
    stage: String,
    time_us: f64,
}

impl Parts {
    fn json_site(&mut self, frames: Option<&[JsonFrame]>) -> u32 {
        let frame = |frame: &JsonFrame| Frame {
            function: frame.name.clone(),
            file: frame.filename.clone(),
            line: frame.line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0),
        };
        let sites = &mut self.process.sites;
        let frames = frames.unwrap_or_default().iter();
        let stack: Vec<FrameId> = frames.map(|each| sites.frame_id(frame(each))).collect();
        sites.site_id(&stack, |sites| site_name(sites, &stack))
    }

    fn json_pool(&mut self, pool: Option<(i64, i64)>) -> u16 {
        match pool {
            None | Some((0, 0)) => 0,
            Some((first, second)) => self.process.pool_number(format!("{first}.{second}")),
        }
    }

    fn json_stream(&mut self, stream: Option<u64>) -> u16 {
        stream.map_or(0, |stream| self.process.stream_number(stream))
    }

    fn push_json_entry(&mut self, entry: &JsonEntry, device: i16) {
        let kind = self.kind(&entry.action);
        let mut site = self.json_site(entry.frames.as_deref());
        if kind == tidegauge_schemas::EventKind::Annotate as u8
            && let Some(name) = entry.user_metadata.as_deref().filter(|name| !name.is_empty())
        {
            site = self.annotated_site(name, site);
        }
        let address = entry.addr.or(entry.device_free);
        let known = |is_known: bool, flag: u8| if is_known { flag } else { 0 };
        let packed = Entry {
            address: address.unwrap_or(0),
            size_bytes: entry.size.unwrap_or(0),
            time_micros: entry.time_us.unwrap_or(0.0) as i64,
            site,
            stream: self.json_stream(entry.stream),
            pool: self.json_pool(entry.pool_id),
            kind,
            known: known(address.is_some(), HAS_ADDRESS)
                | known(entry.size.is_some(), HAS_SIZE)
                | known(entry.time_us.is_some(), HAS_TIME),
        };
        let number = self.entries.len() as u32;
        self.entries.push(packed);
        self.traces.entry(device).or_default().push(number);
    }

    fn push_json_segment(&mut self, segment: JsonSegment, is_of_host: bool) {
        let mut blocks = Vec::with_capacity(segment.blocks.len());
        for block in segment.blocks {
            let history = block.history.as_ref().and_then(|history| history.first());
            let frames = block.frames.as_deref().or(history.and_then(|history| history.frames.as_deref()));
            let site = self.json_site(frames);
            let state = BlockState::from_text(&block.state).unwrap_or_else(|| {
                self.leave_out("blocks of an unknown state");
                BlockState::Inactive
            });
            let requested = block.requested_size.or(history.and_then(|history| history.real_size));
            blocks.push(Block {
                address: block.address,
                size_bytes: block.size,
                requested_bytes: requested.unwrap_or(block.size),
                state,
                site,
            });
        }
        let packed = Segment {
            device: if is_of_host { -1 } else { segment.device.unwrap_or(0) },
            address: segment.address,
            total_bytes: segment.total_size,
            pool: self.json_pool(segment.segment_pool_id),
            stream: self.json_stream(segment.stream),
            blocks,
        };
        self.segments.get_or_insert_default().push(packed);
    }
}

/// The whole file: an object of lists, or in the oldest files a list of segments.
struct Snapshot<'a>(&'a mut Parts);

impl<'de> DeserializeSeed<'de> for Snapshot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Snapshot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a memory snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let parts = self.0;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "segments" => map.next_value_seed(Segments { parts, is_of_host: false })?,
                "host_segments" => map.next_value_seed(Segments { parts, is_of_host: true })?,
                "device_traces" => map.next_value_seed(Traces { parts, device: 0 })?,
                "host_traces" => map.next_value_seed(Traces { parts, device: -1 })?,
                "external_annotations" => {
                    let annotations: Vec<JsonAnnotation> = map.next_value()?;
                    for annotation in annotations {
                        match time_nanos(annotation.time_us as i64) {
                            Some(time_nanos) => parts.annotations.push(Annotation {
                                name: annotation.name,
                                is_start: annotation.stage == "START",
                                time_nanos,
                            }),
                            None => parts.leave_out("annotations without a time"),
                        }
                    }
                }
                "allocator_settings" => {
                    let settings = map.next_value()?;
                    parts.process.config.insert(key, settings);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<(), A::Error> {
        Segments { parts: self.0, is_of_host: false }.visit_seq(seq)
    }
}

struct Segments<'a> {
    parts: &'a mut Parts,
    is_of_host: bool,
}

impl<'de> DeserializeSeed<'de> for Segments<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Segments<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of segments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        self.parts.segments.get_or_insert_default();
        while let Some(segment) = seq.next_element()? {
            self.parts.push_json_segment(segment, self.is_of_host);
        }
        Ok(())
    }
}

/// Lists of entries, one for each device; those of the host are one list, or one for each allocator.
struct Traces<'a> {
    parts: &'a mut Parts,
    device: i16,
}

impl<'de> DeserializeSeed<'de> for Traces<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Traces<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of traces")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element_seed(EntryOrTrace { parts: self.parts, device: self.device })?.is_some() {
            self.device = if self.device < 0 { -1 } else { self.device.saturating_add(1) };
        }
        Ok(())
    }
}

/// A list of entries, or among those of the host a single one.
struct EntryOrTrace<'a> {
    parts: &'a mut Parts,
    device: i16,
}

impl<'de> DeserializeSeed<'de> for EntryOrTrace<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EntryOrTrace<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while let Some(entry) = seq.next_element()? {
            self.parts.push_json_entry(&entry, self.device);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<(), A::Error> {
        let entry = JsonEntry::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        self.parts.push_json_entry(&entry, self.device);
        Ok(())
    }
}
