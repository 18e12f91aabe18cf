//! `tidegauge activations`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::run::Config;

use super::arguments::Common;
use super::output;
use super::ranks::each_process;
use crate::analysis::activations::{Activations, StepActivations, activation_points, activations, scalings};
use crate::load::Source;
use crate::render::{self, Format, Table};

/// Rows for people unless asked otherwise.
const DEFAULT_TOP: usize = 30;

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each step
    Step,
    /// The module that allocated them
    Module,
    /// What is alive when a phase ends
    Phase,
    /// What steps, or runs, differ in: batch size, numbers of the configuration
    Scaling,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What rows are of
    #[arg(long, value_enum, default_value = "step")]
    by: By,
    /// A further run, to see how activations scale with what it differs in; may be given several times
    #[arg(long = "with", value_name = "RUN")]
    others: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let mut warnings = source.warnings();
    let (mut found, devices) = read(common, &source, &mut warnings)?;
    common.expect_device(devices.into_iter())?;
    common.warn(&warnings);
    if found.iter().all(|(_, of)| of.steps.iter().all(|row| row.bytes().is_none())) {
        common.warn(&[
            "no activations are known: that takes phases (`forward`, `backward`), and allocations or counters"
                .to_owned(),
        ]);
    }
    let mut others = Vec::new();
    for path in &args.others {
        let other = common.open_at(&[path]).with_context(|| format!("--with {}", path.display()))?;
        let (of_other, _) = read(common, &other, &mut Vec::new())?;
        others.push((of_other, other.info.config));
    }
    let own = found.iter().map(|(_, of)| (of, &source.info.config));
    let of_others = others.iter().flat_map(|(found, config)| found.iter().map(move |(_, of)| (of, config)));
    let runs: Vec<(&Activations, &Config)> = own.chain(of_others).collect();
    let scalings = scalings(&activation_points(&runs));
    let format = common.format();
    let is_for_people = matches!(format, Format::Text | Format::Markdown);
    let top = common.top.unwrap_or(if is_for_people { DEFAULT_TOP } else { usize::MAX });
    let mut text = String::new();
    if is_for_people {
        found.iter_mut().for_each(|(_, of)| leave_out_idle_devices(of));
        for line in found.iter().flat_map(headlines) {
            text += &format!("{line}\n");
        }
        text.push('\n');
    }
    let mut table = match args.by {
        By::Scaling => render::activation_scaling_table(&scalings),
        by => table(&found, by),
    };
    let left_out = table.rows.len().saturating_sub(top);
    table.rows.truncate(top);
    text += &table.render(format);
    if is_for_people && left_out > 0 {
        text += &format!("\n{left_out} more rows: -n shows them\n");
    }
    if is_for_people && !scalings.is_empty() {
        text += &format!("\n{}", render::activation_scaling_text(&scalings, format));
    }
    output::emit(common, &text)
}

type Found = Vec<(ProcessId, Activations)>;

/// The activations of each process, and the devices of which there are any.
fn read(common: &Common, source: &Source, warnings: &mut Vec<String>) -> Result<(Found, Vec<i16>)> {
    let selection = common.selection();
    let mut devices = Vec::new();
    let found = each_process(common, source, |process| {
        let (mut of_process, outcome) = activations(process, common.window(process)?)?;
        devices.extend(outcome.devices.iter().map(|device| device.device));
        devices.extend(of_process.steps.iter().map(|row| row.device));
        warnings.extend(outcome.anomalies.warnings());
        of_process.steps.retain(|row| selection.shows_device(row.device));
        of_process.modules.retain(|row| selection.shows_device(row.device));
        of_process.phases.retain(|row| selection.shows_device(row.device));
        Ok(of_process)
    })?;
    Ok((found.results, devices))
}

/// People need no rows of a host that holds no activations beside a device that does.
fn leave_out_idle_devices(of: &mut Activations) {
    let is_busy = |row: &&StepActivations| row.bytes().is_some_and(|bytes| bytes != 0);
    let mut busy: Vec<i16> = of.steps.iter().filter(is_busy).map(|row| row.device).collect();
    busy.dedup();
    if !busy.is_empty() {
        of.steps.retain(|row| busy.contains(&row.device));
        of.phases.retain(|row| busy.contains(&row.device));
    }
}

fn table(found: &[(ProcessId, Activations)], by: By) -> Table {
    match by {
        By::Step => {
            let rows: Vec<_> = found.iter().map(|(id, of)| (*id, of.steps.as_slice())).collect();
            render::step_activations_table(&rows)
        }
        By::Module => {
            let rows: Vec<_> = found.iter().map(|(id, of)| (*id, of.modules.as_slice())).collect();
            render::module_activations_table(&rows)
        }
        By::Phase => {
            let rows: Vec<_> = found.iter().map(|(id, of)| (*id, of.phases.as_slice())).collect();
            render::phase_activations_table(&rows)
        }
        By::Scaling => Table::new(&[]),
    }
}

/// A sentence for each device that has any.
fn headlines((process, of): &(ProcessId, Activations)) -> Vec<String> {
    let mut devices: Vec<i16> = of.steps.iter().map(|row| row.device).collect();
    devices.dedup();
    devices.into_iter().filter_map(|device| headline(*process, device, &of.steps)).collect()
}

fn headline(process: ProcessId, device: i16, steps: &[StepActivations]) -> Option<String> {
    let of_device = || steps.iter().filter(|row| row.device == device);
    let highest = of_device().rev().max_by_key(|row| row.bytes())?;
    let bytes = highest.bytes().filter(|bytes| *bytes > 0)?;
    let how = match highest.at_forward_end_bytes {
        Some(_) => "",
        None => "about ",
    };
    let mut line = format!(
        "{process}, {}: {how}{} of activations after forward at most",
        render::device_name(device),
        render::bytes(bytes)
    );
    if let Some(step) = highest.step {
        line += &format!(", in step {step}");
    }
    if let Some(per_sample) = highest.per_sample_bytes {
        line += &format!(", {} per sample", render::bytes(per_sample.round() as i64));
    }
    if let Some(estimate) = highest.estimate {
        line += &match highest.difference_bytes() {
            Some(difference) => format!(
                "; allocated rose by {}, {} ({:+.1} %)",
                render::bytes(estimate.bytes),
                render::signed_bytes(difference),
                difference as f64 / bytes as f64 * 100.0
            ),
            None => format!("; estimated as the rise of {} over forward", estimate.counter),
        };
    }
    let recomputed = of_device().filter_map(|row| row.recomputed_bytes).max().filter(|bytes| *bytes > 0);
    if let Some(recomputed) = recomputed {
        line += &format!("; {} a step are made once more within backward", render::bytes(recomputed));
    }
    Some(line)
}
