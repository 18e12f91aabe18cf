//! What a recorder that is on can be told of its process and its run.

use serde_json::{Map, Value};
use tidegauge_schemas::process::DeviceInfo;
use tidegauge_schemas::run::RunInfo;

use super::Recorder;
use crate::error::Result;

impl Recorder {
    /// Id of the run, by which other processes of the same job find it.
    pub(crate) fn run_id(&self) -> &str {
        &self.info.run_id
    }

    /// Adds what cannot be recorded, one line each, to `process.json`: at once, so that it is there after a crash.
    pub(crate) fn add_notes(&mut self, notes: impl IntoIterator<Item = String>) -> Result<()> {
        let before = self.info.notes.len();
        for note in notes {
            if !self.info.notes.contains(&note) {
                self.info.notes.push(note);
            }
        }
        if self.info.notes.len() == before { Ok(()) } else { self.write_info() }
    }

    /// Says which devices there are.
    pub(crate) fn set_devices(&mut self, devices: Vec<DeviceInfo>) -> Result<()> {
        self.info.devices = devices;
        self.write_info()
    }

    /// Says which versions of the framework and so on are at work.
    pub(crate) fn set_versions(
        &mut self,
        versions: impl IntoIterator<Item = (String, String)>,
    ) -> Result<()> {
        self.info.versions.extend(versions);
        self.write_info()
    }

    /// Adds to the run's configuration, or changes it. Of several processes that do so at once, one wins.
    pub(crate) fn add_config(&mut self, config: Map<String, Value>) -> Result<()> {
        let mut run = RunInfo::read(&self.target.run)?;
        let before = run.config.clone();
        run.config.extend(config);
        if run.config != before {
            run.replace(&self.target.run)?;
        }
        Ok(())
    }

    pub(super) fn write_info(&self) -> Result<()> {
        Ok(self.info.write(&self.target.process_file())?)
    }
}
