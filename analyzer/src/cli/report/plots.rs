//! All plots of a run, as `tidegauge plot` draws them.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use crate::cli::arguments::Common;
use crate::cli::output;
use crate::cli::plot::{self, Kind};
use crate::load::Source;

/// The plots, or why there is none.
pub(super) struct Plots(Vec<(Kind, Result<String, String>)>);

impl Plots {
    /// Draws each kind: those of one process with `of_process`, those of all or of several runs with `common`.
    pub(super) fn draw(common: &Common, of_process: &Common, sources: &[Source]) -> Self {
        let draw = |kind: Kind| {
            let (common, sources) = match kind {
                Kind::Ranks => (common, &sources[..1]),
                Kind::Compare | Kind::Plan => (common, sources),
                _ => (of_process, &sources[..1]),
            };
            let drawn = plot::draw(&plot::Args::of(kind, common), sources);
            drawn.map(|drawn| drawn.svg).map_err(|error| said(&error, sources))
        };
        Self(Kind::value_variants().iter().map(|kind| (*kind, draw(*kind))).collect())
    }

    /// The plot of a kind, or a sentence why there is none.
    pub(super) fn of(&self, kind: Kind) -> Result<&str, String> {
        match self.0.iter().find(|(of, _)| *of == kind) {
            Some((_, Ok(svg))) => Ok(svg),
            Some((_, Err(reason))) => Err(reason.clone()),
            None => Err(String::new()),
        }
    }

    /// Writes those that there are into `folder`, which is made.
    pub(super) fn write(&self, folder: &Path, force: bool) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (kind, drawn) in &self.0 {
            if let (Ok(svg), Some(value)) = (drawn, kind.to_possible_value()) {
                output::write_file(&folder.join(format!("{}.svg", value.get_name())), svg, force)?;
            }
        }
        Ok(())
    }
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
