//! The parts of an imported table: some hundred thousand rows each, so that memory is bounded and readers share them out.

use std::path::Path;

use tidegauge_schemas::part::{PartWriter, Range};
use tidegauge_schemas::{Table, layout};

use crate::error::Result;
use crate::foreign::ForeignProcess;

/// Rows after which a part is full.
const PART_ROWS: u64 = 1 << 20;

/// What was written of a table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Writes all rows of a table of one process.
pub(super) fn write_table(
    recording: &ForeignProcess,
    table: Table,
    run: &Path,
    run_id: &str,
) -> Result<Written> {
    let folder = match table {
        Table::NodeSamples => layout::node_folder(run, &recording.info.host),
        _ => layout::table_folder(run, table, recording.id),
    };
    let stem = layout::part_stem(table, recording.id);
    let mut written = Written::default();
    let mut number = 0;
    // There are no journal chunks that a part could have consumed: the parts count.
    let mut seal = |part: PartWriter, number: &mut u64| -> Result<()> {
        written.rows += part.rows();
        written.bytes += part.seal(Range { first: *number, last: *number })?.1;
        *number += 1;
        Ok(())
    };
    let mut open: Option<PartWriter> = None;
    for batch in recording.batches(table) {
        let part = match &mut open {
            Some(part) => part,
            None => open.insert(PartWriter::create(&folder, &stem, table, run_id)?),
        };
        part.write(&batch)?;
        if let Some(full) = open.take_if(|part| part.rows() >= PART_ROWS) {
            seal(full, &mut number)?;
        }
    }
    if let Some(last) = open {
        seal(last, &mut number)?;
    }
    Ok(written)
}
