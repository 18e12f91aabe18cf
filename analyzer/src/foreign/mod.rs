//! Recordings that other tools made, read as if they were traces.
//!
//! A file's kind is told by its content. An importer for each kind turns it into [`ForeignProcess`]es: the rows that a
//! trace of the same program would have, packed in memory, which every analysis then replays. An importer may trust
//! nothing that the file says: it is refused with one clear error, or read with a warning for what does not add up.

mod batches;
mod events;
mod input;
mod kind;
mod kineto;
mod memory_timeline;
mod nvidia_smi;
mod open;
mod operators;
mod phase_names;
mod pickle;
mod process;
mod sites;
mod snapshot;
mod stack_class;

pub use events::{EventStore, ForeignEvent, StoredEvent};
pub use input::Input;
pub use open::{expand, open, read};
pub use operators::Operator;
pub use process::{ForeignProcess, NO_CLOCK};
pub use sites::{Frame, FrameId, Site, Sites};
pub use stack_class::stack_class;
