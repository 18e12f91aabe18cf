//! `tidegauge leaks`.

use anyhow::Result;
use clap::ValueEnum;

use super::arguments::Common;
use super::output;
use crate::analysis::{self, LeakOptions, Unit};
use crate::render::{self, Format};

/// Sites of each device shown unless asked otherwise.
const DEFAULT_TOP: usize = 10;

/// What growth is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Steps if there are ten, else evaluations, else epochs, else minutes
    Auto,
    /// Training steps
    Step,
    /// Epochs
    Epoch,
    /// Evaluations of the loss by a black-box optimizer
    Evaluation,
    /// Minutes
    Time,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What growth is counted by
    #[arg(long, value_enum, default_value = "auto")]
    by: By,
    /// Steps, epochs, evaluations or samples to leave out at the beginning, instead of finding out how many
    #[arg(long, value_name = "N")]
    warmup: Option<usize>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let unit = match args.by {
        By::Auto => None,
        By::Step => Some(Unit::Step),
        By::Epoch => Some(Unit::Epoch),
        By::Evaluation => Some(Unit::Evaluation),
        By::Time => Some(Unit::Time),
    };
    let options = LeakOptions { unit, warmup: args.warmup };
    let selection = common.selection();
    common.warn(&source.warnings());
    let mut processes = Vec::new();
    for process in &source.processes {
        let window = common.window(process)?;
        let (growth, outcome) =
            analysis::leaks(process, window, options, |device| selection.shows_device(device))?;
        let warnings = outcome.anomalies.warnings();
        common.warn(&warnings.iter().map(|text| format!("{}: {text}", process.id)).collect::<Vec<_>>());
        processes.push(growth);
    }
    let found = processes.iter().flat_map(|process| &process.growths).map(|growth| growth.device);
    common.expect_device(found)?;
    let format = common.format();
    let text = match format {
        Format::Text | Format::Markdown => {
            let top = common.top.unwrap_or(DEFAULT_TOP);
            render::leaks_text(&processes, top, format, output::style(common))
        }
        Format::Json | Format::Csv => {
            common.warn(&processes.iter().flat_map(|process| process.notes.clone()).collect::<Vec<_>>());
            render::leaks_table(&processes, common.top.unwrap_or(usize::MAX)).render(format)
        }
    };
    output::emit(common, &text)
}
