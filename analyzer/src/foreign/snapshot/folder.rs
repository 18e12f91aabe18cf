//! From a pickle to [`Parts`]: every dict of a kind that is known becomes a few bytes as soon as it is complete.

use crate::foreign::input::Input;
use crate::foreign::pickle::{self, Fold, Folded, Heap, PickleError, Value};
use crate::foreign::sites::{Frame, FrameId};

use super::keys;
use super::parts::{
    Annotation, Block, BlockState, Entry, HAS_ADDRESS, HAS_SIZE, HAS_TIME, Parts, Segment, time_nanos,
};
use super::site_names::site_name;

/// What a dict, or a list of frames, was folded into.
mod kind {
    pub(super) const ENTRY: u8 = 1;
    pub(super) const FRAME: u8 = 2;
    pub(super) const SITE: u8 = 3;
    pub(super) const BLOCK: u8 = 4;
    pub(super) const SEGMENT: u8 = 5;
    pub(super) const ANNOTATION: u8 = 6;
    pub(super) const HISTORY: u8 = 7;
}

/// Settings of the allocator that are kept: how many, and how deep.
const MAX_SETTINGS: usize = 200;
const MAX_SETTINGS_DEPTH: usize = 3;

/// Reads a pickle's snapshot into `parts`.
pub(super) fn read(input: &mut Input, parts: &mut Parts) -> Result<(), PickleError> {
    let total_bytes = (!input.is_gzip).then_some(input.file_bytes);
    let heap = Heap::with_texts(keys::ALL);
    let mut folder = Folder {
        parts,
        blocks: Vec::new(),
        blocks_in_segments: 0,
        entries_in_traces: 0,
        segments: Vec::new(),
        annotations: Vec::new(),
        histories: Vec::new(),
        last_stream: (0, 0),
    };
    let (value, mut heap) = pickle::read(input.reader(), total_bytes, heap, &mut folder)?;
    folder.take_snapshot(&mut heap, value);
    Ok(())
}

struct Folder<'a> {
    parts: &'a mut Parts,
    blocks: Vec<Block>,
    /// Of them, how many are in segments: none is in two.
    blocks_in_segments: usize,
    /// Entries that the lists of devices refer to.
    entries_in_traces: usize,
    segments: Vec<Segment>,
    annotations: Vec<Annotation>,
    /// What an old block tells of its allocation: requested size and site.
    histories: Vec<(i64, u32)>,
    /// The stream that was looked up last, and its number: most entries are of one stream.
    last_stream: (u64, u16),
}

impl Fold for Folder<'_> {
    #[inline]
    fn fold(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded> {
        // The first key that tells them apart; snapshots write it early.
        for key in items.iter().step_by(2) {
            match *key {
                Value::Text(keys::ACTION) => return self.entry(heap, items),
                Value::Text(keys::FILENAME | keys::LINE) => return self.frame(heap, items),
                Value::Text(keys::STATE) => return self.block(heap, items),
                Value::Text(keys::BLOCKS) => return self.segment(heap, items),
                Value::Text(keys::STAGE) => return self.annotation(heap, items),
                Value::Text(keys::REAL_SIZE) => return self.history(heap, items),
                _ => {}
            }
        }
        None
    }

    fn bytes(&self) -> u64 {
        let parts = self.parts.entries.len() * size_of::<Entry>()
            + self.blocks.len() * size_of::<Block>()
            + self.segments.len() * size_of::<Segment>()
            + self.annotations.len() * size_of::<Annotation>()
            + self.histories.len() * size_of::<(i64, u32)>();
        parts as u64 + self.parts.process.sites.bytes()
    }
}

/// The number under which the next element of a list will be found.
fn folded(kind: u8, list_length: usize) -> Option<Folded> {
    Some(Folded { kind, index: u32::try_from(list_length).ok()? })
}

fn pairs(items: &[Value]) -> impl Iterator<Item = (Value, Value)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1]))
}

