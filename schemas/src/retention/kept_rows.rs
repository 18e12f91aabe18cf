//! Rows of a journal of which not all events are kept.

use arrow::array::RecordBatch;

use super::filter::EventFilter;
use super::state_file::FilterState;
use crate::error::Result;
use crate::journal::{JournalSnapshot, SnapshotChunk};
use crate::rows::SlotRows;
use crate::table::Table;

/// Reads chunk after chunk, in the order of their numbers and with none left out from the state's on.
#[derive(Debug)]
pub struct KeptRows<'a> {
    journal: &'a JournalSnapshot,
    table: Table,
    filter: EventFilter,
}

impl<'a> KeptRows<'a> {
    /// Begins with that state.
    #[must_use]
    pub fn new(journal: &'a JournalSnapshot, state: &FilterState, table: Table) -> Self {
        Self { journal, table, filter: state.filter.clone() }
    }

    /// The chunk's rows of the table, if they are wanted; otherwise it is only taken in. What a ring kept `begins` after
    /// the last chunk of which something is in a part.
    pub fn read(
        &mut self,
        chunk: &SnapshotChunk,
        is_wanted: bool,
        begins: bool,
    ) -> Result<Option<RecordBatch>> {
        let mut rows = SlotRows::new(&self.journal.clock, &self.journal.strings);
        if begins {
            self.filter.open_ring();
        }
        let mut keep = |seq: u64, slot: &_| {
            if is_wanted {
                rows.push(seq, slot);
            }
        };
        chunk.for_each(|seq, slot| self.filter.push(seq, slot, &mut keep))?;
        Ok(is_wanted.then(|| rows.finish(self.table)))
    }

    /// What the end of the journal tells.
    pub fn finish(&mut self) -> RecordBatch {
        let mut rows = SlotRows::new(&self.journal.clock, &self.journal.strings);
        self.filter.finish(&mut |seq, slot| {
            rows.push(seq, slot);
        });
        rows.finish(self.table)
    }
}
