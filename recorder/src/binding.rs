//! What the binding of another language needs beyond the API of Rust: beginnings and ends as two calls, names that are
//! looked up once, and a recorder that the process keeps.
//!
//! Like everything that records, these do nothing while no recorder is on, and neither fail, block nor panic.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use tidegauge_schemas::CheckpointKind;
use tidegauge_schemas::journal::StringUse;
use tidegauge_schemas::process::DeviceInfo;

use crate::active::{Active, Checkpoint, active};
use crate::checkpoints;
use crate::environment;
use crate::error::Result;
use crate::handle::Handle;
use crate::host::HostProbe;
use crate::recorder::RecorderBuilder;

/// A builder for the folder `run`; by the environment's wishes, if they are to count.
pub fn builder(run: PathBuf, by_environment: bool) -> RecorderBuilder {
    let builder = crate::Recorder::builder(run);
    if by_environment { environment::apply(builder) } else { builder }
}

/// Starts the recorder that the process keeps; the trace folder.
///
/// # Errors
/// As [`RecorderBuilder::start`].
pub fn start(builder: RecorderBuilder) -> Result<PathBuf> {
    Handle::get_or_make().start(builder)
}

/// Stops it, if one is on; the trace folder.
///
/// # Errors
/// As [`crate::Recorder::stop`].
pub fn stop() -> Result<Option<PathBuf>> {
    Ok(Handle::get().map(Handle::stop).transpose()?.flatten())
}

/// Whether what this process does now is recorded.
#[must_use]
pub fn is_on() -> bool {
    active().is_some_and(|active| active.journal.is_open())
}

/// The folder that is recorded into, or was last.
#[must_use]
pub fn run_path() -> Option<PathBuf> {
    Handle::get()?.lock().run.clone()
}

/// Id of the run that is recorded, by which other processes of the same job join it.
#[must_use]
pub fn run_id() -> Option<String> {
    Some(Handle::get()?.lock().recorder.as_ref()?.run_id().to_owned())
}

/// Records dropped so far; 0 when recording is off.
#[must_use]
pub fn dropped_records() -> u64 {
    let dropped = |handle: &Handle| Some(handle.lock().recorder.as_ref()?.dropped_records());
    Handle::get().and_then(dropped).unwrap_or(0)
}

/// Adds what could not be recorded as wished to `process.json`, one line.
///
/// # Errors
/// If the file cannot be written.
pub fn note(line: &str) -> Result<()> {
    with_recorder(|recorder| recorder.add_notes([line.to_owned()]))
}

/// Says in `process.json` which versions of the framework and so on are at work.
///
/// # Errors
/// If the file cannot be written.
pub fn set_versions(versions: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    with_recorder(|recorder| recorder.set_versions(versions))
}

/// Says in `process.json` which accelerators the process can see.
///
/// # Errors
/// If the file cannot be written.
pub fn set_devices(devices: Vec<DeviceInfo>) -> Result<()> {
    with_recorder(|recorder| recorder.set_devices(devices))
}

/// Adds to the run's configuration, or changes it, while recording.
///
/// # Errors
/// If `run.json` cannot be read or written.
pub fn add_config(config: Map<String, Value>) -> Result<()> {
    if let Some(active) = active() {
        for (key, value) in &config {
            if let Some(number) = value.as_f64() {
                let changed = Checkpoint::new(CheckpointKind::Config, active.name(key));
                active.checkpoint(Checkpoint { value: Some(number), ..changed });
            }
        }
    }
    with_recorder(|recorder| recorder.add_config(config))
}

fn with_recorder(call: impl FnOnce(&mut crate::Recorder) -> Result<()>) -> Result<()> {
    let Some(handle) = Handle::get() else { return Ok(()) };
    let mut kept = handle.lock();
    kept.recorder.as_mut().map_or(Ok(()), call)
}

/// Resident memory of this process now; a fresh read, whether recording is on or not.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    // The recorder's own probe, whose file is open already, if there is one.
    let kept = active().and_then(Active::read_host);
    let memory = kept.or_else(|| HostProbe::open().as_ref().and_then(HostProbe::read));
    memory.map(|memory| memory.rss_bytes)
}

/// Begins a training step.
pub fn begin_step(number: i64) {
    if let Some(active) = active() {
        checkpoints::begin_step(active, number);
    }
}

/// Ends a training step, with what is known of it.
pub fn end_step(number: i64, loss: Option<f64>, batch_size: Option<u64>) {
    if let Some(active) = active() {
        checkpoints::end_step(active, number, loss, batch_size);
    }
}

/// Begins an epoch.
pub fn begin_epoch(number: u32) {
    if let Some(active) = active() {
        checkpoints::begin_epoch(active, number);
    }
}

/// Ends an epoch.
pub fn end_epoch(number: u32) {
    if let Some(active) = active() {
        checkpoints::end_epoch(active, number);
    }
}

/// A counter of a device.
pub fn device_counter(name: &str, device: i16, value: f64) {
    if let Some(active) = active() {
        active.counter(active.name(name), device, value);
    }
}

/// A row of `modules`, as a JSON object whose keys are the columns.
pub fn module(row: &str) {
    if let Some(active) = active() {
        active.journal.intern(row, StringUse::Module);
    }
}

/// A name that is used again and again: its id is looked up once for each recording.
#[derive(Debug)]
pub struct Name {
    text: Box<str>,
    used: StringUse,
    /// Recording in the high half, id of that in the low one.
    known: AtomicU64,
}

/// Where a thread was before it entered a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The recording that it is of; 0 none.
    pub recording: u32,
    /// The site; 0 none.
    pub site: u32,
}

impl Name {
    /// Of a phase or mark.
    #[must_use]
    pub fn of_phase(text: &str) -> Self {
        Self { text: text.into(), used: StringUse::Name, known: AtomicU64::new(0) }
    }

    /// Of a site.
    #[must_use]
    pub fn of_site(text: &str) -> Self {
        Self { used: StringUse::Site, ..Self::of_phase(text) }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn id(&self, active: &Active) -> u32 {
        let generation = active.journal.generation;
        let known = self.known.load(Ordering::Relaxed);
        if (known >> 32) as u32 == generation {
            return known as u32;
        }
        let id = active.journal.intern(&self.text, self.used);
        self.known.store(u64::from(generation) << 32 | u64::from(id), Ordering::Relaxed);
        id
    }

    fn checkpoint(&self, kind: CheckpointKind) {
        if let Some(active) = active() {
            active.checkpoint(Checkpoint::new(kind, self.id(active)));
        }
    }

    /// Begins a phase of this name.
    pub fn begin(&self) {
        self.checkpoint(CheckpointKind::SpanBegin);
    }

    /// Ends the phase that this thread began last under this name.
    pub fn end(&self) {
        self.checkpoint(CheckpointKind::SpanEnd);
    }

    /// Puts this thread at this site; where it was before.
    pub fn enter(&self) -> Before {
        active().map_or(Before { recording: 0, site: 0 }, |active| {
            let recording = active.journal.generation;
            let before = Before { recording, site: active.here().site };
            active.move_to_site(self.id(active));
            before
        })
    }
}

/// Puts this thread back to where it was before it entered a site.
pub fn leave(before: Before) {
    if let Some(active) = active().filter(|active| active.journal.generation == before.recording) {
        active.return_to_site(before.site);
    }
}
