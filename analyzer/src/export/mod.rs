//! Exports: what a recording says, in the formats of other tools.
//!
//! Three kinds. *Timelines* ([`perfetto`], [`chrome`]) show every change of every curve over time, with phases, steps and
//! what happened: `timeline_feed` replays a process once and tells a `TimelineSink`, which writes as
//! it is told, so memory is bounded by what is alive and by the number of phases. *Figures* ([`tensorboard`],
//! [`flamegraph`]) and [`tables`] are results of analyses. [`pytorch_snapshot`] is the recording itself as torch would have made it. Nothing
//! here knows files: exports write into any `Write`; files and their names are the command line's.

mod chrome;
mod counters;
mod display_ids;
mod event_file;
mod flamegraph;
mod folded_stacks;
mod perfetto;
mod perfetto_proto;
mod pickle;
mod process_tracks;
pub mod pytorch_snapshot;
mod row_file;
mod slices;
mod stream_column;
pub mod tables;
mod tensorboard;
mod tensorboard_proto;
mod timeline_feed;
mod timeline_sink;
mod typed_table;

pub use chrome::chrome;
pub use flamegraph::{flamegraph, folded};
pub use folded_stacks::{FoldedStacks, folded_stacks};
pub use perfetto::perfetto;
pub use tensorboard::{event_file_name, tensorboard};

use crate::error::{Error, Result};
use crate::load::Process;
use crate::replay::Window;

/// Which part of a run is exported.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The time of each process.
    pub window_of: &'a dyn Fn(&Process) -> Result<Window>,
    /// Whether a device is shown: −1 the host, 0… accelerators.
    pub device: &'a dyn Fn(i16) -> bool,
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// For `map_err`: the operating system refused to take what was written.
fn write_error(source: std::io::Error) -> Error {
    Error::Write { source }
}
