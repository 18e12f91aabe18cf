//! What a recorder needs that watches another program from outside: `tidegauge-record`.
//!
//! It has a place in the run, a journal and a sealer like any other; it does not sample its own process, and says in
//! `process.json` what it watches.

use std::path::Path;

use tidegauge_schemas::process::Watched;

use super::{Recorder, RecorderBuilder};
use crate::active::Active;
use crate::error::Result;

impl RecorderBuilder {
    /// Records `command` from outside: nothing of this process is sampled.
    pub(crate) fn watching(mut self, command: Vec<String>) -> Self {
        self.watched_command = Some(command);
        self
    }
}

impl Recorder {
    /// Where readings go.
    pub(crate) fn active(&self) -> &'static Active {
        self.active
    }

    /// Host that this process records on.
    pub(crate) fn host(&self) -> &str {
        &self.info.host
    }

    /// Where the journal lies until it is sealed.
    pub(crate) fn journal_folder(&self) -> &Path {
        &self.journal_path
    }

    /// Says what is known of the watched program.
    pub(crate) fn set_watched(&mut self, watched: Watched) -> Result<()> {
        self.info.watched = Some(watched);
        self.write_info()
    }

    /// What recording could not do, so far.
    pub(crate) fn notes(&self) -> &[String] {
        &self.info.notes
    }
}

impl Active {
    /// A sample that another thread than the recorded program's has taken, of process `pid` or of all of them.
    pub(crate) fn sample_of(&self, metric: u32, device: i16, pid: Option<u32>, value: f64) {
        use tidegauge_schemas::journal::SampleSlot;
        let ticks = self.journal.ticks();
        let slot = SampleSlot { ticks, metric, device, pid, value, checkpoint: None, thread: 0 };
        self.journal.record(&slot.encode());
    }

    /// A sample of a device or of the node.
    pub(crate) fn node_sample(&self, metric: u32, device: i16, uuid: u32, value: f64) {
        use tidegauge_schemas::journal::NodeSampleSlot;
        let slot = NodeSampleSlot { ticks: self.journal.ticks(), metric, device, uuid, value };
        self.journal.record(&slot.encode());
    }
}
