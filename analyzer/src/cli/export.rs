//! `tidegauge export`.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::arguments::{Common, parse_duration};
use super::output;
use crate::analysis::Moment;
use crate::error::Error;
use crate::export::{self, FoldedStacks, Shown};
use crate::load::{Process, Rows, Source};
use crate::render::Format;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Timeline for ui.perfetto.dev: curves, phases, steps, alerts
    Perfetto,
    /// The same as JSON, for chrome://tracing
    Chrome,
    /// Scalars of each step; the output is a folder
    Tensorboard,
    /// Who holds memory at the peak, as an SVG; with an output called .folded or .txt, as text
    Flamegraph,
    /// The same as text: a line for each stack, with its bytes
    Folded,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Format to write
    #[arg(long, value_enum, value_name = "WHAT")]
    to: To,
    /// Of a flame graph: the peak within this step
    #[arg(long, conflicts_with = "at")]
    step: Option<i64>,
    /// Of a flame graph: this moment, counted from the start of the recording: 12.5s, 300ms
    #[arg(long, value_parser = parse_duration)]
    at: Option<i64>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    if common.format() != Format::Text {
        bail!("what an export looks like is said by --to alone");
    }
    if !matches!(args.to, To::Flamegraph | To::Folded) && (args.step.is_some() || args.at.is_some()) {
        bail!(
            "--step and --at choose the moment of a flame graph; use --start and --end for a part of the run"
        );
    }
    let source = common.open()?;
    match args.to {
        To::Perfetto => perfetto(common, &source),
        To::Chrome => chrome(common, &source),
        To::Tensorboard => tensorboard(common, &source),
        To::Flamegraph if is_called_text(common) => folded(args, &source),
        To::Flamegraph => flamegraph(args, &source),
        To::Folded => folded(args, &source),
    }
}

fn perfetto(common: &Common, source: &Source) -> Result<()> {
    if common.output.is_none() && std::io::stdout().is_terminal() {
        bail!("this format is binary: name a file with --output");
    }
    write(common, source, |shown, out| packed(common, out, |out| Ok(export::perfetto(source, shown, out)?)))
}

fn chrome(common: &Common, source: &Source) -> Result<()> {
    write(common, source, |shown, out| packed(common, out, |out| Ok(export::chrome(source, shown, out)?)))
}

/// Has it written through gzip where the output is called `.gz`: viewers of timelines read that as it is.
fn packed<T>(
    common: &Common,
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    if common.output.as_deref().and_then(Path::extension).is_none_or(|extension| extension != "gz") {
        return write(out);
    }
    let mut packed = GzEncoder::new(out, Compression::default());
    let written = write(&mut packed)?;
    packed.finish()?;
    Ok(written)
}

fn tensorboard(common: &Common, source: &Source) -> Result<()> {
    let Some(folder) = &common.output else {
        bail!("TensorBoard reads a folder: name one with --output");
    };
    let name = export::event_file_name(source);
    if !common.force
        && let Some(other) = event_file_in(folder)
    {
        bail!("it has event files already ({other}); use --force to write beside them: {}", folder.display());
    }
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write =
        |out: &mut dyn Write| with_shown(common, |shown| Ok(export::tensorboard(source, shown, out)?));
    let written = output::write_stream(&folder.join(name), common.force, write).map_err(unwrapped);
    if written.is_err() && is_new {
        // If it cannot be removed it is in the way of nobody.
        let _ = std::fs::remove_dir(folder);
    }
    let warnings = written?;
    warn(common, source, &warnings);
    Ok(())
}

/// The name of an event file in a folder, if it has one.
fn event_file_in(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).find(|name| name.contains("tfevents"))
}

fn flamegraph(args: &Args, source: &Source) -> Result<()> {
    let stacks = stacks(args, source)?;
    write(&args.common, source, |_, out| {
        let name = source.path.file_name().unwrap_or(source.path.as_os_str());
        export::flamegraph(&stacks, &name.to_string_lossy(), out)?;
        Ok(unbalanced(&stacks))
    })
}

fn folded(args: &Args, source: &Source) -> Result<()> {
    let stacks = stacks(args, source)?;
    write(&args.common, source, |_, out| {
        export::folded(&stacks, out)?;
        Ok(unbalanced(&stacks))
    })
}

/// Whether the output is called as folded stacks are.
fn is_called_text(common: &Common) -> bool {
    let extension = common.output.as_deref().and_then(Path::extension);
    extension.is_some_and(|extension| extension == "folded" || extension == "txt")
}

fn stacks(args: &Args, source: &Source) -> Result<FoldedStacks> {
    let common = &args.common;
    let process = common.only_process(source)?;
    let moment = match (args.step, args.at) {
        (Some(step), _) => Moment::Step(step),
        (None, Some(at)) => Moment::At(Rows::new(process).first_nanos()?.saturating_add(at)),
        (None, None) => Moment::Peak,
    };
    let selection = common.selection();
    let shows = |device| selection.shows_device(device);
    let stacks = export::folded_stacks(process, moment, common.window(process)?, shows)?;
    match stacks.filter(|stacks| !stacks.stacks.is_empty()) {
        Some(stacks) => Ok(stacks),
        None => match args.step {
            Some(step) => {
                bail!("the trace has no step {step}, or nothing alive in it: {}", source.path.display())
            }
            None => bail!("nothing that was allocated is alive then: {}", source.path.display()),
        },
    }
}

/// Says it if the stacks are not all that was allocated.
fn unbalanced(stacks: &FoldedStacks) -> Vec<String> {
    let rest_bytes = stacks.allocated_bytes - stacks.sum_bytes();
    let line =
        format!("{rest_bytes} bytes of allocated are in no stack: the recording's books do not balance");
    (rest_bytes != 0).then_some(line).into_iter().collect()
}

/// Opens the output, has it written, and says what is to be known of it.
fn write(
    common: &Common,
    source: &Source,
    write: impl FnOnce(Shown<'_>, &mut dyn Write) -> Result<Vec<String>>,
) -> Result<()> {
    let write = |out: &mut dyn Write| with_shown(common, |shown| write(shown, out));
    let warnings = output::emit_stream(common, write).map_err(unwrapped)?;
    warn(common, source, &warnings);
    Ok(())
}

fn with_shown<T>(common: &Common, with: impl FnOnce(Shown<'_>) -> T) -> T {
    let selection = common.selection();
    let window_of = |process: &Process| common.window(process);
    let shows = |device: i16| selection.shows_device(device);
    with(Shown { window_of: &window_of, device: &shows })
}

fn warn(common: &Common, source: &Source, warnings: &[String]) {
    common.warn(&source.warnings());
    common.warn(warnings);
}

/// The operating system's own error of one that says no more: whether it is a closed pipe is seen by that.
fn unwrapped(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Error>() {
        Ok(Error::Write { source }) => source.into(),
        Ok(error) => error.into(),
        Err(error) => error,
    }
}
