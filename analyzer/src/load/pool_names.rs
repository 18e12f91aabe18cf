//! Names of the pools that a process's allocators keep memory in, numbered.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int32Type;
use tidegauge_schemas::Table;

use super::process::Process;
use crate::error::{Error, Result};

/// The pools of a process; 0 is the default one, which has no name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolNames {
    /// The name of number n at n − 1.
    names: Vec<String>,
}

impl PoolNames {
    /// Of a process. Reads one column of its events, which nearly always says nothing.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub fn read(process: &Process) -> Result<Self> {
        if let Some(foreign) = process.foreign() {
            let names = (1..=u16::MAX).map_while(|number| foreign.pool(number).map(str::to_owned));
            return Ok(Self { names: names.collect() });
        }
        let mut names: Vec<String> = Vec::new();
        for batch in process.batches(Table::Events, &["pool"]) {
            let batch = batch?;
            let column = batch.column_by_name("pool").ok_or(Error::LostColumn { column: "pool" })?;
            let texts = column.as_dictionary::<Int32Type>();
            if texts.keys().null_count() == texts.len() {
                continue;
            }
            for name in texts.values().as_string::<i32>().iter().flatten() {
                if let Err(place) = names.binary_search_by(|known| known.as_str().cmp(name)) {
                    names.insert(place, name.to_owned());
                }
            }
        }
        Ok(Self { names })
    }

    /// The name of a pool; `None` for the default one.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get((number as usize).checked_sub(1)?).map(String::as_str)
    }

    /// The number of a pool.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let place = self.names.binary_search_by(|known| known.as_str().cmp(name)).ok()?;
        u32::try_from(place + 1).ok()
    }
}
