//! Exports of tables and of the whole as PyTorch's memory snapshot.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tidegauge_schemas::layout::ProcessId;

use super::Args;
use crate::analysis::categories::CategoryRules;
use crate::analysis::{self, DEFAULT_BUCKETS, PhaseTable, SiteOrder, StepTable};
use crate::cli::arguments::moment;
use crate::cli::output;
use crate::export::pytorch_snapshot;
use crate::export::tables::{self, RowFormat, RowSelection};
use crate::load::{Process, Source};
use crate::render;
use crate::replay::replay;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TableArg {
    /// Result: peaks of each curve and device
    Summary,
    /// Result: the curves over time
    Timeline,
    /// Result: what is alive at the peak
    Peaks,
    /// Result: phases
    Phases,
    /// Result: steps
    Steps,
    /// Result: operators of a profile, or sites, by memory
    Operators,
    /// Allocation events
    Events,
    /// Spans, marks, steps, epochs, losses, alerts
    Checkpoints,
    /// Counters of a process
    Samples,
    /// Counters of devices and of the node
    #[value(name = "node_samples", alias = "node-samples")]
    NodeSamples,
    /// Names and stacks of sites
    Sites,
    /// Modules of the model
    Modules,
}

impl TableArg {
    /// The table of the trace; none for a result.
    const fn of_trace(self) -> Option<tidegauge_schemas::Table> {
        use tidegauge_schemas::Table;
        match self {
            Self::Events => Some(Table::Events),
            Self::Checkpoints => Some(Table::Checkpoints),
            Self::Samples => Some(Table::Samples),
            Self::NodeSamples => Some(Table::NodeSamples),
            Self::Sites => Some(Table::Sites),
            Self::Modules => Some(Table::Modules),
            Self::Summary | Self::Timeline | Self::Peaks | Self::Phases | Self::Steps | Self::Operators => {
                None
            }
        }
    }
}

pub(super) fn to_pytorch_snapshot(args: &Args) -> Result<()> {
    let common = &args.common;
    if args.table.is_some() {
        bail!("--table is for csv, json and parquet");
    }
    let path = common.output.as_deref().context("a snapshot goes to a file: -o FILE.pickle")?;
    output::check_free(path, common.force)?;
    let source = common.open()?;
    let process = common.only_process(&source)?;
    common.warn(&source.warnings());
    let selection = common.selection();
    let window = common.window(process)?;
    let written = output::write_stream(path, common.force, |out| {
        let shows = |device| selection.shows_device(device);
        Ok(pytorch_snapshot::write_snapshot(process, window, shows, out, path)?)
    })?;
    common.warn(&written.notes);
    Ok(())
}

pub(super) fn to_rows(args: &Args, format: RowFormat) -> Result<()> {
    let common = &args.common;
    let table =
        args.table.context("--table says which table, for example --table steps or --table events")?;
    if let Some(path) = &common.output {
        output::check_free(path, common.force)?;
    } else if format == RowFormat::Parquet {
        bail!("Parquet goes to a file: -o FILE.parquet");
    }
    let source = common.open()?;
    common.warn(&source.warnings());
    match &common.output {
        Some(path) => output::write_stream(path, common.force, |out| {
            write_table(args, table, &source, format, out, path)
        }),
        None => {
            let out = std::io::BufWriter::new(std::io::stdout());
            write_table(args, table, &source, format, out, Path::new("standard output"))
        }
    }
}

fn write_table(
    args: &Args,
    table: TableArg,
    source: &Source,
    format: RowFormat,
    out: impl std::io::Write + Send,
    path: &Path,
) -> Result<()> {
    let common = &args.common;
    if let Some(table) = table.of_trace() {
        let selection = RowSelection { device: common.device, top: common.top };
        tables::write_rows(source, table, |process| common.window(process), selection, format, out, path)?;
        return Ok(());
    }
    let results = results(args, table, source)?;
    tables::write_results(&results, format, out, path)?;
    Ok(())
}

/// A result for each process; the summary is one of all.
fn results(args: &Args, table: TableArg, source: &Source) -> Result<Vec<(ProcessId, render::Table)>> {
    let common = &args.common;
    let selection = common.selection();
    if table == TableArg::Summary {
        let window = |process: &Process| common.window(process);
        let summary = analysis::summary(source, window, |device| selection.shows_device(device))?;
        let first = source.processes.first().map_or(ProcessId { rank: 0, process: 0 }, |process| process.id);
        return Ok(vec![(first, render::summary_table(&summary))]);
    }
    let of_process = |process: &Process| Ok((process.id, result(args, table, process)?));
    source.processes.iter().map(of_process).collect()
}

fn result(args: &Args, table: TableArg, process: &Process) -> Result<render::Table> {
    let common = &args.common;
    let selection = common.selection();
    let window = common.window(process)?;
    let top = common.top.unwrap_or(usize::MAX);
    let mut table = match table {
        TableArg::Timeline => {
            let buckets = common.top.unwrap_or(DEFAULT_BUCKETS);
            let (mut timeline, _) = analysis::timeline(process, window, buckets)?;
            timeline.series.retain(|series| selection.shows_device(series.device));
            return Ok(render::timeline_table(&timeline));
        }
        TableArg::Peaks => {
            let (grouping, key, heading) = args.by.grouping();
            let shows = |device| selection.shows_device(device);
            let moment = moment(process, args.step, args.at)?;
            let peaks = analysis::peaks(process, moment, window, grouping, &CategoryRules::default(), shows)?;
            return Ok(render::peaks_table(&peaks, key, heading, top, false));
        }
        TableArg::Phases => {
            let mut phases = PhaseTable::new(window);
            let outcome = replay(process, window, &mut phases)?;
            let mut rows = phases.finish(&outcome);
            rows.retain(|row| row.device().is_none_or(|device| selection.shows_device(device)));
            render::phases_table(&rows)
        }
        TableArg::Operators => {
            let (mut rows, _) = analysis::sites(process, window, SiteOrder::SelfBytes)?;
            rows.retain(|row| selection.shows_row(row.device));
            render::sites_table(&rows)
        }
        _ => {
            let mut steps = StepTable::new(window);
            let outcome = replay(process, window, &mut steps)?;
            let mut rows = steps.finish(&outcome);
            rows.retain(|row| row.device.is_none_or(|device| selection.shows_device(device)));
            render::steps_table(&rows, outcome.first_nanos())
        }
    };
    table.rows.truncate(top);
    Ok(table)
}
