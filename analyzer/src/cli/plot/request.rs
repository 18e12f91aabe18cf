//! What a plot was asked for.

use anyhow::{Context as _, Result};

use super::Args;
use crate::Error;
use crate::analysis;
use crate::cli::arguments::Common;
use crate::load::{Process, Source};
use crate::plot::PlotConfig;
use crate::replay::{Outcome, Window};

/// Arguments, and the runs that they name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) args: &'a Args,
    pub(super) sources: &'a [Source],
}

impl<'a> Request<'a> {
    /// The run, of plots of one.
    pub(super) fn source(&self) -> &'a Source {
        // The command line has at least one RUN.
        &self.sources[0]
    }

    /// The process, of plots of one.
    pub(super) fn process(&self) -> Result<&'a Process> {
        self.args.common.only_process(self.source())
    }

    /// The part of the process's trace that is shown.
    pub(super) fn window(&self, process: &Process) -> Result<Window> {
        match self.args.step {
            Some(step) => analysis::step_window(process, step)?
                .with_context(|| format!("the trace has no step {step}: {}", self.source().path.display())),
            None => Ok(self.args.common.window(process)?),
        }
    }

    /// The device that was asked for, else that with the highest peak of allocated, if there is one.
    pub(super) fn device(&self, outcome: &Outcome) -> Option<i16> {
        let busiest = || {
            outcome.devices.iter().max_by_key(|device| {
                // Of several that are as high, the first.
                (device.allocated_peak.bytes, std::cmp::Reverse(device.device))
            })
        };
        self.args.common.device.or_else(|| Some(busiest()?.device))
    }

    /// Size, colours and a title that names the run and the process.
    pub(super) fn config_of(&self, process: &Process) -> PlotConfig {
        self.config(format!("{}, {}", run_name(self.source()), process.id))
    }

    /// Size, colours and a title that names the run, of plots of all its processes.
    pub(super) fn config_of_run(&self) -> PlotConfig {
        self.config(run_name(self.source()))
    }

    /// Size, colours and this title.
    pub(super) fn config(&self, title: String) -> PlotConfig {
        let Args { width, height, theme, .. } = *self.args;
        PlotConfig { width, height, title, theme: theme.into() }
    }

    /// The error that says that the run has none of it.
    pub(super) fn nothing(&self, what: &str) -> anyhow::Error {
        let Args { step, common: Common { start, end, .. }, .. } = self.args;
        let is_part = step.is_some() || start.is_some() || end.is_some();
        let what = if is_part { what } else { what.strip_suffix(" in this part").unwrap_or(what) };
        Error::Nothing { what: what.to_owned(), path: self.source().path.clone() }.into()
    }
}

/// What a run is called: its folder or file, and the model if that was told.
pub(in crate::cli) fn run_name(source: &Source) -> String {
    let name = source
        .path
        .file_name()
        .map_or_else(|| source.path.display().to_string(), |name| name.to_string_lossy().into());
    let model = source.info.config.get("model").and_then(serde_json::Value::as_str);
    let model = model.map(|model| format!(" ({model})")).unwrap_or_default();
    format!("{name}{model}")
}
