//! Rows of the tables as plain structs, in batches.

use arrow::array::{
    Array as _, AsArray as _, DictionaryArray, Float64Array, Int16Array, Int64Array, RecordBatch,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    Float64Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use rustc_hash::FxHashSet;
use tidegauge_schemas::{Category, CheckpointKind, EventKind, Table, metrics};

use super::pool_names::PoolNames;
use super::process::Process;
use crate::error::{Error, Result};
use crate::foreign::{ForeignProcess, StoredEvent};

/// A row of `events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// Order within the process.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
    /// What happened; `None` for a kind that this version does not know.
    pub kind: Option<EventKind>,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Address of the block or segment.
    pub address: Option<u64>,
    /// Requested size.
    pub size_bytes: Option<i64>,
    /// Site, 0 for none.
    pub site: u32,
    /// What the framework said the block is.
    pub category: Option<Category>,
    /// Stream; `None` where it is not known, and unless it is asked for ([`Rows::with_pools`]).
    pub stream: Option<u64>,
    /// Pool, by its number in [`PoolNames`]; 0 for the default one, and unless it is asked for.
    pub pool: u32,
}

/// A row of `checkpoints`.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRow {
    /// Order within the process.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
    /// What it marks; `None` for a kind that this version does not know.
    pub kind: Option<CheckpointKind>,
    /// Name.
    pub name: Option<String>,
    /// Training step.
    pub step: Option<i64>,
    /// Epoch.
    pub epoch: Option<i64>,
    /// Thread; 0 unknown.
    pub thread: u32,
    /// Loss or other value.
    pub value: Option<f64>,
    /// Samples in the batch.
    pub batch_size: Option<i64>,
}

/// A row of `samples`.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    /// Order within the process; that of the checkpoint that it was read at.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_nanos: i64,
    /// Metric.
    pub metric: String,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Process that it is of; `None` for the recorded one, or for all that was recorded together.
    pub pid: Option<u32>,
    /// The reading.
    pub value: f64,
}

impl SampleRow {
    /// Whether it is the resident size of what was recorded: the process, or the tree of a command.
    #[must_use]
    pub fn is_rss(&self) -> bool {
        let is_rss = self.metric == metrics::RSS.name || self.metric == metrics::TREE_RSS.name;
        is_rss && self.device == -1 && self.pid.is_none()
    }
}

/// What replay reads of `events`.
pub const EVENT_COLUMNS: &[&str] =
    &["seq", "time", "kind", "device", "address", "size_bytes", "site", "category"];
/// And where it matters which stream and pool memory is of.
const EVENT_COLUMNS_WITH_POOLS: &[&str] =
    &["seq", "time", "kind", "device", "address", "size_bytes", "site", "category", "stream", "pool"];
/// What replay reads of `checkpoints`.
pub const CHECKPOINT_COLUMNS: &[&str] =
    &["seq", "time", "kind", "name", "step", "epoch", "thread", "value", "batch_size"];
/// What replay reads of `samples`.
pub const SAMPLE_COLUMNS: &[&str] = &["seq", "time", "metric", "device", "pid", "value"];
/// What is read of `node_samples`.
const NODE_SAMPLE_COLUMNS: &[&str] = &["seq", "time", "metric", "device", "value"];

/// A batch of events, column by column.
#[derive(Debug)]
pub struct EventColumns {
    seq: UInt64Array,
    time: TimestampNanosecondArray,
    kind: Vocabulary<EventKind>,
    device: Int16Array,
    address: UInt64Array,
    size_bytes: Int64Array,
    site: UInt32Array,
    category: Vocabulary<Category>,
    of_pools: Option<PoolColumns>,
}

/// Of a batch of events, what most analyses have no need of.
#[derive(Debug)]
struct PoolColumns {
    stream: UInt64Array,
    pool: Vocabulary<u32>,
}

/// A batch of events, wherever it came from.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and its rows are asked for one by one")]
pub enum EventBatch<'a> {
    /// Decoded from a trace.
    Columns(EventColumns),
    /// Of a recording that another tool made.
    Stored(&'a [StoredEvent]),
}

