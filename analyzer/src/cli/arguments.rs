//! Arguments that every command takes, and what they mean.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use tidegauge_schemas::layout::ProcessId;

use crate::analysis::Moment;
use crate::load::{Process, Rows, Selection, Source};
use crate::render;
use crate::replay::Window;

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// For people
    Text,
    /// Data: integer bytes and nanoseconds
    Json,
    /// Data, comma-separated
    Csv,
    /// For reports
    Md,
    /// For pipelines: `check` alone has it
    #[value(skip)]
    Junit,
}

/// When to colour text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What is common to all commands.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// Trace folder, or recordings of other tools: one file for each rank, or a pattern
    #[arg(value_name = "RUN", required = true)]
    pub(super) run: Vec<PathBuf>,
    /// Only this rank
    #[arg(long)]
    pub(super) rank: Option<u32>,
    /// Only this process of the rank
    #[arg(long)]
    pub(super) process: Option<u32>,
    /// Only this device: -1 is the host
    #[arg(long, allow_negative_numbers = true)]
    pub(super) device: Option<i16>,
    /// From this time on, counted from the start of the recording: 12.5s, 300ms, 2m
    #[arg(long, value_parser = parse_duration)]
    pub(super) start: Option<i64>,
    /// Up to this time
    #[arg(long, value_parser = parse_duration)]
    pub(super) end: Option<i64>,
    /// How many rows at most, where there could be many
    #[arg(short = 'n', long)]
    pub(super) top: Option<usize>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: FormatArg,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace the file if there is one
    #[arg(short, long)]
    pub(super) force: bool,
    /// Say nothing but the result and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Say more about what is done
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// When to colour text
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) color: ColorArg,
}

impl Common {
    /// The same of one process only.
    pub(super) fn of_process(&self, id: ProcessId) -> Self {
        Self { rank: Some(id.rank), process: Some(id.process), ..self.clone() }
    }

    /// The selection.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            rank: self.rank,
            process: self.process,
            device: self.device,
            start_nanos: self.start,
            end_nanos: self.end,
        }
    }

    /// Opens what the user pointed at, and says what to know before believing the figures.
    pub(super) fn open(&self) -> Result<Source> {
        self.open_at(&self.run)
    }

    /// Opens what is at `paths` with this selection, as [`Self::open`] does.
    pub(super) fn open_at<P: AsRef<Path>>(&self, paths: &[P]) -> Result<Source> {
        if let (Some(start), Some(end)) = (self.start, self.end)
            && start > end
        {
            bail!("--start lies after --end");
        }
        let source = Source::open(paths, &self.selection())?;
        if self.verbose {
            for process in &source.processes {
                let parts: usize =
                    tidegauge_schemas::Table::ALL.iter().map(|table| process.parts(*table).len()).sum();
                let journal = process.trace().and_then(|trace| trace.journal());
                let chunks = journal.map_or(0, |journal| journal.chunks.len());
                eprintln!("{}: {parts} sealed parts, {chunks} journal chunks", process.id);
            }
        }
        Ok(source)
    }

    /// The one process that a command about one process is for: where a launcher recorded a program from outside, and one
    /// process of that recorded itself, the latter.
    pub(super) fn only_process<'a>(&self, source: &'a Source) -> Result<&'a Process> {
        let is_chosen = |process: &&Process| {
            Some(process.id.rank) == self.rank && Some(process.id.process) == self.process
        };
        if let Some(process) = source.processes.iter().find(is_chosen) {
            return Ok(process);
        }
        match source.processes.as_slice() {
            [process] => Ok(process),
            processes => {
                let records_itself =
                    |process: &&Process| process.info.as_ref().is_some_and(|info| info.watched.is_none());
                let mut own = processes.iter().filter(records_itself);
                if let (Some(process), None) = (own.next(), own.next()) {
                    return Ok(process);
                }
                let found =
                    processes.iter().map(|process| process.id.to_string()).collect::<Vec<_>>().join(", ");
                bail!("the trace has several processes ({found}); choose one with --rank and --process")
            }
        }
    }

    /// The processes that a command about memory of programs is for: those that recorded themselves; where none did, those
    /// that recorded others from outside.
    pub(super) fn processes<'a>(&self, source: &'a Source) -> Vec<&'a Process> {
        let records_itself =
            |process: &&Process| process.info.as_ref().is_none_or(|info| info.watched.is_none());
        let own: Vec<&Process> = source.processes.iter().filter(records_itself).collect();
        let is_chosen = self.rank.is_some() && self.process.is_some();
        if own.is_empty() || is_chosen { source.processes.iter().collect() } else { own }
    }

    /// Refuses a device of which nothing was found; the host need not have anything.
    pub(super) fn expect_device(&self, mut found: impl Iterator<Item = i16>) -> Result<()> {
        match self.device {
            Some(device) if device >= 0 && !found.any(|of| of == device) => {
                bail!("nothing was recorded of device {device}; `tidegauge summary` shows which there are")
            }
            _ => Ok(()),
        }
    }

    /// Prints warnings, unless they are part of the result or not wanted.
    pub(super) fn warn(&self, warnings: &[String]) {
        if !self.quiet {
            for warning in warnings {
                eprintln!("warning: {}", render::printable(warning));
            }
        }
    }

    /// Form of the output.
    pub(super) fn format(&self) -> render::Format {
        match self.format {
            _ if self.json => render::Format::Json,
            FormatArg::Text | FormatArg::Junit => render::Format::Text,
            FormatArg::Json => render::Format::Json,
            FormatArg::Csv => render::Format::Csv,
            FormatArg::Md => render::Format::Markdown,
        }
    }

    /// Whether the output is JUnit's, which is no [`render::Format`].
    pub(super) fn is_junit(&self) -> bool {
        self.format == FormatArg::Junit && !self.json
    }

    /// The part of the process's trace that `--start` and `--end` mean.
    pub(super) fn window(&self, process: &Process) -> crate::error::Result<Window> {
        if self.start.is_none() && self.end.is_none() {
            return Ok(Window::ALL);
        }
        let origin = Rows::new(process).first_nanos()?;
        Ok(Window {
            start_nanos: self.start.map_or(i64::MIN, |start| origin.saturating_add(start)),
            end_nanos: self.end.map_or(i64::MAX, |end| origin.saturating_add(end)),
        })
    }
}

/// What `--step` and `--at`, nanoseconds since the start of the recording, choose of a process; the peak without them.
pub(super) fn moment(process: &Process, step: Option<i64>, at: Option<i64>) -> crate::error::Result<Moment> {
    Ok(match (step, at) {
        (Some(step), _) => Moment::Step(step),
        (None, Some(at)) => Moment::At(Rows::new(process).first_nanos()?.saturating_add(at)),
        (None, None) => Moment::Peak,
    })
}

/// A time: a number with `ns`, `us`, `ms`, `s`, `m` or `h`; seconds without one. Nanoseconds.
pub(super) fn parse_duration(text: &str) -> Result<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 =
        number.parse().with_context(|| format!("`{text}` is no time; expected 12.5s, 300ms or 2m"))?;
    let nanos = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        other => bail!("`{other}` is no unit of time; expected ns, us, ms, s, m or h"),
    };
    Ok((number * nanos).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        let cases = [
            ("12.5s", 12_500_000_000),
            ("300ms", 300_000_000),
            ("2m", 120_000_000_000),
            ("3", 3_000_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text).unwrap(), nanos, "{text}");
        }
        for text in ["", "s", "1.2.3s", "5 parsecs", "-1s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
