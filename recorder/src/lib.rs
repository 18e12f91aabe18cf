//! Records allocations and checkpoints of this program into a Tidegauge trace.
//!
//! ```no_run
//! use tidegauge_recorder::{self as tg, Recorder, RecordingAllocator};
//!
//! #[global_allocator]
//! static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1024);
//!
//! fn main() -> Result<(), tg::Error> {
//!     let recorder = Recorder::builder("runs/a").config("batch_size", 16).start()?;
//!     for number in 0..100 {
//!         let mut step = tg::step(number);
//!         let loss = {
//!             let _forward = tg::span("forward");
//!             0.5 // the model
//!         };
//!         step.set_loss(loss);
//!     }
//!     recorder.stop()?;
//!     Ok(())
//! }
//! ```
//!
//! The process that is recorded is not ours: nothing here blocks it, fails in it or panics, no signal is claimed, and
//! a forked child forgets the recorder. A record whose call has returned survives the process, however that ends. How
//! traces are interpreted is none of this crate's business.

mod active;
mod alert_follower;
mod alerts;
mod allocator;
mod background;
pub mod binding;
mod blocks;
#[doc(hidden)]
pub mod c_api;
mod checkpoints;
mod closable;
mod doctor;
mod dump;
pub mod environment;
mod error;
mod guard;
mod handle;
mod host;
mod identity;
mod journal;
mod kept_events;
pub mod launcher;
mod mapping;
mod merge_policy;
mod merger;
mod on_alert;
mod probes;
mod recorder;
mod recover;
mod run_folder;
mod sealer;
mod ticks;

pub use alert_follower::RaisedAlert;
pub use alerts::{Alert, AlertError};
pub use allocator::RecordingAllocator;
pub use blocks::{BlockEvent, annotate, baseline, block_event};
pub use checkpoints::{
    Epoch, Site, Span, Step, alloc, counter, epoch, free, loss_evaluation, mark, site, span, step,
};
pub use doctor::{Check, Report, Status, doctor};
pub use dump::{dump, oom, request_dump};
pub use error::{Error, Result};
pub use recorder::{DEFAULT_INTERVAL, DEFAULT_JOURNAL_CAP_BYTES, Recorder, RecorderBuilder};
pub use recover::{Recovered, recover, recover_dead};
pub use run_folder::Existing;
