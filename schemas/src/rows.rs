//! From records to Arrow: builders for the tables that the journal feeds, and for `sites`.
//!
//! Text columns become dictionaries; kinds and categories are codes until the batch is finished.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Builder, Int16Builder, Int32Array, Int32Builder, Int64Builder,
    RecordBatch, StringArray, TimestampNanosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::Int32Type;

use crate::journal::{
    CheckpointSlot, ClockCursor, ClockMap, EventSlot, JournalString, Record, SampleSlot, Slot, StringTable,
};
use crate::kinds::{Category, CheckpointKind, EventKind};
use crate::table::Table;

/// A text column of many repeated values.
#[derive(Debug, Default)]
struct TextBuilder {
    keys: Int32Builder,
    values: Vec<String>,
    key_of: HashMap<u32, i32>,
}

impl TextBuilder {
    /// Appends the string of table id `id`; null for 0.
    fn append_id(&mut self, id: u32, strings: &StringTable) {
        if id == 0 {
            self.keys.append_null();
            return;
        }
        let key = *self.key_of.entry(id).or_insert_with(|| {
            self.values.push(strings.name(id).into_owned());
            self.values.len() as i32 - 1
        });
        self.keys.append_value(key);
    }

    /// Appends a text that is not expected to repeat.
    fn append(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.keys.append_value(self.values.len() as i32);
                self.values.push(text.to_owned());
            }
            None => self.keys.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        self.key_of.clear();
        let values = StringArray::from_iter_values(std::mem::take(&mut self.values));
        dictionary(self.keys.finish(), values)
    }
}

fn dictionary(keys: Int32Array, values: StringArray) -> ArrayRef {
    // The keys were handed out above or are codes of the vocabulary, so all of them are in range.
    Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)))
}

fn vocabulary<'a>(keys: &mut Int32Builder, words: impl Iterator<Item = &'a str>) -> ArrayRef {
    dictionary(keys.finish(), StringArray::from_iter_values(words))
}

fn time_builder() -> TimestampNanosecondBuilder {
    TimestampNanosecondBuilder::new().with_timezone("UTC")
}

fn known(id: u32) -> Option<u32> {
    (id != 0).then_some(id)
}

fn batch(table: Table, columns: Vec<ArrayRef>) -> RecordBatch {
    // Column count, types and nullability follow from the builders; a mismatch is a bug that every test meets.
    #[allow(clippy::expect_used)]
    RecordBatch::try_new(table.schema(), columns).expect("builders follow the table's columns")
}

/// Builds batches of `events`.
#[derive(Debug)]
pub struct EventRows {
    seq: UInt64Builder,
    time: TimestampNanosecondBuilder,
    kind: Int32Builder,
    device: Int16Builder,
    address: UInt64Builder,
    size_bytes: Int64Builder,
    stream: UInt64Builder,
    pool: TextBuilder,
    thread: UInt32Builder,
    site: UInt32Builder,
    category: Int32Builder,
}

impl Default for EventRows {
    fn default() -> Self {
        Self {
            seq: UInt64Builder::new(),
            time: time_builder(),
            kind: Int32Builder::new(),
            device: Int16Builder::new(),
            address: UInt64Builder::new(),
            size_bytes: Int64Builder::new(),
            stream: UInt64Builder::new(),
            pool: TextBuilder::default(),
            thread: UInt32Builder::new(),
            site: UInt32Builder::new(),
            category: Int32Builder::new(),
        }
    }
}

impl EventRows {
    /// Appends a row.
    pub fn push(&mut self, seq: u64, time_nanos: i64, event: &EventSlot, strings: &StringTable) {
        self.seq.append_value(seq);
        self.time.append_value(time_nanos);
        self.kind.append_value(event.kind as i32 - 1);
        self.device.append_value(event.device);
        self.address.append_option(event.address);
        self.size_bytes.append_option(event.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
        self.stream.append_option(event.stream);
        self.pool.append_id(event.pool, strings);
        self.thread.append_option(known(event.thread));
        self.site.append_option(known(event.site));
        self.category.append_option(event.category.map(|category| category as i32 - 1));
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.seq)
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            Arc::new(self.time.finish()),
            vocabulary(&mut self.kind, EventKind::ALL.iter().map(|kind| kind.as_str())),
            Arc::new(self.device.finish()),
            Arc::new(self.address.finish()),
            Arc::new(self.size_bytes.finish()),
            Arc::new(self.stream.finish()),
            self.pool.finish(),
            Arc::new(self.thread.finish()),
            Arc::new(self.site.finish()),
            vocabulary(&mut self.category, Category::ALL.iter().map(|category| category.as_str())),
        ];
        batch(Table::Events, columns)
    }
}

/// Builds batches of `checkpoints`.
#[derive(Debug)]
pub struct CheckpointRows {
    seq: UInt64Builder,
    time: TimestampNanosecondBuilder,
    kind: Int32Builder,
    name: TextBuilder,
    step: Int64Builder,
    epoch: Int64Builder,
    thread: UInt32Builder,
    value: Float64Builder,
    batch_size: Int64Builder,
}

impl Default for CheckpointRows {
    fn default() -> Self {
        Self {
            seq: UInt64Builder::new(),
            time: time_builder(),
            kind: Int32Builder::new(),
            name: TextBuilder::default(),
            step: Int64Builder::new(),
            epoch: Int64Builder::new(),
            thread: UInt32Builder::new(),
            value: Float64Builder::new(),
            batch_size: Int64Builder::new(),
        }
    }
}

