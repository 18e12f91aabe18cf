//! All plots of a run, as `tidegauge plot` draws them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::cli::arguments::Common;
use crate::cli::output;
use crate::cli::plot::{self, Kind};
use crate::load::Source;

/// Plots that are drawn at a time: each takes the memory of a replay.
const MOST_AT_A_TIME: usize = 4;

/// The plots, or why there is none.
pub(super) struct Plots(Vec<(Kind, Result<String, String>)>);

impl Plots {
    /// Draws each kind: those of one process with `of_process`, those of all or of several runs with `common`. Without
    /// `are_files_wanted` those that the page has no place for are not drawn.
    pub(super) fn draw(
        common: &Common,
        of_process: &Common,
        sources: &[Source],
        are_files_wanted: bool,
    ) -> Self {
        let draw = |kind: Kind| {
            let (common, sources) = match kind {
                Kind::Ranks => (common, &sources[..1]),
                Kind::Compare | Kind::Plan => (common, sources),
                _ => (of_process, &sources[..1]),
            };
            let drawn = plot::draw(&plot::Args::of(kind, common), sources);
            drawn.map(|drawn| drawn.svg).map_err(|error| said(&error, sources))
        };
        let kinds = Kind::value_variants();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let work = || {
            let kind = || kinds.get(next.fetch_add(1, Ordering::Relaxed)).copied();
            let is_wanted = |kind: &Kind| are_files_wanted || sources.len() > 1 || *kind != Kind::Plan;
            std::iter::from_fn(kind).filter(is_wanted).map(|kind| (kind, draw(kind))).collect::<Vec<_>>()
        };
        let mut drawn: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores.min(MOST_AT_A_TIME)).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| worker.join());
            joined.flat_map(|drawn| drawn.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        drawn.sort_by_key(|(kind, _)| *kind as usize);
        Self(drawn)
    }

    /// The plot of a kind, or a sentence why there is none.
    pub(super) fn of(&self, kind: Kind) -> Result<&str, String> {
        match self.0.iter().find(|(of, _)| *of == kind) {
            Some((_, Ok(svg))) => Ok(svg),
            Some((_, Err(reason))) => Err(reason.clone()),
            None => Err(String::new()),
        }
    }

    /// Refuses a folder in which a plot's file is taken; before a long computation.
    pub(super) fn check_free(folder: &Path, force: bool) -> Result<()> {
        if folder.exists() && !folder.is_dir() {
            bail!("it is a file; expected a folder: {}", folder.display());
        }
        Kind::value_variants().iter().try_for_each(|kind| output::check_free(&file_of(folder, *kind), force))
    }

    /// Writes those that there are into `folder`, which is made.
    pub(super) fn write(&self, folder: &Path, force: bool) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (kind, drawn) in &self.0 {
            if let Ok(svg) = drawn {
                output::write_file(&file_of(folder, *kind), svg, force)?;
            }
        }
        Ok(())
    }
}

/// The file of a plot in a folder of all.
fn file_of(folder: &Path, kind: Kind) -> PathBuf {
    let value = kind.to_possible_value();
    folder.join(format!("{}.svg", value.as_ref().map_or("plot", |value| value.get_name())))
}

/// Why a plot is not there, as a sentence of the page: which file is meant is clear on it.
fn said(error: &anyhow::Error, sources: &[Source]) -> String {
    let reason = match error.downcast_ref::<crate::Error>() {
        Some(crate::Error::Nothing { what, .. }) => format!("The recording has no {what}"),
        _ => format!("It cannot be drawn: {}", output::describe(error)),
    };
    let path = sources.first().map(|source| format!(": {}", source.path.display())).unwrap_or_default();
    format!("{}.", reason.trim_end_matches(path.as_str()))
}
