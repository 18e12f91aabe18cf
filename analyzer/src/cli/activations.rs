//! `tidegauge activations`.

use anyhow::Result;
use clap::ValueEnum;
use tidegauge_schemas::layout::ProcessId;

use super::arguments::Common;
use super::output;
use crate::analysis::activations::{Activations, StepActivations, activations};
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
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// What rows are of
    #[arg(long, value_enum, default_value = "step")]
    by: By,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let mut found: Vec<(ProcessId, Activations)> = Vec::new();
    let (mut devices, mut warnings) = (Vec::new(), source.warnings());
    for process in &source.processes {
        let (mut of_process, outcome) = activations(process, common.window(process)?)?;
        devices.extend(outcome.devices.iter().map(|device| device.device));
        devices.extend(of_process.steps.iter().map(|row| row.device));
        warnings.extend(outcome.anomalies.warnings());
        of_process.steps.retain(|row| selection.shows_device(row.device));
        of_process.modules.retain(|row| selection.shows_device(row.device));
        of_process.phases.retain(|row| selection.shows_device(row.device));
        found.push((process.id, of_process));
    }
    common.expect_device(devices.into_iter())?;
    common.warn(&warnings);
    if found.iter().all(|(_, of)| of.steps.iter().all(|row| row.bytes().is_none())) {
        common.warn(&[
            "no activations are known: that takes phases (`forward`, `backward`), and allocations or counters"
                .to_owned(),
        ]);
    }
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
    let mut table = table(&found, args.by);
    let left_out = table.rows.len().saturating_sub(top);
    table.rows.truncate(top);
    text += &table.render(format);
    if is_for_people && left_out > 0 {
        text += &format!("\n{left_out} more rows: -n shows them\n");
    }
    output::emit(common, &text)
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
