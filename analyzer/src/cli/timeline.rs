//! `tidegauge timeline`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use crate::analysis;
use crate::render::{self, Format};

/// Stretches of time in data unless asked otherwise.
const DEFAULT_ROWS: usize = 1000;
/// And on a screen.
const DEFAULT_TEXT_ROWS: usize = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let process = common.only_process(&source)?;
    let format = common.format();
    let for_people = matches!(format, Format::Text | Format::Markdown);
    let default = if for_people { DEFAULT_TEXT_ROWS } else { DEFAULT_ROWS };
    let buckets = common.top.unwrap_or(default);
    let (mut timeline, outcome) = analysis::timeline_on_node(
        process,
        &source.node_recorders(process),
        common.window(process)?,
        buckets,
    )?;
    if timeline.series.is_empty() {
        common.warn(&[
            "the recording has neither allocations nor use of devices nor resident sizes".to_owned()
        ]);
    }
    common.expect_device(timeline.series.iter().map(|series| series.device))?;
    let selection = common.selection();
    timeline.series.retain(|series| selection.shows_device(series.device));
    let table =
        if for_people { render::timeline_people_table(&timeline) } else { render::timeline_table(&timeline) };
    output::emit_replayed(common, &source, &outcome, &table.render(format))
}