impl EventBatch<'_> {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.len(),
            Self::Stored(events) => events.len(),
        }
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row.
    #[must_use]
    pub fn row(&self, row: usize) -> EventRow {
        match self {
            Self::Columns(columns) => columns.row(row),
            Self::Stored(events) => events[row].row(),
        }
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<EventRow> {
        (!self.is_empty()).then(|| self.row(0))
    }
}

/// Dictionary keys, and what each of the dictionary's texts means.
#[derive(Debug)]
struct Vocabulary<T> {
    keys: arrow::array::PrimitiveArray<Int32Type>,
    meanings: Vec<Option<T>>,
}

impl<T: Copy> Vocabulary<T> {
    fn new(texts: &DictionaryArray<Int32Type>, meaning: impl Fn(&str) -> Option<T>) -> Self {
        let meanings = texts.values().as_string::<i32>().iter().map(|text| text.and_then(&meaning)).collect();
        Self { keys: texts.keys().clone(), meanings }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<T> {
        if self.keys.is_null(row) {
            return None;
        }
        self.meanings.get(self.keys.value(row) as usize).copied().flatten()
    }
}

impl EventColumns {
    fn new(batch: &RecordBatch, pools: Option<&PoolNames>) -> Result<Self> {
        let of_pools = |pools: &PoolNames| -> Result<PoolColumns> {
            Ok(PoolColumns {
                stream: column(batch, "stream")?.as_primitive::<UInt64Type>().clone(),
                pool: Vocabulary::new(column(batch, "pool")?.as_dictionary(), |name| pools.number(name)),
            })
        };
        Ok(Self {
            of_pools: pools.map(of_pools).transpose()?,
            seq: column(batch, "seq")?.as_primitive::<UInt64Type>().clone(),
            time: column(batch, "time")?.as_primitive::<TimestampNanosecondType>().clone(),
            kind: Vocabulary::new(column(batch, "kind")?.as_dictionary(), EventKind::from_text),
            device: column(batch, "device")?.as_primitive::<Int16Type>().clone(),
            address: column(batch, "address")?.as_primitive::<UInt64Type>().clone(),
            size_bytes: column(batch, "size_bytes")?.as_primitive::<Int64Type>().clone(),
            site: column(batch, "site")?.as_primitive::<UInt32Type>().clone(),
            category: Vocabulary::new(column(batch, "category")?.as_dictionary(), Category::from_text),
        })
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seq.len()
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    /// `seq` of a row.
    #[inline]
    #[must_use]
    pub fn seq(&self, row: usize) -> u64 {
        self.seq.value(row)
    }

    /// A row.
    #[inline]
    #[must_use]
    pub fn row(&self, row: usize) -> EventRow {
        let (stream, pool) = self.of_pools.as_ref().map_or((None, 0), |columns| columns.get(row));
        EventRow {
            stream,
            pool,
            seq: self.seq.value(row),
            time_nanos: self.time.value(row),
            kind: self.kind.get(row),
            device: self.device.value(row),
            address: self.address.is_valid(row).then(|| self.address.value(row)),
            size_bytes: self.size_bytes.is_valid(row).then(|| self.size_bytes.value(row)),
            site: if self.site.is_valid(row) { self.site.value(row) } else { 0 },
            category: self.category.get(row),
        }
    }
}

impl PoolColumns {
    #[inline]
    fn get(&self, row: usize) -> (Option<u64>, u32) {
        let stream = self.stream.is_valid(row).then(|| self.stream.value(row));
        (stream, self.pool.get(row).unwrap_or(0))
    }
}

/// The rows of one process, table by table.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    process: &'a Process,
    pools: Option<&'a PoolNames>,
}

impl<'a> Rows<'a> {
    /// Of this process.
    #[must_use]
    pub fn new(process: &'a Process) -> Self {
        Self { process, pools: None }
    }

    /// With the stream and the pool of each event, which cost time to read.
    #[must_use]
    pub fn with_pools(self, pools: &'a PoolNames) -> Self {
        Self { pools: Some(pools), ..self }
    }

