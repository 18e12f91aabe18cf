//! Where results go.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::arguments::{ColorArg, Common};
use crate::render::Style;

/// Bytes that are gathered before they are written to a file.
const BUFFER_BYTES: usize = 1 << 18;

/// Writes the result to standard output, or to the file that was named.
pub(super) fn emit(common: &Common, text: &str) -> Result<()> {
    match &common.output {
        Some(path) => write_file(path, text, common.force),
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(())
        }
    }
}

/// Has a result written to standard output, or to the file that was named, as it comes.
pub(super) fn emit_stream<T>(common: &Common, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    match &common.output {
        Some(path) => write_stream(path, common.force, |out| write(out)),
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = write(&mut out)?;
            out.flush()?;
            Ok(written)
        }
    }
}

/// Writes a file as a whole: under a temporary name first, so that nobody sees half of it.
pub(super) fn write_file(path: &Path, text: &str, force: bool) -> Result<()> {
    write_stream(path, force, |out| Ok(out.write_all(text.as_bytes())?))
}

/// Refuses a path that is taken; before a long computation.
pub(super) fn check_free(path: &Path, force: bool) -> Result<()> {
    let known = std::fs::metadata(path).ok();
    if known.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        bail!("it is a folder; expected the name of a file: {}", path.display());
    }
    if known.is_some() && !force {
        bail!("it exists already; use --force to replace it: {}", path.display());
    }
    Ok(())
}

/// Refuses a path in a folder that there is not; before a long computation.
pub(super) fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("there is no folder {} to write into: {}", folder.display(), path.display()),
        None => Ok(()),
    }
}

/// Has a file written as it comes: under a temporary name, so that nobody sees half of it.
pub(super) fn write_stream<T>(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> Result<T> {
    let failed = || format!("cannot write {}", path.display());
    check_free(path, force)?;
    let known = std::fs::metadata(path).ok();
    // A device or a pipe is written to, not replaced.
    let is_special = known.is_some_and(|known| !known.is_file());
    let name = path.file_name().with_context(|| format!("not a file name: {}", path.display()))?;
    let temporary = path.with_file_name(format!(".{}.tmp-{}", name.to_string_lossy(), std::process::id()));
    let target = if is_special { path } else { &*temporary };
    let file = if is_special { File::options().write(true).open(target) } else { File::create(target) };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file.with_context(failed)?);
    let written = write(&mut out).and_then(|written| {
        out.flush().with_context(failed)?;
        if !is_special {
            std::fs::rename(target, path).with_context(failed)?;
        }
        Ok(written)
    });
    if written.is_err() && !is_special {
        // What stays is in the way of nobody.
        let _ = std::fs::remove_file(target);
    }
    written
}

/// Colour only where a person looks at a terminal and has not refused it.
pub(super) fn style(common: &Common) -> Style {
    let is_coloured = match common.color {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            common.output.is_none() && !refused && std::io::stdout().is_terminal()
        }
    };
    Style { is_coloured }
}

/// An error and its causes in one line; a cause that is told already is not told again.
pub(super) fn describe(error: &anyhow::Error) -> String {
    crate::error::described(error.chain())
}

/// True if the reader of standard output has gone.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_it = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(is_it)
}
