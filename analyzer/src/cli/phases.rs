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
    common.expect_device(outcome.devices.iter().map(|device| device.device))?;
    let mut rows = phases.finish(&outcome);
    if rows.is_empty() {
        common.warn(&["the recording has no phases".to_owned()]);
    }
    let selection = common.selection();
    rows.retain(|row| row.device().is_none_or(|device| selection.shows_device(device)));
    if let Some(top) = common.top {
        // The phases that one looks at first, then in the order of the loop again.
        let mut highest: Vec<(usize, _)> = rows.into_iter().enumerate().collect();
        highest
            .sort_by_key(|(_, row)| std::cmp::Reverse(row.memory.as_ref().map(|memory| memory.peak_bytes)));
        highest.truncate(top);
        highest.sort_by_key(|(at, _)| *at);
        rows = highest.into_iter().map(|(_, row)| row).collect();
    }
    output::emit_replayed(common, &source, &outcome, &render::phases_table(&rows).render(common.format()))
}
