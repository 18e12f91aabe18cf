//! `tidegauge phases`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use crate::analysis::PhaseTable;
use crate::render;
use crate::replay::replay;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let process = common.only_process(&source)?;
    let window = common.window(process)?;
    let mut phases = PhaseTable::new(window);
    let outcome = replay(process, window, &mut phases)?;
    let mut rows = phases.finish(&outcome);
    let selection = common.selection();
    rows.retain(|row| selection.shows_device(row.device));
    rows.truncate(common.top.unwrap_or(usize::MAX));
    common.warn(&source.warnings());
    common.warn(&outcome.anomalies.warnings());
    output::emit(common, &render::phases_table(&rows).render(common.format()))
}
