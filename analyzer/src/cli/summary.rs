//! `tidegauge summary`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use crate::analysis;
use crate::render::{self, Format};

/// Sites shown for each device unless asked otherwise: with the rest, one screen.
const DEFAULT_TOP: usize = 8;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let window = |process: &_| common.window(process);
    let summary = analysis::summary(&source, window, |device| selection.shows_device(device))?;
    let of_process = |process: &analysis::ProcessSummary| {
        let allocated = process.devices.iter().map(|device| device.device);
        allocated.chain(process.device_use.iter().map(|device| device.device)).collect::<Vec<_>>()
    };
    common.expect_device(summary.processes.iter().flat_map(of_process))?;
    let top = common.top.unwrap_or(DEFAULT_TOP);
    let text = match common.format() {
        Format::Json => format!("{:#}\n", render::summary_json(&summary)),
        Format::Csv => {
            common.warn(&summary.warnings);
            render::summary_table(&summary).render(Format::Csv)
        }
        format => render::summary_text(&summary, top, format, output::style(common)),
    };
    output::emit(common, &text)
}
