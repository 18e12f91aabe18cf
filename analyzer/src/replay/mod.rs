//! Replay: from rows to what they did to memory.
//!
//! One pass in the order of `seq` over the events, checkpoints and samples of a process. It keeps the blocks that are
//! alive, the curves of each device and the phases that are open, and tells observers of every change. Memory is
//! bounded by the live set, not by the trace. Observers are independent of each other: a new analysis is a new one.

mod device;
mod live_blocks;
mod merge;
mod pass;
mod phase_class;
mod phases;
mod segments;

pub(crate) use device::MAX_BYTES;
pub use device::{DeviceState, Peak};
pub use live_blocks::Block;
pub use pass::{
    Anomalies, Observed, Observer, Outcome, RssPeak, Window, replay, replay_checkpoints, replay_with_pools,
};
pub use phase_class::PhaseClass;
pub use phases::{DeviceSpan, EndedPhase, EndedStep, PhaseRef, PhaseTracker, Place};
pub(crate) use segments::Segments;
