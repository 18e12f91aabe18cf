//! Exports of timelines, scalars and flame graphs.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Args;
use crate::cli::arguments::{Common, moment};
use crate::cli::output;
use crate::error::Error;
use crate::export::{self, FoldedStacks, Shown};
use crate::load::{Process, Source};

pub(super) fn perfetto(common: &Common, source: &Source) -> Result<()> {
    if common.output.is_none() && std::io::stdout().is_terminal() {
        bail!("this format is binary: name a file with --output");
    }
    write(common, source, |shown, out| packed(common, out, |out| Ok(export::perfetto(source, shown, out)?)))
}

pub(super) fn chrome(common: &Common, source: &Source) -> Result<()> {
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

pub(super) fn tensorboard(common: &Common, source: &Source) -> Result<()> {
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
        |out: &mut BufWriter<File>| with_shown(common, |shown| Ok(export::tensorboard(source, shown, out)?));
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

pub(super) fn flamegraph(args: &Args, source: &Source) -> Result<()> {
    let stacks = stacks(args, source)?;
    write(&args.common, source, |_, out| {
        let name = source.path.file_name().unwrap_or(source.path.as_os_str());
        export::flamegraph(&stacks, &name.to_string_lossy(), out)?;
        Ok(unbalanced(&stacks))
    })
}

pub(super) fn folded(args: &Args, source: &Source) -> Result<()> {
    let stacks = stacks(args, source)?;
    write(&args.common, source, |_, out| {
        export::folded(&stacks, out)?;
        Ok(unbalanced(&stacks))
    })
}

/// Whether the output is called as folded stacks are.
pub(super) fn is_called_text(common: &Common) -> bool {
    let extension = common.output.as_deref().and_then(Path::extension);
    extension.is_some_and(|extension| extension == "folded" || extension == "txt")
}

fn stacks(args: &Args, source: &Source) -> Result<FoldedStacks> {
    let common = &args.common;
    let process = common.only_process(source)?;
    let moment = moment(process, args.step, args.at)?;
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
