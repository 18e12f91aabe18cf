//! `tidegauge timeline`.

use anyhow::Result;
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use crate::analysis::{self, categories::CategoryRules};
use crate::render::{self, Format};

/// Stretches of time in data unless asked otherwise.
const DEFAULT_ROWS: usize = 1000;
/// And on a screen.
const DEFAULT_TEXT_ROWS: usize = 40;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What allocated consists of, at the highest moment of each stretch of time
    #[arg(long, value_enum)]
    by: Option<By>,
    /// A category of your own: blocks whose site, stack or module matches
    #[arg(long = "rule", value_name = "NAME=REGEX", requires = "by")]
    rules: Vec<String>,
}

/// What allocated is taken apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// What blocks are for: parameter, gradient, optimizer_state, input, activation, temporary, autograd_detail, unknown
    Category,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let process = common.only_process(&source)?;
    let format = common.format();
    let for_people = matches!(format, Format::Text | Format::Markdown);
    let default = if for_people { DEFAULT_TEXT_ROWS } else { DEFAULT_ROWS };
    let buckets = common.top.unwrap_or(default);
    if let Some(By::Category) = args.by {
        let rules = CategoryRules::parse(&args.rules)?;
        let (mut breakdown, outcome) =
            analysis::breakdown(process, common.window(process)?, &rules, buckets)?;
        if breakdown.devices.is_empty() {
            common.warn(&["the recording has no allocations".to_owned()]);
        }
        common.expect_device(breakdown.devices.iter().map(|device| device.device))?;
        let selection = common.selection();
        breakdown.devices.retain(|device| selection.shows_device(device.device));
        let table = if for_people {
            render::breakdown_people_table(&breakdown)
        } else {
            render::breakdown_table(&breakdown)
        };
        return output::emit_replayed(common, &source, &outcome, &table.render(format));
    }
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