    /// The recording of another tool, if its events are to tell their streams and pools.
    pub(crate) fn foreign_pools(self) -> Option<&'a ForeignProcess> {
        self.pools.and_then(|_| self.process.foreign())
    }

    /// Events, in batches.
    pub fn events(self) -> Box<dyn Iterator<Item = Result<EventBatch<'a>>> + 'a> {
        let columns = if self.pools.is_some() { EVENT_COLUMNS_WITH_POOLS } else { EVENT_COLUMNS };
        match self.process.foreign() {
            Some(foreign) => Box::new(foreign.events().chunks().map(|chunk| Ok(EventBatch::Stored(chunk)))),
            None => Box::new(
                self.process
                    .batches(Table::Events, columns)
                    .map(move |batch| EventColumns::new(&batch?, self.pools).map(EventBatch::Columns)),
            ),
        }
    }

    /// Checkpoints, one by one.
    pub fn checkpoints(self) -> Box<dyn Iterator<Item = Result<CheckpointRow>> + 'a> {
        self.stored(ForeignProcess::checkpoints, Table::Checkpoints, CHECKPOINT_COLUMNS, checkpoint_rows)
    }

    /// Samples, one by one.
    pub fn samples(self) -> Box<dyn Iterator<Item = Result<SampleRow>> + 'a> {
        self.stored(ForeignProcess::samples, Table::Samples, SAMPLE_COLUMNS, sample_rows)
    }

    /// Samples of the node and its devices that this process's recorder took, one by one; they are of no process.
    pub fn node_samples(self) -> Box<dyn Iterator<Item = Result<SampleRow>> + 'a> {
        self.stored(ForeignProcess::node_samples, Table::NodeSamples, NODE_SAMPLE_COLUMNS, sample_rows)
    }

    /// Rows that lie in memory, or are decoded from the table.
    fn stored<T: Clone + 'a>(
        self,
        stored: fn(&ForeignProcess) -> &[T],
        table: Table,
        columns: &'a [&'a str],
        rows: fn(&RecordBatch) -> Result<Vec<T>>,
    ) -> Box<dyn Iterator<Item = Result<T>> + 'a> {
        match self.process.foreign() {
            Some(foreign) => Box::new(stored(foreign).iter().cloned().map(Ok)),
            None => Box::new(flatten(self.process.batches(table, columns), rows)),
        }
    }

    /// When the recording began: the earliest of the first rows, nanoseconds since 1970; 0 without rows. Samples of
    /// devices, which another process may have begun to take before, count where there is nothing else.
    ///
    /// # Errors
    /// If a table cannot be read.
    pub fn first_nanos(self) -> Result<i64> {
        let checkpoint = self.checkpoints().next().transpose()?.map(|row| row.time_nanos);
        let sample = self.samples().next().transpose()?.map(|row| row.time_nanos);
        let event =
            self.events().next().transpose()?.and_then(|batch| batch.first()).map(|row| row.time_nanos);
        let node_sample = self.node_samples().next().transpose()?.map(|row| row.time_nanos);
        Ok([checkpoint, sample, node_sample, event].into_iter().flatten().min().unwrap_or(0))
    }

    /// Paths of the modules of the model that were recorded.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn module_names(self) -> Result<FxHashSet<String>> {
        self.module_texts("module")
    }

    /// Element types of the modules' parameters and buffers, as the framework names them.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn module_dtypes(self) -> Result<FxHashSet<String>> {
        let lists = self.module_texts("dtypes")?;
        Ok(lists.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect())
    }

    fn module_texts(self, name: &'static str) -> Result<FxHashSet<String>> {
        let mut found = FxHashSet::default();
        for batch in self.process.batches(Table::Modules, &["module", "dtypes"]) {
            let batch = batch?;
            let texts = text(&batch, name)?;
            found.extend((0..batch.num_rows()).filter_map(|row| texts.get(row)).map(str::to_owned));
        }
        Ok(found)
    }

    /// Names of the sites, by id.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn site_names(self) -> Result<rustc_hash::FxHashMap<u32, String>> {
        let mut names = rustc_hash::FxHashMap::default();
        if let Some(foreign) = self.process.foreign() {
            names.extend(foreign.sites.iter().map(|(id, site)| (id, site.name.clone())));
            return Ok(names);
        }
        for batch in self.process.batches(Table::Sites, &["site", "name"]) {
            let batch = batch?;
            let ids = column(&batch, "site")?.as_primitive::<UInt32Type>();
            let texts = text(&batch, "name")?;
            names.extend(
                (0..batch.num_rows()).filter_map(|row| Some((ids.value(row), texts.get(row)?.to_owned()))),
            );
        }
        Ok(names)
    }
}