impl Folder<'_> {
    #[inline]
    fn entry(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded> {
        let mut entry = Entry::default();
        let mut metadata = None;
        for (key, value) in pairs(items) {
            let Value::Text(key) = key else { continue };
            match key {
                keys::ACTION => {
                    entry.kind = value.as_text().map_or(0, |action| self.parts.kind(heap.text(action)))
                }
                keys::ADDR | keys::DEVICE_FREE => {
                    if let Some(address) = value.as_u64() {
                        entry.address = address;
                        entry.known |= HAS_ADDRESS;
                    }
                }
                keys::SIZE => {
                    if let Some(size) = value.as_i64() {
                        entry.size_bytes = size;
                        entry.known |= HAS_SIZE;
                    }
                }
                keys::TIME_US => {
                    if let Some(time) = value.as_i64() {
                        entry.time_micros = time;
                        entry.known |= HAS_TIME;
                    }
                }
                keys::STREAM => entry.stream = self.stream(value),
                keys::FRAMES => entry.site = self.site(heap, value),
                keys::POOL_ID => entry.pool = self.pool(heap, value),
                keys::USER_METADATA => metadata = value.as_text(),
                _ => {}
            }
        }
        let annotated = metadata.filter(|_| entry.kind == tidegauge_schemas::EventKind::Annotate as u8);
        if let Some(metadata) = annotated.map(|id| heap.text(id)).filter(|text| !text.is_empty()) {
            entry.site = self.parts.annotated_site(metadata, entry.site);
        }
        let place = folded(kind::ENTRY, self.parts.entries.len());
        self.parts.entries.push(entry);
        place
    }

    fn frame(&mut self, heap: &Heap, items: &[Value]) -> Option<Folded> {
        let mut frame = Frame { function: String::new(), file: None, line: 0 };
        for (key, value) in pairs(items) {
            match (key, value) {
                (Value::Text(keys::NAME), Value::Text(text)) => {
                    heap.text(text).clone_into(&mut frame.function)
                }
                (Value::Text(keys::FILENAME), Value::Text(text)) => {
                    frame.file = Some(heap.text(text).to_owned())
                }
                (Value::Text(keys::LINE), value) => {
                    frame.line = value.as_i64().and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
                }
                _ => {}
            }
        }
        Some(Folded { kind: kind::FRAME, index: self.parts.process.sites.frame_id(frame) })
    }

    fn block(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded> {
        let mut block =
            Block { address: None, size_bytes: 0, requested_bytes: 0, state: BlockState::Inactive, site: 0 };
        let (mut requested, mut history) = (None, None);
        for (key, value) in pairs(items) {
            let Value::Text(key) = key else { continue };
            match key {
                keys::ADDRESS => block.address = value.as_u64(),
                keys::SIZE => block.size_bytes = value.as_i64().unwrap_or(0),
                keys::REQUESTED_SIZE => requested = value.as_i64(),
                keys::STATE => {
                    let state = value.as_text().and_then(|text| BlockState::from_text(heap.text(text)));
                    match state {
                        Some(state) => block.state = state,
                        None => self.parts.leave_out("blocks of an unknown state"),
                    }
                }
                keys::FRAMES => block.site = self.site(heap, value),
                // The newest comes first.
                keys::HISTORY => history = heap.list(value).and_then(|list| list.first().copied()),
                _ => {}
            }
        }
        if let Some(Value::Folded(Folded { kind: kind::HISTORY, index })) =
            history.map(|value| heap.resolve(value))
        {
            let (real_bytes, site) = self.histories[index as usize];
            requested = requested.or(Some(real_bytes));
            block.site = if block.site == 0 { site } else { block.site };
        }
        block.requested_bytes = requested.unwrap_or(block.size_bytes);
        let place = folded(kind::BLOCK, self.blocks.len());
        self.blocks.push(block);
        place
    }

    fn history(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded> {
        let (mut real_bytes, mut site) = (0, 0);
        for (key, value) in pairs(items) {
            match key {
                Value::Text(keys::REAL_SIZE) => real_bytes = value.as_i64().unwrap_or(0),
                Value::Text(keys::FRAMES) => site = self.site(heap, value),
                _ => {}
            }
        }
        let place = folded(kind::HISTORY, self.histories.len());
        self.histories.push((real_bytes, site));
        place
    }

    fn segment(&mut self, heap: &mut Heap, items: &[Value]) -> Option<Folded> {
        let mut segment =
            Segment { device: 0, address: 0, total_bytes: 0, pool: 0, stream: 0, blocks: Vec::new() };
        for (key, value) in pairs(items) {
            let Value::Text(key) = key else { continue };
            match key {
                keys::DEVICE => {
                    segment.device =
                        value.as_i64().and_then(|device| i16::try_from(device).ok()).unwrap_or(0);
                }
                keys::ADDRESS => segment.address = value.as_u64().unwrap_or(0),
                keys::TOTAL_SIZE => segment.total_bytes = value.as_i64().unwrap_or(0),
                keys::STREAM => segment.stream = self.stream(value),
                keys::SEGMENT_POOL_ID => segment.pool = self.pool(heap, value),
                keys::BLOCKS => {
                    let blocks = heap.list(value).unwrap_or_default();
                    self.blocks_in_segments += blocks.len();
                    if self.blocks_in_segments > self.blocks.len() {
                        self.parts.leave_out("segments that repeat another one's blocks");
                        continue;
                    }
                    for block in blocks {
                        match heap.resolve(*block) {
                            Value::Folded(Folded { kind: kind::BLOCK, index }) => {
                                segment.blocks.push(self.blocks[index as usize]);
                            }
                            _ => self.parts.leave_out("blocks that are none"),
                        }
                    }
                }
                _ => {}
            }
        }
        let place = folded(kind::SEGMENT, self.segments.len());
        self.segments.push(segment);
        place
    }

    fn annotation(&mut self, heap: &Heap, items: &[Value]) -> Option<Folded> {
        let mut annotation = Annotation { name: String::new(), is_start: false, time_nanos: 0 };
        let mut time_micros = None;
        for (key, value) in pairs(items) {
            match (key, value) {
                (Value::Text(keys::NAME), Value::Text(text)) => {
                    heap.text(text).clone_into(&mut annotation.name)
                }
                (Value::Text(keys::STAGE), Value::Text(text)) => {
                    annotation.is_start = heap.text(text) == "START"
                }
                (Value::Text(keys::TIME_US), value) => time_micros = value.as_i64(),
                _ => {}
            }
        }
        let Some(time_nanos) = time_micros.and_then(time_nanos) else {
            self.parts.leave_out("annotations without a time");
            return None;
        };
        annotation.time_nanos = time_nanos;
        let place = folded(kind::ANNOTATION, self.annotations.len());
        self.annotations.push(annotation);
        place
    }

    #[inline]
    fn stream(&mut self, value: Value) -> u16 {
        let Some(stream) = value.as_u64() else { return 0 };
        if self.last_stream.0 != stream || self.last_stream.1 == 0 {
            self.last_stream = (stream, self.parts.process.stream_number(stream));
        }
        self.last_stream.1
    }

    fn pool(&mut self, heap: &Heap, value: Value) -> u16 {
        let Some([first, second]) = heap.list(value) else { return 0 };
        match (first.as_i64(), second.as_i64()) {
            (Some(0), Some(0)) => 0,
            (Some(first), Some(second)) => self.parts.process.pool_number(format!("{first}.{second}")),
            _ => 0,
        }
    }

    /// The site of a list of frames, which becomes that site: many entries share it.
    #[inline]
    fn site(&mut self, heap: &mut Heap, frames: Value) -> u32 {
        match heap.resolve(frames) {
            Value::Folded(Folded { kind: kind::SITE, index }) => index,
            Value::Object(id) => {
                let Some(list) = heap.list(frames) else { return 0 };
                let mut stack: Vec<FrameId> = Vec::with_capacity(list.len());
                for frame in list {
                    match heap.resolve(*frame) {
                        Value::Folded(Folded { kind: kind::FRAME, index }) => stack.push(index),
                        _ => self.parts.leave_out("frames that are none"),
                    }
                }
                let index = self.parts.process.sites.site_id(&stack, |sites| site_name(sites, &stack));
                heap.replace(id, Folded { kind: kind::SITE, index });
                index
            }
            _ => 0,
        }
    }

    /// Takes what the pickle holds: a dict of lists, or in the oldest files a list of segments.
    fn take_snapshot(&mut self, heap: &mut Heap, value: Value) {
        if heap.list(value).is_some() {
            self.take_segments(heap, value, false);
            self.parts.is_bare_list = true;
            return;
        }
        let items: Vec<Value> = heap.dict(value).unwrap_or_default().to_vec();
        for (key, value) in pairs(&items) {
            match key {
                Value::Text(keys::SEGMENTS) => self.take_segments(heap, value, false),
                Value::Text(keys::HOST_SEGMENTS) => self.take_segments(heap, value, true),
                Value::Text(keys::DEVICE_TRACES) => self.take_traces(heap, value),
                Value::Text(keys::HOST_TRACES) => self.take_host_traces(heap, value),
                Value::Text(keys::EXTERNAL_ANNOTATIONS) => self.take_annotations(heap, value),
                Value::Text(keys::ALLOCATOR_SETTINGS) => {
                    let settings = json(heap, value, MAX_SETTINGS_DEPTH, &mut MAX_SETTINGS.clone());
                    self.parts.process.config.insert("allocator_settings".to_owned(), settings);
                }
                _ => {}
            }
        }
    }

    fn take_segments(&mut self, heap: &Heap, value: Value, are_of_host: bool) {
        let Some(list) = heap.list(value) else {
            self.parts.leave_out("lists of segments that are none");
            return;
        };
        let mut taken = self.parts.segments.take().unwrap_or_default();
        for segment in list {
            match heap.resolve(*segment) {
                Value::Folded(Folded { kind: kind::SEGMENT, index }) => {
                    // Each is in the list once; a second time it would be without blocks.
                    let place = &mut self.segments[index as usize];
                    let blocks = std::mem::take(&mut place.blocks);
                    let mut segment = Segment { blocks, ..place.clone() };
                    if are_of_host {
                        segment.device = -1;
                    }
                    taken.push(segment);
                }
                _ => self.parts.leave_out("segments that are none"),
            }
        }
        self.parts.segments = Some(taken);
    }

    fn take_traces(&mut self, heap: &Heap, value: Value) {
        let traces = heap.list(value).unwrap_or_default();
        for (device, trace) in traces.iter().enumerate() {
            match i16::try_from(device) {
                Ok(device) => self.take_trace(heap, *trace, device),
                Err(_) => self.parts.leave_out("traces of devices that nobody has"),
            }
        }
        if traces.is_empty() {
            self.parts.segments.get_or_insert_default();
        }
    }

    /// One list, or one for each allocator.
    fn take_host_traces(&mut self, heap: &Heap, value: Value) {
        let traces = heap.list(value).unwrap_or_default();
        if traces.iter().any(|first| heap.list(*first).is_some()) {
            for trace in traces {
                self.take_trace(heap, *trace, -1);
            }
        } else {
            self.take_trace(heap, value, -1);
        }
    }

    fn take_trace(&mut self, heap: &Heap, value: Value, device: i16) {
        let Some(list) = heap.list(value) else {
            self.parts.leave_out("traces that are none");
            return;
        };
        let mut numbers = Vec::with_capacity(list.len());
        for entry in list {
            match heap.resolve(*entry) {
                Value::Folded(Folded { kind: kind::ENTRY, index }) => numbers.push(index),
                _ => self.parts.leave_out("entries that are none"),
            }
        }
        // What is in the file once happened once: entries may not be multiplied by referring to them again.
        self.entries_in_traces += numbers.len();
        if self.entries_in_traces > self.parts.entries.len() {
            self.parts.leave_out("traces that repeat another one");
        } else if !numbers.is_empty() {
            self.parts.traces.entry(device).or_default().extend(numbers);
        }
    }

    fn take_annotations(&mut self, heap: &Heap, value: Value) {
        for annotation in heap.list(value).unwrap_or_default() {
            match heap.resolve(*annotation) {
                Value::Folded(Folded { kind: kind::ANNOTATION, index }) => {
                    self.parts.annotations.push(self.annotations[index as usize].clone());
                }
                _ => self.parts.leave_out("annotations that are none"),
            }
        }
    }
}

/// A value as JSON, as far as `left` values and `depth` go.
fn json(heap: &Heap, value: Value, depth: usize, left: &mut usize) -> serde_json::Value {
    use serde_json::Value as Json;
    if *left == 0 {
        return Json::Null;
    }
    *left -= 1;
    let key_text = |key: Value| match key {
        Value::Text(id) => heap.text(id).to_owned(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    };
    match value {
        Value::Bool(flag) => flag.into(),
        Value::Int(number) => number.into(),
        Value::Unsigned(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Text(id) => heap.text(id).into(),
        Value::Object(_) if depth > 0 => match (heap.dict(value), heap.list(value)) {
            (Some(items), _) => {
                let members =
                    pairs(items).map(|(key, value)| (key_text(key), json(heap, value, depth - 1, left)));
                Json::Object(members.collect())
            }
            (_, Some(list)) => list.iter().map(|value| json(heap, *value, depth - 1, left)).collect(),
            _ => Json::Null,
        },
        _ => Json::Null,
    }
}
