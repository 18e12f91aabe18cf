//! `tidegauge query`.

use anyhow::{Result, bail};

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
    if common.device.is_some() || common.start.is_some() || common.end.is_some() {
        bail!("a query selects devices and times itself: WHERE device = 0 AND time >= …");
    }
    let source = common.open()?;
    common.warn(&source.warnings());
    let table = query::result_table(&query::query(&source, &args.sql, common.top)?)?;
    output::emit(common, &table.render(common.format()))
}
