//! From records to Arrow: builders for the tables that the journal feeds, and what those for strings are made of too.
//!
//! Text columns become dictionaries; kinds and categories are codes until the batch is finished.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, PrimitiveArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, Float64Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type,
    UInt64Type,
};

use crate::journal::{
    CheckpointSlot, ClockCursor, ClockMap, EventSlot, NodeSampleSlot, Record, SampleSlot, Slot, StringTable,
};
use crate::kinds::{Category, CheckpointKind, EventKind};
use crate::part::BATCH_ROWS;
use crate::table::Table;

/// A column in which a value may be unknown. Building it costs little where none or all are.
#[derive(Debug)]
pub(crate) struct OptionColumn<P: ArrowPrimitiveType> {
    values: Vec<P::Native>,
    is_known: Vec<bool>,
    /// Rows before the first known value; they are in the vectors only once there is one.
    leading_unknown: usize,
    unknown: usize,
}

impl<P: ArrowPrimitiveType> Default for OptionColumn<P> {
    fn default() -> Self {
        Self { values: Vec::new(), is_known: Vec::new(), leading_unknown: 0, unknown: 0 }
    }
}

impl<P: ArrowPrimitiveType> OptionColumn<P> {
    #[inline]
    pub(crate) fn push(&mut self, value: Option<P::Native>) {
        if value.is_none() {
            self.unknown += 1;
            if self.values.is_empty() {
                self.leading_unknown += 1;
                return;
            }
        } else if self.values.is_empty() {
            self.begin();
        }
        self.values.push(value.unwrap_or_default());
        self.is_known.push(value.is_some());
    }

    #[cold]
    fn begin(&mut self) {
        self.values.reserve(BATCH_ROWS);
        self.is_known.reserve(BATCH_ROWS);
        self.values.resize(self.leading_unknown, P::default_value());
        self.is_known.resize(self.leading_unknown, false);
    }

    pub(crate) fn finish(&mut self) -> PrimitiveArray<P> {
        let column = std::mem::take(self);
        if column.values.is_empty() {
            return PrimitiveArray::new_null(column.leading_unknown);
        }
        let nulls = (column.unknown > 0).then(|| NullBuffer::from(column.is_known));
        PrimitiveArray::new(column.values.into(), nulls)
    }
}

/// A column in which every value is known.
#[derive(Debug)]
pub(crate) struct Column<P: ArrowPrimitiveType>(Vec<P::Native>);

impl<P: ArrowPrimitiveType> Default for Column<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: ArrowPrimitiveType> Column<P> {
    #[inline]
    pub(crate) fn push(&mut self, value: P::Native) {
        if self.0.is_empty() {
            self.0.reserve(BATCH_ROWS);
        }
        self.0.push(value);
    }

    pub(crate) fn finish(&mut self) -> PrimitiveArray<P> {
        PrimitiveArray::new(std::mem::take(&mut self.0).into(), None)
    }
}

pub(crate) type TimeColumn = Column<TimestampNanosecondType>;

/// A text column of many repeated values.
#[derive(Debug, Default)]
pub(crate) struct TextBuilder {
    keys: OptionColumn<Int32Type>,
    values: Vec<String>,
    key_of: HashMap<u32, i32>,
}

impl TextBuilder {
    /// Appends the string of table id `id`; null for 0.
    #[inline]
    fn append_id(&mut self, id: u32, strings: &StringTable) {
        let key = (id != 0).then(|| self.key(id, strings));
        self.keys.push(key);
    }

    fn key(&mut self, id: u32, strings: &StringTable) -> i32 {
        *self.key_of.entry(id).or_insert_with(|| {
            self.values.push(strings.name(id).into_owned());
            self.values.len() as i32 - 1
        })
    }

    /// Appends a text that is not expected to repeat.
    pub(crate) fn append(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.keys.push(Some(self.values.len() as i32));
                self.values.push(text.to_owned());
            }
            None => self.keys.push(None),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        self.key_of.clear();
        let values = StringArray::from_iter_values(std::mem::take(&mut self.values));
        dictionary(self.keys.finish(), values)
    }
}

