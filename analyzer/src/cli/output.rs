//! Where results go.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::arguments::{ColorArg, Common};
use crate::load::Source;
use crate::render::Style;
use crate::replay::Outcome;

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

/// Writes the result of a replay, after what to know before believing it.
pub(super) fn emit_replayed(common: &Common, source: &Source, outcome: &Outcome, text: &str) -> Result<()> {
    common.warn(&source.warnings());
    common.warn(&outcome.anomalies.warnings());
    emit(common, text)
}

/// Writes a file as a whole: under a temporary name first, so that nobody sees half of it.
pub(super) fn write_file(path: &Path, text: &str, force: bool) -> Result<()> {
    write_stream(path, force, |out| {
        out.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    })
}

/// Refuses a path that is taken; before a long computation.
pub(super) fn check_free(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !force {
        bail!("it exists already; use --force to replace it: {}", path.display());
    }
    Ok(())
}

/// As [`write_file`], for what is not in memory as a whole.
pub(super) fn write_stream<T>(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> Result<T> {
    check_free(path, force)?;
    let name = path.file_name().with_context(|| format!("not a file name: {}", path.display()))?;
    let temporary = path.with_file_name(format!(".{}.tmp-{}", name.to_string_lossy(), std::process::id()));
    let cannot = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(&temporary).with_context(cannot)?);
    let written = write(&mut out).and_then(|result| {
        out.flush().and_then(|()| std::fs::rename(&temporary, path)).with_context(cannot)?;
        Ok(result)
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
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
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

/// True if the reader of standard output has gone.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
