//! From slots to sealed parts: while recording, by recovery, and wherever else slots become a trace.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::journal::{ClockMap, Slot, StringTable};
use crate::layout::{self, ProcessId};
use crate::part::{PartWriter, Range};
use crate::rows::SlotRows;
use crate::string_rows::string_rows;
use crate::table::Table;

/// Records that are encoded together: their columns fit into a processor's cache.
const ENCODED_ROWS: u64 = 1 << 13;

/// Where the parts of one process go.
#[derive(Debug, Clone)]
pub struct PartTarget {
    /// The trace folder.
    pub run: PathBuf,
    /// Its id.
    pub run_id: String,
    /// The process.
    pub id: ProcessId,
    /// The host that it runs on.
    pub host: String,
}

impl PartTarget {
    fn create(&self, table: Table) -> Result<PartWriter> {
        // Making the table's folder must not bring back a trace that somebody has deleted.
        let home = layout::process_folder(&self.run, self.id);
        std::fs::metadata(&home).map_err(Error::io("looking for the trace", &home))?;
        let folder = match table {
            Table::NodeSamples => layout::node_folder(&self.run, &self.host),
            _ => layout::table_folder(&self.run, table, self.id),
        };
        PartWriter::create(&folder, &layout::part_stem(table, self.id), table, &self.run_id)
    }

    /// Seals the rows of `table`, one of [`STRING_TABLES`](crate::string_rows::STRING_TABLES), among the strings `ids`;
    /// bytes written.
    pub fn seal_strings(
        &self,
        table: Table,
        ids: Range,
        strings: &StringTable,
        clock: &ClockMap,
    ) -> Result<u64> {
        let numbers = (ids.first..=ids.last).filter_map(|id| u32::try_from(id).ok());
        let rows = string_rows(table, numbers, strings, clock);
        if rows.num_rows() == 0 {
            return Ok(0);
        }
        let mut part = self.create(table)?;
        part.write(&rows)?;
        Ok(part.seal(ids)?.1)
    }

    /// The process's own file.
    #[must_use]
    pub fn process_file(&self) -> PathBuf {
        layout::process_folder(&self.run, self.id).join(layout::PROCESS_FILE)
    }
}

/// The parts of one range of chunks, one for each table that has rows in it.
#[derive(Debug)]
pub struct RangeSeal<'a> {
    target: &'a PartTarget,
    rows: SlotRows<'a>,
    parts: Vec<(Table, Option<PartWriter>)>,
    records: u64,
    /// What went wrong while records were added: said when the parts are to be sealed.
    failure: Option<Error>,
}

impl<'a> RangeSeal<'a> {
    /// Begins parts for `tables`, each of [`SlotRows::TABLES`].
    pub fn begin(
        target: &'a PartTarget,
        tables: impl Iterator<Item = Table>,
        clock: &'a ClockMap,
        strings: &'a StringTable,
    ) -> Self {
        let parts = tables.map(|table| (table, None)).collect();
        Self { target, rows: SlotRows::new(clock, strings), parts, records: 0, failure: None }
    }

    /// Adds a record.
    #[inline]
    pub fn push(&mut self, seq: u64, slot: &Slot) {
        if !self.rows.push(seq, slot) {
            return;
        }
        self.records += 1;
        if self.records.is_multiple_of(ENCODED_ROWS) && self.failure.is_none() {
            self.failure = self.encode().err();
        }
    }

    fn encode(&mut self) -> Result<()> {
        for table in SlotRows::TABLES {
            let batch = self.rows.finish(table);
            let wanted = self.parts.iter_mut().find(|(wanted, _)| *wanted == table);
            let Some((_, part)) = wanted.filter(|_| batch.num_rows() > 0) else { continue };
            let part = match part {
                Some(part) => part,
                None => part.insert(self.target.create(table)?),
            };
            part.write(&batch)?;
        }
        Ok(())
    }

    /// Seals the parts; `sealed` grows by each table that is done, so that a second attempt leaves it out. Returns
    /// bytes written.
    pub fn seal(mut self, consumed: Range, sealed: &mut Vec<Table>) -> Result<u64> {
        match self.failure.take() {
            Some(failure) => return Err(failure),
            None => self.encode()?,
        }
        let mut written_bytes = 0;
        for (table, part) in self.parts {
            if let Some(part) = part {
                written_bytes += part.seal(consumed)?.1;
            }
            sealed.push(table);
        }
        Ok(written_bytes)
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }
}