fn dictionary(keys: Int32Array, values: StringArray) -> ArrayRef {
    // The keys were handed out above or are codes of the vocabulary, so all of them are in range.
    Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)))
}

fn vocabulary<'a>(keys: Int32Array, words: impl Iterator<Item = &'a str>) -> ArrayRef {
    dictionary(keys, StringArray::from_iter_values(words))
}

pub(crate) fn times(column: &mut TimeColumn) -> ArrayRef {
    Arc::new(column.finish().with_timezone("UTC"))
}

fn known(id: u32) -> Option<u32> {
    (id != 0).then_some(id)
}

pub(crate) fn batch(table: Table, columns: Vec<ArrayRef>) -> RecordBatch {
    // Column count, types and nullability follow from the builders; a mismatch is a bug that every test meets.
    #[allow(clippy::expect_used)]
    RecordBatch::try_new(table.schema(), columns).expect("builders follow the table's columns")
}

/// Builds batches of `events`.
#[derive(Debug, Default)]
pub struct EventRows {
    seq: Column<UInt64Type>,
    time: TimeColumn,
    kind: Column<Int32Type>,
    device: Column<Int16Type>,
    address: OptionColumn<UInt64Type>,
    size_bytes: OptionColumn<Int64Type>,
    stream: OptionColumn<UInt64Type>,
    pool: TextBuilder,
    thread: OptionColumn<UInt32Type>,
    site: OptionColumn<UInt32Type>,
    category: OptionColumn<Int32Type>,
}

impl EventRows {
    /// Appends a row.
    #[inline]
    pub fn push(&mut self, seq: u64, time_nanos: i64, event: &EventSlot, strings: &StringTable) {
        self.seq.push(seq);
        self.time.push(time_nanos);
        self.kind.push(event.kind as i32 - 1);
        self.device.push(event.device);
        self.address.push(event.address);
        self.size_bytes.push(event.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
        self.stream.push(event.stream);
        self.pool.append_id(event.pool, strings);
        self.thread.push(known(event.thread));
        self.site.push(known(event.site));
        self.category.push(event.category.map(|category| category as i32 - 1));
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seq.0.len()
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
            times(&mut self.time),
            vocabulary(self.kind.finish(), EventKind::ALL.iter().map(|kind| kind.as_str())),
            Arc::new(self.device.finish()),
            Arc::new(self.address.finish()),
            Arc::new(self.size_bytes.finish()),
            Arc::new(self.stream.finish()),
            self.pool.finish(),
            Arc::new(self.thread.finish()),
            Arc::new(self.site.finish()),
            vocabulary(self.category.finish(), Category::ALL.iter().map(|category| category.as_str())),
        ];
        batch(Table::Events, columns)
    }
}

/// Builds batches of `checkpoints`.
#[derive(Debug, Default)]
pub struct CheckpointRows {
    seq: Column<UInt64Type>,
    time: TimeColumn,
    kind: Column<Int32Type>,
    name: TextBuilder,
    step: OptionColumn<Int64Type>,
    epoch: OptionColumn<Int64Type>,
    thread: OptionColumn<UInt32Type>,
    value: OptionColumn<Float64Type>,
    batch_size: OptionColumn<Int64Type>,
}

