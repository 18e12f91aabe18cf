//! `tidegauge peaks`.

use std::cell::RefCell;

use anyhow::{Result, bail};
use clap::ValueEnum;
use tidegauge_schemas::layout::ProcessId;

use super::arguments::{Common, moment, parse_duration};
use super::output;
use super::ranks::each_process;
use crate::analysis::categories::CategoryRules;
use crate::analysis::{self, Grouping, Moment, Peaks};
use crate::render::{self, Format};

/// Groups shown unless asked otherwise.
const DEFAULT_TOP: usize = 20;
/// And of each process where there are several.
const DEFAULT_TOP_OF_EACH: usize = 5;

/// What blocks are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Who allocated them
    Site,
    /// What they are for: as --rule says, else the framework, else told by when they were allocated and freed
    Category,
    /// The module that allocated them
    Module,
    /// Phase in which they were allocated
    Phase,
    /// Power of two
    Size,
}

impl By {
    /// What the analysis calls it, the key in data and the heading for people.
    pub(super) const fn grouping(self) -> (Grouping, &'static str, &'static str) {
        match self {
            Self::Site => (Grouping::Site, "site", "Site"),
            Self::Category => (Grouping::Category, "category", "Category"),
            Self::Module => (Grouping::Module, "module", "Module"),
            Self::Phase => (Grouping::Phase, "phase", "Allocated in phase"),
            Self::Size => (Grouping::Size, "size", "Size"),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What to group blocks by
    #[arg(long, value_enum, default_value = "site")]
    by: By,
    /// The peak within this step
    #[arg(long, conflicts_with = "at")]
    step: Option<i64>,
    /// This moment instead of the peak, counted from the start of the recording: 12.5s, 300ms
    #[arg(long, value_parser = parse_duration)]
    at: Option<i64>,
    /// A category of your own: blocks whose site, stack or module matches. May be given several times; the first that
    /// matches has the word
    #[arg(long = "rule", value_name = "NAME=REGEX")]
    rules: Vec<String>,
    /// What a peak lower by 10, 20 and 30 % would take, instead of who holds it: a row for each
    #[arg(long, conflicts_with = "at")]
    lower: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let (grouping, key, heading) = args.by.grouping();
    let selection = common.selection();
    let rules = CategoryRules::parse(&args.rules)?;
    if !rules.is_empty() && grouping != Grouping::Category {
        bail!("--rule makes categories: use it with --by category");
    }
    let recorded = RefCell::new(Vec::new());
    let found = each_process(common, &source, |process| {
        let moment = moment(process, args.step, args.at)?;
        let window = common.window(process)?;
        let shows = |device| {
            recorded.borrow_mut().push(device);
            selection.shows_device(device)
        };
        Ok((moment, analysis::peaks(process, moment, window, grouping, &rules, shows)?))
    })?;
    let is_empty = found.results.iter().all(|(_, (_, peaks))| peaks.is_empty());
    if args.step.is_none() || !recorded.borrow().is_empty() {
        common.expect_device(recorded.borrow().iter().copied())?;
    }
    if let (Some(step), true) = (args.step, is_empty) {
        bail!("the trace has no step {step}, or no event before its end: {}", source.path.display());
    }
    common.warn(&source.warnings());
    if let Some(step) = args.step {
        // Those that have it are shown; that others have not is said.
        let without = found.results.iter().filter(|(_, (_, peaks))| peaks.is_empty());
        let line = |(id, _): &(ProcessId, _)| format!("{id}: has no step {step}, or no event before its end");
        common.warn(&without.map(line).collect::<Vec<_>>());
    }
    if is_empty {
        common.warn(&["the recording has no allocations".to_owned()]);
    }
    let format = common.format();
    if args.lower {
        let table = found.table(|(_, peaks)| render::excursions_table(peaks));
        return output::emit(common, &table.render(format));
    }
    if !matches!(format, Format::Text | Format::Markdown) {
        let top = common.top.unwrap_or(usize::MAX);
        let table = found.table(|(_, peaks)| render::peaks_table(peaks, key, heading, top, false));
        return output::emit(common, &table.render(format));
    }
    let default_top = if found.are_several() { DEFAULT_TOP_OF_EACH } else { DEFAULT_TOP };
    let top = common.top.unwrap_or(default_top);
    let mut text = String::new();
    for (id, (moment, peaks)) in &found.results {
        for peaks in peaks {
            let whose = if found.are_several() { format!("{id}, ") } else { String::new() };
            let one = render::peaks_table(std::slice::from_ref(peaks), key, heading, top, true);
            text += &format!("{whose}{}\n{}", headline(peaks, *moment), one.render(format));
            text += &render::peak_excursions_text(&peaks.excursions, format);
            text.push('\n');
        }
    }
    // One empty line between devices, none at the end.
    text.truncate(text.trim_end().len());
    if !text.is_empty() {
        text.push('\n');
    }
    output::emit(common, &text)
}

fn headline(peaks: &Peaks, moment: Moment) -> String {
    let what = match moment {
        Moment::Peak => "peak of allocated".to_owned(),
        Moment::Step(step) => format!("peak of allocated in step {step}"),
        Moment::At(_) => "allocated".to_owned(),
    };
    let mut line =
        format!("{}: {what} {}", render::device_name(peaks.device), render::bytes(peaks.allocated_bytes));
    line += &match peaks.time_nanos {
        Some(time_nanos) => format!(" at {}", render::duration(time_nanos - peaks.origin_nanos)),
        None => " at the start".to_owned(),
    };
    if let Some(step) = peaks.step {
        line += &format!(", step {step}");
    }
    if let Some(phase) = &peaks.phase {
        line += &format!(", phase {}", render::printable(phase));
    }
    line
}
