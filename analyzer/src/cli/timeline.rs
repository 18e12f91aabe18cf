//! `tidegauge timeline`.

use anyhow::Result;
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use super::ranks::{Replayed, each_process, warn_of_replays};
use crate::analysis::{self, categories::CategoryRules};
use crate::load::{Process, Source};
use crate::render::{self, Format, Table};

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
    let format = common.format();
    let for_people = matches!(format, Format::Text | Format::Markdown);
    let default = if for_people { DEFAULT_TEXT_ROWS } else { DEFAULT_ROWS };
    let buckets = common.top.unwrap_or(default);
    let rules = CategoryRules::parse(&args.rules)?;
    let tables = each_process(common, &source, |process| match args.by {
        Some(By::Category) => by_category(common, process, &rules, buckets, for_people),
        None => curves(common, &source, process, buckets, for_people),
    })?;
    if tables.results.iter().all(|(_, (table, _))| table.rows.is_empty()) {
        common.warn(&[match args.by {
            Some(By::Category) => "the recording has no allocations".to_owned(),
            None => "the recording has neither allocations nor use of devices nor resident sizes".to_owned(),
        }]);
    }
    warn_of_replays(common, &source, tables.results.iter().map(|(id, (_, replayed))| (*id, replayed)));
    if !(for_people && tables.are_several()) {
        return output::emit(common, &tables.table(|(table, _)| table.clone()).render(format));
    }
    // For people each has columns of its own.
    let mut text = String::new();
    for (id, (table, _)) in &tables.results {
        text += &format!("{id}\n{}\n", table.render(format));
    }
    output::emit(common, text.strip_suffix('\n').unwrap_or(&text))
}

fn by_category(
    common: &Common,
    process: &Process,
    rules: &CategoryRules,
    buckets: usize,
    for_people: bool,
) -> Result<(Table, Replayed)> {
    let (mut breakdown, outcome) = analysis::breakdown(process, common.window(process)?, rules, buckets)?;
    common.expect_device(breakdown.devices.iter().map(|device| device.device))?;
    let selection = common.selection();
    breakdown.devices.retain(|device| selection.shows_device(device.device));
    let table = if for_people { render::breakdown_people_table } else { render::breakdown_table };
    Ok((table(&breakdown), outcome.into()))
}

fn curves(
    common: &Common,
    source: &Source,
    process: &Process,
    buckets: usize,
    for_people: bool,
) -> Result<(Table, Replayed)> {
    let recorders = source.node_recorders(process);
    let window = common.window(process)?;
    let (mut timeline, outcome) = analysis::timeline_on_node(process, &recorders, window, buckets)?;
    common.expect_device(timeline.series.iter().map(|series| series.device))?;
    let selection = common.selection();
    timeline.series.retain(|series| selection.shows_device(series.device));
    let table = if for_people { render::timeline_people_table } else { render::timeline_table };
    Ok((table(&timeline), outcome.into()))
}
