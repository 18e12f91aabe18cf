//! `tidegauge steps`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use crate::analysis::StepTable;
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
    let mut steps = StepTable::new(window);
    let outcome = replay(process, window, &mut steps)?;
    common.expect_device(outcome.devices.iter().map(|device| device.device))?;
    let mut rows = steps.finish(&outcome);
    if rows.is_empty() {
        common.warn(&["the recording has no steps".to_owned()]);
    }
    let selection = common.selection();
    rows.retain(|row| row.device.is_none_or(|device| selection.shows_device(device)));
    if let Some(top) = common.top {
        // The steps that one looks at first, then in their order again.
        rows.sort_by_key(|row| std::cmp::Reverse(row.peak_bytes));
        rows.truncate(top);
        rows.sort_by_key(|row| (row.device, row.begin_nanos));
    }
    output::emit_replayed(
        common,
        &source,
        &outcome,
        &render::steps_table(&rows, outcome.first_nanos()).render(common.format()),
    )
}