fn flatten<'a, T: 'a>(
    batches: impl Iterator<Item = Result<RecordBatch>> + 'a,
    rows: fn(&RecordBatch) -> Result<Vec<T>>,
) -> impl Iterator<Item = Result<T>> + 'a {
    batches.flat_map(move |batch| match batch.and_then(|batch| rows(&batch)) {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

fn checkpoint_rows(batch: &RecordBatch) -> Result<Vec<CheckpointRow>> {
    let seq: &UInt64Array = column(batch, "seq")?.as_primitive();
    let time: &TimestampNanosecondArray = column(batch, "time")?.as_primitive();
    let kind = Vocabulary::new(column(batch, "kind")?.as_dictionary(), CheckpointKind::from_text);
    let name = text(batch, "name")?;
    let step: &Int64Array = column(batch, "step")?.as_primitive::<Int64Type>();
    let epoch: &Int64Array = column(batch, "epoch")?.as_primitive();
    let thread: &UInt32Array = column(batch, "thread")?.as_primitive();
    let value: &Float64Array = column(batch, "value")?.as_primitive::<Float64Type>();
    let batch_size: &Int64Array = column(batch, "batch_size")?.as_primitive();
    let row = |row: usize| CheckpointRow {
        seq: seq.value(row),
        time_nanos: time.value(row),
        kind: kind.get(row),
        name: name.get(row).map(str::to_owned),
        step: step.is_valid(row).then(|| step.value(row)),
        epoch: epoch.is_valid(row).then(|| epoch.value(row)),
        thread: if thread.is_valid(row) { thread.value(row) } else { 0 },
        value: value.is_valid(row).then(|| value.value(row)),
        batch_size: batch_size.is_valid(row).then(|| batch_size.value(row)),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn sample_rows(batch: &RecordBatch) -> Result<Vec<SampleRow>> {
    let seq: &UInt64Array = column(batch, "seq")?.as_primitive();
    let time: &TimestampNanosecondArray = column(batch, "time")?.as_primitive();
    let metric = text(batch, "metric")?;
    let device: &Int16Array = column(batch, "device")?.as_primitive();
    let value: &Float64Array = column(batch, "value")?.as_primitive();
    let pid = batch.column_by_name("pid").map(|column| column.as_primitive::<UInt32Type>());
    let row = |row: usize| SampleRow {
        seq: seq.value(row),
        time_nanos: time.value(row),
        metric: metric.get(row).unwrap_or_default().to_owned(),
        device: device.value(row),
        pid: pid.filter(|pid| pid.is_valid(row)).map(|pid| pid.value(row)),
        value: value.value(row),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// A text column of a batch.
struct Text<'a> {
    keys: &'a arrow::array::PrimitiveArray<Int32Type>,
    values: &'a arrow::array::StringArray,
}

impl Text<'_> {
    fn get(&self, row: usize) -> Option<&str> {
        self.keys.is_valid(row).then(|| self.values.value(self.keys.value(row) as usize))
    }
}

fn text<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<Text<'a>> {
    let dictionary = column(batch, name)?.as_dictionary::<Int32Type>();
    Ok(Text { keys: dictionary.keys(), values: dictionary.values().as_string() })
}

fn column<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a arrow::array::ArrayRef> {
    // Parts are checked when they are opened: this can only be a file that was replaced since.
    batch.column_by_name(name).ok_or(Error::LostColumn { column: name })
}
