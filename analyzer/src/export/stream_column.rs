//! The stream of each event, beside a replay, which has no need of it.

use arrow::array::{Array as _, AsArray as _, UInt64Array};
use arrow::datatypes::UInt64Type;
use tidegauge_schemas::Table;

use crate::error::{Error, Result};
use crate::load::Process;

/// Numbers of streams by `seq`, asked for in ascending order.
pub(super) struct StreamColumn<'a> {
    batches: Box<dyn Iterator<Item = Result<(UInt64Array, UInt64Array)>> + 'a>,
    batch: Option<(UInt64Array, UInt64Array)>,
    row: usize,
    failure: Option<Error>,
}

impl<'a> StreamColumn<'a> {
    /// Of a process's events.
    pub(super) fn new(process: &'a Process) -> Self {
        let batches: Box<dyn Iterator<Item = Result<(UInt64Array, UInt64Array)>>> = match process.foreign() {
            Some(foreign) => Box::new(foreign.events().chunks().map(|chunk| {
                let seqs = chunk.iter().map(|event| event.seq()).collect();
                Ok((seqs, chunk.iter().map(|event| foreign.stream(event.stream())).collect()))
            })),
            None => Box::new(process.batches(Table::Events, &["seq", "stream"]).map(|batch| {
                let batch = batch?;
                let column = |column: &'static str| {
                    let found = batch.column_by_name(column).ok_or(Error::LostColumn { column });
                    found.map(|found| found.as_primitive::<UInt64Type>().clone())
                };
                Ok((column("seq")?, column("stream")?))
            })),
        };
        Self { batches, batch: None, row: 0, failure: None }
    }

    /// The stream of the event with that `seq`; 0, the default one, where there are none.
    pub(super) fn of(&mut self, seq: u64) -> u64 {
        loop {
            if let Some((seqs, streams)) = &self.batch {
                while self.row < seqs.len() && seqs.value(self.row) < seq {
                    self.row += 1;
                }
                if self.row < seqs.len() {
                    let is_known = seqs.value(self.row) == seq && streams.is_valid(self.row);
                    return if is_known { streams.value(self.row) } else { 0 };
                }
            }
            self.row = 0;
            match self.batches.next() {
                Some(Ok(batch)) => self.batch = Some(batch),
                Some(Err(error)) => {
                    self.failure.get_or_insert(error);
                }
                None => {
                    self.batch = None;
                    return 0;
                }
            }
        }
    }

    /// What could not be read.
    pub(super) fn finish(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}
