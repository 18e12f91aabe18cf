//! `tidegauge compare`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tidegauge_schemas::run::Config;

use super::arguments::Common;
use super::output;
use super::peaks::By;
use crate::analysis::{self, RunFigures};
use crate::load::Source;
use crate::render::{self, Format};

/// Groups shown of who changed unless asked otherwise.
const DEFAULT_TOP: usize = 8;

#[derive(Debug, clap::Args)]
#[command(mut_arg("run", |base| base.index(1).num_args(1).value_name("BASE").help("Trace folder, or recording of another tool, that the others are compared with")))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Trace folders or recordings to compare with it
    #[arg(index = 2, value_name = "OTHER", required = true)]
    others: Vec<PathBuf>,
    /// Who changed, grouped by this (text: site); JSON and CSV then have these rows instead of the runs
    #[arg(long, value_enum)]
    by: Option<By>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let paths = common.run.iter().chain(&args.others);
    let sources: Vec<Source> = paths.map(|path| common.open_at(&[path])).collect::<Result<_>>()?;
    let named: Vec<(&Path, &Config)> =
        sources.iter().map(|source| (source.path.as_path(), &source.info.config)).collect();
    let names = analysis::configuration_names(&named);
    let selection = common.selection();
    let mut runs: Vec<RunFigures> = Vec::new();
    for (source, name) in sources.iter().zip(&names) {
        let (figures, warnings) = analysis::run_figures(
            source,
            |process| common.window(process),
            |device| selection.shows_device(device),
        )?;
        common.warn(&warnings.iter().map(|warning| format!("{name}: {warning}")).collect::<Vec<_>>());
        runs.push(figures);
    }
    let comparison = analysis::comparison(&runs, &names);
    let format = common.format();
    let is_data = matches!(format, Format::Json | Format::Csv);
    if is_data {
        common.warn(&comparison.notes);
    }
    if let (true, None) = (is_data, args.by) {
        return output::emit(common, &render::comparison_table(&comparison).render(format));
    }
    let (grouping, key, heading) = args.by.unwrap_or(By::Site).grouping();
    let mut held = Vec::new();
    for ((source, figures), row) in sources.iter().zip(&runs).zip(&comparison.rows) {
        held.push(analysis::held_at_peak(source, figures, row, grouping, |process| common.window(process))?);
    }
    let changed = analysis::changed_holders(&comparison.rows, &held);
    let text = if is_data {
        render::changed_holders_table(&changed, key, common.top.unwrap_or(usize::MAX)).render(format)
    } else {
        let top = common.top.unwrap_or(DEFAULT_TOP);
        render::comparison_text(&comparison, &changed, heading, top, format, output::style(common))
    };
    output::emit(common, &text)
}
