//! Loading: from a path to rows in replay order.
//!
//! A path is a trace folder, of a running, crashed or cleanly ended recording, or a file of another tool. Rows come batch by batch, decoded to
//! plain structs; nothing here interprets them.

mod module_rows;
mod pool_names;
mod process;
mod rows;
mod selection;
mod site_stacks;

pub(crate) use module_rows::{ModuleRow, module_rows};
pub use pool_names::PoolNames;
pub use process::Process;
pub use rows::{
    CHECKPOINT_COLUMNS, CheckpointRow, EVENT_COLUMNS, EventBatch, EventColumns, EventRow, Rows,
    SAMPLE_COLUMNS, SampleRow,
};
pub(crate) use selection::run_info;
pub use selection::{Selection, Source};
pub(crate) use site_stacks::SiteStacks;
