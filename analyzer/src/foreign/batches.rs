//! The rows of a recording that another tool made as Arrow batches: for SQL, for `import` and for `export`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int16Array, Int64Array, RecordBatch, StringDictionaryBuilder,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Int32Type;
use tidegauge_schemas::Table;
use tidegauge_schemas::part::BATCH_ROWS;

use super::events::StoredEvent;
use super::process::ForeignProcess;
use crate::load::{CheckpointRow, SampleRow};

/// Sites at once: as text a stack of fifty frames takes several KiB.
const SITE_BATCH_ROWS: usize = 1 << 12;
/// What stands for a kind or an action that this version does not know.
const UNKNOWN: &str = "unknown";

impl ForeignProcess {
    /// All rows of a table in the order of `seq`, batch by batch.
    pub fn batches(&self, table: Table) -> Box<dyn Iterator<Item = RecordBatch> + '_> {
        match table {
            Table::Events => Box::new(self.events().chunks().map(|chunk| self.event_batch(chunk))),
            Table::Checkpoints => Box::new(self.checkpoints().chunks(BATCH_ROWS).map(checkpoint_batch)),
            Table::Samples => {
                Box::new(self.samples().chunks(BATCH_ROWS).map(move |rows| self.sample_batch(table, rows)))
            }
            Table::NodeSamples => Box::new(
                self.node_samples().chunks(BATCH_ROWS).map(move |rows| self.sample_batch(table, rows)),
            ),
            Table::Sites => {
                let firsts = (1..=self.sites.len() as u32).step_by(SITE_BATCH_ROWS);
                Box::new(firsts.map(|first| self.site_batch(first)))
            }
            // No importer knows of modules.
            _ => Box::new(std::iter::empty()),
        }
    }

    fn event_batch(&self, events: &[StoredEvent]) -> RecordBatch {
        let rows: Vec<_> = events.iter().map(StoredEvent::row).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.seq).collect::<UInt64Array>()),
            times(rows.iter().map(|row| row.time_nanos)),
            texts(rows.iter().map(|row| Some(row.kind.map_or(UNKNOWN, |kind| kind.as_str())))),
            Arc::new(rows.iter().map(|row| row.device).collect::<Int16Array>()),
            Arc::new(rows.iter().map(|row| row.address).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|row| row.size_bytes).collect::<Int64Array>()),
            Arc::new(events.iter().map(|event| self.stream(event.stream())).collect::<UInt64Array>()),
            texts(events.iter().map(|event| self.pool(event.pool()))),
            Arc::new(events.iter().map(|event| known(event.thread())).collect::<UInt32Array>()),
            Arc::new(rows.iter().map(|row| known(row.site)).collect::<UInt32Array>()),
            texts(rows.iter().map(|row| row.category.map(|category| category.as_str()))),
        ];
        batch(Table::Events, columns)
    }

    fn sample_batch(&self, table: Table, rows: &[SampleRow]) -> RecordBatch {
        // Of a node's devices the identity is known, of a process's samples the process.
        let of: ArrayRef = if table == Table::NodeSamples {
            texts(rows.iter().map(|row| self.device_uuid(row.device)))
        } else {
            Arc::new(rows.iter().map(|row| row.pid).collect::<UInt32Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.seq).collect::<UInt64Array>()),
            times(rows.iter().map(|row| row.time_nanos)),
            texts(rows.iter().map(|row| Some(row.metric.as_str()))),
            Arc::new(rows.iter().map(|row| row.device).collect::<Int16Array>()),
            of,
            Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
        ];
        batch(table, columns)
    }

    fn device_uuid(&self, device: i16) -> Option<&str> {
        self.info.devices.iter().find(|info| info.index == device)?.uuid.as_deref()
    }

    /// Sites from number `first` on. They have no time of their own: that of the first row stands for it.
    fn site_batch(&self, first: u32) -> RecordBatch {
        let sites = || (first..).map_while(|id| Some((id, self.sites.get(id)?))).take(SITE_BATCH_ROWS);
        let first_nanos = self.first_nanos().unwrap_or(0);
        let stacks: Vec<Option<String>> = sites().map(|(_, site)| self.sites.stack_text(site)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(sites().map(|(id, _)| u64::from(id)).collect::<UInt64Array>()),
            times(sites().map(|_| first_nanos)),
            Arc::new(sites().map(|(id, _)| id).collect::<UInt32Array>()),
            texts(sites().map(|(_, site)| Some(site.name.as_str()))),
            texts(stacks.iter().map(Option::as_deref)),
        ];
        batch(Table::Sites, columns)
    }
}

fn checkpoint_batch(rows: &[CheckpointRow]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.seq).collect::<UInt64Array>()),
        times(rows.iter().map(|row| row.time_nanos)),
        texts(rows.iter().map(|row| Some(row.kind.map_or(UNKNOWN, |kind| kind.as_str())))),
        texts(rows.iter().map(|row| row.name.as_deref())),
        Arc::new(rows.iter().map(|row| row.step).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.epoch).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| known(row.thread)).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.batch_size).collect::<Int64Array>()),
    ];
    batch(Table::Checkpoints, columns)
}

fn times(nanos: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(nanos).with_timezone("UTC"))
}

fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    for text in texts {
        builder.append_option(text);
    }
    Arc::new(builder.finish())
}

fn known(id: u32) -> Option<u32> {
    (id != 0).then_some(id)
}

fn batch(table: Table, columns: Vec<ArrayRef>) -> RecordBatch {
    // Column count, types and nullability follow from the code above; a mismatch is a bug that every test meets.
    #[allow(clippy::expect_used)]
    RecordBatch::try_new(table.schema(), columns).expect("columns follow the table's")
}
