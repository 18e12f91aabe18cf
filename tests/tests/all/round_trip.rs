//! What is written is what is read: through slots, through parts, through a journal.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{
    Float64Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use proptest::prelude::*;
use tidegauge_schemas::journal::{
    CheckpointSlot, ClockMap, EventSlot, NodeSampleSlot, Record, SampleSlot, StringTable, filler,
};
use tidegauge_schemas::part::{Part, PartWriter, Range};
use tidegauge_schemas::rows::SlotRows;
use tidegauge_schemas::{Category, CheckpointKind, EventKind, Table};

prop_compose! {
    fn event()(
        ticks in 0u64..i64::MAX as u64, kind in prop::sample::select(EventKind::ALL), device in any::<i16>(),
        address in any::<Option<u64>>(), size in prop::option::of(0..i64::MAX as u64), stream in any::<Option<u64>>(),
        site in any::<u32>(), thread in any::<u32>(), category in prop::option::of(prop::sample::select(Category::ALL)),
    ) -> Record {
        Record::Event(EventSlot { ticks, kind, device, address, size_bytes: size, stream, pool: 0, site, thread, category })
    }
}

prop_compose! {
    fn checkpoint()(
        ticks in 0u64..i64::MAX as u64, kind in prop::sample::select(CheckpointKind::ALL), step in any::<Option<i64>>(),
        epoch in any::<Option<u32>>(), thread in any::<u32>(), value in any::<Option<f64>>(),
        batch_size in prop::option::of(0..i64::MAX as u64),
    ) -> Record {
        Record::Checkpoint(CheckpointSlot { ticks, kind, name: 0, step, epoch, thread, value, batch_size })
    }
}

prop_compose! {
    fn sample()(
        ticks in 0u64..i64::MAX as u64, device in any::<i16>(), pid in any::<Option<u32>>(), value in any::<f64>(),
        checkpoint in any::<Option<u64>>(),
    ) -> Record {
        Record::Sample(SampleSlot { ticks, metric: 1, device, pid, value, checkpoint, thread: 0 })
    }
}

prop_compose! {
    fn node_sample()(ticks in 0u64..i64::MAX as u64, device in any::<i16>(), value in any::<f64>()) -> Record {
        Record::NodeSample(NodeSampleSlot { ticks, metric: 1, device, uuid: 0, value })
    }
}

/// A table's rows as text, so that rows of all types compare; a float by its bits.
pub(crate) fn cells(batch: &RecordBatch, table: Table) -> Vec<Vec<String>> {
    let cell = |row: usize, name: &str| {
        let array = batch.column_by_name(name).unwrap();
        if array.is_null(row) {
            return "null".to_owned();
        }
        match name {
            "seq" | "address" | "stream" => array.as_primitive::<UInt64Type>().value(row).to_string(),
            "time" => array.as_primitive::<TimestampNanosecondType>().value(row).to_string(),
            "device" => array.as_primitive::<Int16Type>().value(row).to_string(),
            "thread" | "site" | "pid" => array.as_primitive::<UInt32Type>().value(row).to_string(),
            "value" => array.as_primitive::<Float64Type>().value(row).to_bits().to_string(),
            "size_bytes" | "step" | "epoch" | "batch_size" => {
                array.as_primitive::<Int64Type>().value(row).to_string()
            }
            _ => {
                let text = array.as_dictionary::<Int32Type>();
                text.values().as_string::<i32>().value(text.keys().value(row) as usize).to_owned()
            }
        }
    };
    let columns = table.columns();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| cell(row, column.name)).collect()).collect()
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// The same rows, written down from the records without the code under test.
fn expected(records: &[Record], table: Table) -> Vec<Vec<String>> {
    let known = |id: u32| text((id != 0).then_some(id));
    let row = |(seq, record): (usize, &Record)| match (table, record) {
        (Table::Events, Record::Event(e)) => Some(vec![
            seq.to_string(),
            e.ticks.to_string(),
            e.kind.to_string(),
            e.device.to_string(),
            text(e.address),
            text(e.size_bytes),
            text(e.stream),
            "null".into(),
            known(e.thread),
            known(e.site),
            text(e.category),
        ]),
        (Table::Checkpoints, Record::Checkpoint(c)) => Some(vec![
            seq.to_string(),
            c.ticks.to_string(),
            c.kind.to_string(),
            "null".into(),
            text(c.step),
            text(c.epoch),
            known(c.thread),
            text(c.value.map(f64::to_bits)),
            text(c.batch_size),
        ]),
        (Table::Samples, Record::Sample(s)) => Some(vec![
            s.checkpoint.unwrap_or(seq as u64).to_string(),
            s.ticks.to_string(),
            "<lost name 1>".into(),
            s.device.to_string(),
            text(s.pid),
            s.value.to_bits().to_string(),
        ]),
        (Table::NodeSamples, Record::NodeSample(s)) => Some(vec![
            seq.to_string(),
            s.ticks.to_string(),
            "<lost name 1>".into(),
            s.device.to_string(),
            "null".into(),
            s.value.to_bits().to_string(),
        ]),
        _ => None,
    };
    records.iter().enumerate().filter_map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_survive_slots_and_parts(
        records in prop::collection::vec(prop_oneof![event(), checkpoint(), sample(), node_sample(), Just(Record::Filler)], 1..200),
        batch_rows in 1usize..100,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (clock, strings) = (ClockMap::new(Vec::new()), StringTable::default());
        let mut rows = SlotRows::new(&clock, &strings);
        for (seq, record) in (0..).zip(&records) {
            let slot = match record {
                Record::Event(event) => event.encode(),
                Record::Checkpoint(checkpoint) => checkpoint.encode(),
                Record::Sample(sample) => sample.encode(),
                Record::NodeSample(sample) => sample.encode(),
                Record::Filler => filler(seq),
            };
            rows.push(seq, &slot);
        }
        for table in SlotRows::TABLES {
            let expected = expected(&records, table);
            let batch = rows.finish(table);
            prop_assert_eq!(&cells(&batch, table), &expected, "in memory");
            let mut part = PartWriter::create(folder.path(), "part", table, "run").unwrap();
            part.write(&batch).unwrap();
            let (path, _) = part.seal(Range { first: 0, last: 0 }).unwrap();
            let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
            let part = Part::open(&path, table).unwrap();
            prop_assert_eq!(part.rows as usize, expected.len());
            let read = part.batches(&columns, batch_rows).unwrap().map(Result::unwrap);
            let read: Vec<Vec<String>> = read.flat_map(|batch| cells(&batch, table)).collect();
            prop_assert_eq!(&read, &expected, "from the part");
            std::fs::remove_file(path).unwrap();
        }
    }
}
