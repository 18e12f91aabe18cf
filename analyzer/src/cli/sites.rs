//! `tidegauge sites`.

use anyhow::Result;
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use super::ranks::{Replayed, each_process, warn_of_replays};
use crate::analysis::{self, SiteOrder};
use crate::render::{self, Format};

/// Rows for people unless asked otherwise.
const DEFAULT_TOP: usize = 30;

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Allocated − freed by itself
    #[value(name = "self")]
    Own,
    /// Allocated − freed by itself and what it called
    Inclusive,
    /// Calls; where they were not recorded, allocations
    Calls,
}

impl From<Sort> for SiteOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Own => Self::SelfBytes,
            Sort::Inclusive => Self::InclusiveBytes,
            Sort::Calls => Self::Calls,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What to sort by, largest first
    #[arg(long, value_enum, default_value = "self")]
    sort: Sort,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let format = common.format();
    let default = if matches!(format, Format::Text | Format::Markdown) { DEFAULT_TOP } else { usize::MAX };
    let top = common.top.unwrap_or(default);
    let mut has_operators = false;
    let sites = each_process(common, &source, |process| {
        let (mut rows, outcome) = analysis::sites(process, common.window(process)?, args.sort.into())?;
        common.expect_device(rows.iter().filter_map(|row| row.device))?;
        rows.retain(|row| selection.shows_row(row.device));
        rows.truncate(top);
        has_operators |= outcome.is_none();
        Ok((rows, outcome.map(Replayed::from).unwrap_or_default()))
    })?;
    warn_of_replays(common, &source, sites.results.iter().map(|(id, (_, replayed))| (*id, replayed)));
    // The profiler's table was made as the file was read.
    if has_operators && (common.start.is_some() || common.end.is_some()) {
        common.warn(&["operators are summed up over the whole recording".to_owned()]);
    }
    output::emit(common, &sites.table(|(rows, _)| render::sites_table(rows)).render(format))
}