impl CheckpointRows {
    /// Appends a row.
    pub fn push(&mut self, seq: u64, time_nanos: i64, checkpoint: &CheckpointSlot, strings: &StringTable) {
        self.seq.push(seq);
        self.time.push(time_nanos);
        self.kind.push(checkpoint.kind as i32 - CheckpointKind::ALL[0] as i32);
        self.name.append_id(checkpoint.name, strings);
        self.step.push(checkpoint.step);
        self.epoch.push(checkpoint.epoch.map(i64::from));
        self.thread.push(known(checkpoint.thread));
        self.value.push(checkpoint.value);
        self.batch_size.push(checkpoint.batch_size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            times(&mut self.time),
            vocabulary(self.kind.finish(), CheckpointKind::ALL.iter().map(|kind| kind.as_str())),
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
#[derive(Debug, Default)]
pub struct SampleRows {
    seq: Column<UInt64Type>,
    time: TimeColumn,
    metric: TextBuilder,
    device: Column<Int16Type>,
    pid: OptionColumn<UInt32Type>,
    value: Column<Float64Type>,
}

impl SampleRows {
    /// Appends a row; a sample taken at a checkpoint bears the checkpoint's `seq`.
    pub fn push(&mut self, seq: u64, time_nanos: i64, sample: &SampleSlot, strings: &StringTable) {
        self.seq.push(sample.checkpoint.unwrap_or(seq));
        self.time.push(time_nanos);
        self.metric.append_id(sample.metric.max(crate::journal::OVERFLOW_ID), strings);
        self.device.push(sample.device);
        self.pid.push(sample.pid);
        self.value.push(sample.value);
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            times(&mut self.time),
            self.metric.finish(),
            Arc::new(self.device.finish()),
            Arc::new(self.pid.finish()),
            Arc::new(self.value.finish()),
        ];
        batch(Table::Samples, columns)
    }
}

/// Builds batches of `node_samples`.
#[derive(Debug, Default)]
pub struct NodeSampleRows {
    seq: Column<UInt64Type>,
    time: TimeColumn,
    metric: TextBuilder,
    device: Column<Int16Type>,
    uuid: TextBuilder,
    value: Column<Float64Type>,
}

impl NodeSampleRows {
    /// Appends a row.
    pub fn push(&mut self, seq: u64, time_nanos: i64, sample: &NodeSampleSlot, strings: &StringTable) {
        self.seq.push(seq);
        self.time.push(time_nanos);
        self.metric.append_id(sample.metric.max(crate::journal::OVERFLOW_ID), strings);
        self.device.push(sample.device);
        self.uuid.append_id(sample.uuid, strings);
        self.value.push(sample.value);
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            times(&mut self.time),
            self.metric.finish(),
            Arc::new(self.device.finish()),
            self.uuid.finish(),
            Arc::new(self.value.finish()),
        ];
        batch(Table::NodeSamples, columns)
    }
}

/// Sorts journal slots into the tables that they are rows of.
#[derive(Debug)]
pub struct SlotRows<'a> {
    clock: ClockCursor<'a>,
    strings: &'a StringTable,
    events: EventRows,
    checkpoints: CheckpointRows,
    samples: SampleRows,
    node_samples: NodeSampleRows,
    /// Slots of a kind that this version does not know.
    pub unknown_records: u64,
}

impl<'a> SlotRows<'a> {
    /// The tables that slots are rows of.
    pub const TABLES: [Table; 4] = [Table::Events, Table::Checkpoints, Table::Samples, Table::NodeSamples];

    /// Without rows.
    #[must_use]
    pub fn new(clock: &'a ClockMap, strings: &'a StringTable) -> Self {
        Self {
            clock: clock.cursor(),
            strings,
            events: EventRows::default(),
            checkpoints: CheckpointRows::default(),
            samples: SampleRows::default(),
            node_samples: NodeSampleRows::default(),
            unknown_records: 0,
        }
    }

    /// Adds the record in a committed slot; whether it is a row.
    #[inline]
    pub fn push(&mut self, seq: u64, slot: &Slot) -> bool {
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
            Some(Record::NodeSample(sample)) => {
                self.node_samples.push(seq, self.clock.unix_nanos(sample.ticks), &sample, self.strings);
            }
            Some(Record::Filler) => return false,
            None => {
                self.unknown_records += 1;
                return false;
            }
        }
        true
    }

    /// The rows of one of [`Self::TABLES`]; of another table, none.
    pub fn finish(&mut self, table: Table) -> RecordBatch {
        match table {
            Table::Events => self.events.finish(),
            Table::Checkpoints => self.checkpoints.finish(),
            Table::Samples => self.samples.finish(),
            Table::NodeSamples => self.node_samples.finish(),
            Table::Sites | Table::Modules => RecordBatch::new_empty(table.schema()),
        }
    }
}
