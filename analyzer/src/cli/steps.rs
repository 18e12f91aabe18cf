//! `tidegauge steps`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use super::ranks::{Replayed, each_process, warn_of_replays};
use crate::analysis::{StepRow, StepTable, aligned_steps};
use crate::render::{self, Format};
use crate::replay::replay;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// One row for each step over all ranks, as people are shown several ranks; of data, else, one for each rank
    #[arg(long)]
    by_step: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let steps = each_process(common, &source, |process| {
        let window = common.window(process)?;
        let mut steps = StepTable::new(window);
        let outcome = replay(process, window, &mut steps)?;
        let rows = steps.finish(&outcome);
        Ok((rows, Replayed::from(outcome)))
    })?;
    common.expect_device(
        steps.results.iter().flat_map(|(_, (_, replayed))| replayed.devices.iter().copied()),
    )?;
    if steps.results.iter().all(|(_, (rows, _))| rows.is_empty()) {
        common.warn(&["the recording has no steps".to_owned()]);
    }
    let shown = |rows: &[StepRow]| {
        let mut rows: Vec<StepRow> = rows
            .iter()
            .filter(|row| row.device.is_none_or(|device| selection.shows_device(device)))
            .cloned()
            .collect();
        if let Some(top) = common.top {
            // The steps that one looks at first, then in their order again.
            rows.sort_by_key(|row| std::cmp::Reverse(row.peak_bytes));
            rows.truncate(top);
            rows.sort_by_key(|row| (row.device, row.begin_nanos));
        }
        rows
    };
    let format = common.format();
    let for_people = matches!(format, Format::Text | Format::Markdown);
    let table = if args.by_step || (for_people && steps.are_several()) {
        let of_ranks: Vec<_> = steps.results.iter().map(|(id, (rows, _))| (*id, rows.as_slice())).collect();
        let mut aligned = aligned_steps(&of_ranks, |device| selection.shows_device(device));
        if let Some(top) = common.top {
            aligned.sort_by_key(|step| std::cmp::Reverse(step.highest.map(|of| of.value)));
            aligned.truncate(top);
            aligned.sort_by_key(|step| step.step);
        }
        render::aligned_steps_table(&aligned)
    } else {
        steps.table(|(rows, replayed)| render::steps_table(&shown(rows), replayed.first_nanos))
    };
    warn_of_replays(common, &source, steps.results.iter().map(|(id, (_, replayed))| (*id, replayed)));
    output::emit(common, &table.render(format))
}
