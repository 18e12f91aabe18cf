//! `tidegauge query`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use crate::query;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// For example: SELECT kind, COUNT(*) FROM events GROUP BY kind
    #[arg(value_name = "SQL")]
    sql: String,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    common.warn(&source.warnings());
    let mut table = query::result_table(&query::query(&source, &args.sql)?)?;
    table.rows.truncate(common.top.unwrap_or(usize::MAX));
    output::emit(common, &table.render(common.format()))
}