impl CheckpointRows {
    /// Appends a row.
    pub fn push(&mut self, seq: u64, time_nanos: i64, checkpoint: &CheckpointSlot, strings: &StringTable) {
        self.seq.append_value(seq);
        self.time.append_value(time_nanos);
        self.kind.append_value(checkpoint.kind as i32 - CheckpointKind::ALL[0] as i32);
        self.name.append_id(checkpoint.name, strings);
        self.step.append_option(checkpoint.step);
        self.epoch.append_option(checkpoint.epoch.map(i64::from));
        self.thread.append_option(known(checkpoint.thread));
        self.value.append_option(checkpoint.value);
        self.batch_size
            .append_option(checkpoint.batch_size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            Arc::new(self.time.finish()),
            vocabulary(&mut self.kind, CheckpointKind::ALL.iter().map(|kind| kind.as_str())),
            self.name.finish(),
            Arc::new(self.step.finish()),
            Arc::new(self.epoch.finish()),
            Arc::new(self.thread.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.batch_size.finish()),
        ];
        batch(Table::Checkpoints, columns)
    }
}

/// Builds batches of `samples`.
#[derive(Debug)]
pub struct SampleRows {
    seq: UInt64Builder,
    time: TimestampNanosecondBuilder,
    metric: TextBuilder,
    device: Int16Builder,
    pid: UInt32Builder,
    value: Float64Builder,
}

impl Default for SampleRows {
    fn default() -> Self {
        Self {
            seq: UInt64Builder::new(),
            time: time_builder(),
            metric: TextBuilder::default(),
            device: Int16Builder::new(),
            pid: UInt32Builder::new(),
            value: Float64Builder::new(),
        }
    }
}

impl SampleRows {
    /// Appends a row; a sample taken at a checkpoint bears the checkpoint's `seq`.
    pub fn push(&mut self, seq: u64, time_nanos: i64, sample: &SampleSlot, strings: &StringTable) {
        self.seq.append_value(sample.checkpoint.unwrap_or(seq));
        self.time.append_value(time_nanos);
        self.metric.append_id(sample.metric.max(crate::journal::OVERFLOW_ID), strings);
        self.device.append_value(sample.device);
        self.pid.append_option(sample.pid);
        self.value.append_value(sample.value);
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            Arc::new(self.time.finish()),
            self.metric.finish(),
            Arc::new(self.device.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.value.finish()),
        ];
        batch(Table::Samples, columns)
    }
}

/// The rows of `sites` for strings with ascending ids from `first_id` on that are sites.
#[must_use]
pub fn site_rows<'a>(
    strings: impl Iterator<Item = (u32, &'a JournalString)>,
    clock: &ClockMap,
) -> RecordBatch {
    let (mut seq, mut time, mut site) = (UInt64Builder::new(), time_builder(), UInt32Builder::new());
    let (mut name, mut stack) = (TextBuilder::default(), TextBuilder::default());
    for (id, string) in strings {
        let (first, rest) = match string.text.split_once('\n') {
            Some((first, rest)) => (first, Some(rest)),
            None => (string.text.as_str(), None),
        };
        seq.append_value(string.seq);
        time.append_value(clock.unix_nanos(string.ticks));
        site.append_value(id);
        name.append(Some(first));
        stack.append(rest);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(seq.finish()),
        Arc::new(time.finish()),
        Arc::new(site.finish()),
        name.finish(),
        stack.finish(),
    ];
    batch(Table::Sites, columns)
}

/// Sorts journal slots into the tables that they are rows of.
#[derive(Debug)]
pub struct SlotRows<'a> {
    clock: ClockCursor<'a>,
    strings: &'a StringTable,
    events: EventRows,
    checkpoints: CheckpointRows,
    samples: SampleRows,
    /// Slots of a kind that this version does not know.
    pub unknown_records: u64,
}

impl<'a> SlotRows<'a> {
    /// The tables that slots are rows of.
    pub const TABLES: [Table; 3] = [Table::Events, Table::Checkpoints, Table::Samples];

    /// Without rows.
    #[must_use]
    pub fn new(clock: &'a ClockMap, strings: &'a StringTable) -> Self {
        Self {
            clock: clock.cursor(),
            strings,
            events: EventRows::default(),
            checkpoints: CheckpointRows::default(),
            samples: SampleRows::default(),
            unknown_records: 0,
        }
    }

    /// Adds the record in a committed slot.
    pub fn push(&mut self, seq: u64, slot: &Slot) {
        match Record::decode(slot) {
            Some(Record::Event(event)) => {
                self.events.push(seq, self.clock.unix_nanos(event.ticks), &event, self.strings);
            }
            Some(Record::Checkpoint(checkpoint)) => {
                self.checkpoints.push(
                    seq,
                    self.clock.unix_nanos(checkpoint.ticks),
                    &checkpoint,
                    self.strings,
                );
            }
            Some(Record::Sample(sample)) => {
                self.samples.push(seq, self.clock.unix_nanos(sample.ticks), &sample, self.strings);
            }
            None => self.unknown_records += 1,
        }
    }

    /// The rows of one of [`Self::TABLES`]; of another table, none.
    pub fn finish(&mut self, table: Table) -> RecordBatch {
        match table {
            Table::Events => self.events.finish(),
            Table::Checkpoints => self.checkpoints.finish(),
            Table::Samples => self.samples.finish(),
            Table::Sites | Table::Modules | Table::NodeSamples => RecordBatch::new_empty(table.schema()),
        }
    }
}
