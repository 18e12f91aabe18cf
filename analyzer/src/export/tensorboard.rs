//! TensorBoard: an event file with scalars for each step.
//!
//! A tag is a figure and, where there are several, whose it is: `peak_allocated_bytes/device0`,
//! `peak_allocated_bytes/rank1_device0`, `loss`, `loss/rank1`; TensorBoard shows what has the first part in common side by
//! side. Its scalars are 32-bit floats: a figure of bytes has 24 exact bits.

use std::io::Write;

use prost::Message as _;
use rustc_hash::{FxHashMap, FxHashSet};

use super::event_file::write_record;
use super::tensorboard_proto::{Event, Summary, SummaryValue};
use super::{Shown, write_error};
use crate::analysis::{StepHigh, StepHighs, StepRow, StepTable};
use crate::error::{Error, Result};
use crate::load::{Process, Source};
use crate::replay::replay;

/// What the first record of an event file says.
const FILE_VERSION: &str = "brain.Event:2";

/// The name that an event file of this run bears; TensorBoard finds files by `tfevents` in it.
#[must_use]
pub fn event_file_name(source: &Source) -> String {
    let host = source.processes.iter().find_map(|process| Some(process.info.as_ref()?.host.as_str()));
    let host = host.filter(|host| !host.is_empty()).unwrap_or("tidegauge");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host: String = host.chars().take(64).map(|c| if is_plain(c) { c } else { '_' }).collect();
    let seconds = source.info.started_unix_nanos.div_euclid(1_000_000_000).max(0);
    format!("events.out.tfevents.{seconds:010}.{host}.tidegauge")
}

/// Writes the figures of the steps of all processes of `source`, and returns what to know before believing them.
///
/// # Errors
/// If the recording cannot be read or has no steps, or `out` takes no more.
pub fn tensorboard(source: &Source, shown: Shown<'_>, out: &mut dyn Write) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    for process in &source.processes {
        let window = (shown.window_of)(process)?;
        let mut observer = (StepTable::new(window), StepHighs::default());
        let outcome = replay(process, window, &mut observer)?;
        let anomalies = outcome.anomalies.warnings();
        warnings.extend(anomalies.iter().map(|warning| format!("{}: {warning}", process.id)));
        let (table, highs) = observer;
        let highs: FxHashMap<(i64, i64), StepHigh> =
            highs.finish().into_iter().map(|high| ((high.step, high.begin_nanos), high)).collect();
        let whose = whose(source, process);
        let rows = table.finish(&outcome);
        let mut told = FxHashSet::default();
        for row in &rows {
            let high = highs.get(&(row.step, row.begin_nanos));
            let mut values = Vec::new();
            // A step has a row for each device that there was: what is of the step itself is told with the first.
            if told.insert((row.step, row.begin_nanos)) {
                of_process(row, high, &whose, shown, &mut values);
            }
            if row.device.is_some_and(shown.device) {
                of_device(row, high, &whose, &mut values);
            }
            events.extend(event(row, values));
        }
    }
    if events.is_empty() {
        return Err(Error::Nothing {
            what: "steps, which scalars are drawn over; `--to perfetto` shows it over time".to_owned(),
            path: source.path.clone(),
        });
    }
    events.sort_by(|one, two| one.wall_time.total_cmp(&two.wall_time));
    let began = events.first().map_or(0.0, |event| event.wall_time);
    let first =
        Event { wall_time: began, step: 0, file_version: Some(FILE_VERSION.to_owned()), summary: None };
    for event in std::iter::once(&first).chain(&events) {
        write_record(out, &event.encode_to_vec()).map_err(write_error)?;
    }
    out.flush().map_err(write_error)?;
    Ok(warnings)
}

/// `rank1_`, `rank1_process2_`; nothing where there is only one.
fn whose(source: &Source, process: &Process) -> String {
    if source.processes.len() == 1 {
        return String::new();
    }
    let of_rank = source.processes.iter().filter(|other| other.id.rank == process.id.rank).count();
    let rank = format!("rank{}_", process.id.rank);
    if of_rank == 1 { rank } else { format!("{rank}process{}_", process.id.process) }
}

/// What a step is, whatever devices there are.
fn of_process(
    row: &StepRow,
    high: Option<&StepHigh>,
    whose: &str,
    shown: Shown<'_>,
    values: &mut Vec<SummaryValue>,
) {
    let tag = |figure: &str| match whose.trim_end_matches('_') {
        "" => figure.to_owned(),
        whose => format!("{figure}/{whose}"),
    };
    let rss_bytes = high.and_then(|high| high.rss_bytes).filter(|_| (shown.device)(-1));
    push(values, tag("rss_bytes"), rss_bytes.map(|bytes| bytes as f32));
    push(values, tag("loss"), row.loss.map(|loss| loss as f32));
    push(values, tag("batch_size"), row.batch_size.map(|samples| samples as f32));
    // What the trace's end cut off took longer than is known.
    let seconds = (row.duration_nanos as f64 / 1e9) as f32;
    push(values, tag("step_seconds"), row.is_complete.then_some(seconds));
}

/// What it did to the memory of the row's device.
fn of_device(row: &StepRow, high: Option<&StepHigh>, whose: &str, values: &mut Vec<SummaryValue>) {
    let Some(device) = row.device else { return };
    let name = if device < 0 { "host".to_owned() } else { format!("device{device}") };
    let tag = |figure: &str| format!("{figure}/{whose}{name}");
    let reserved = high.and_then(|high| high.reserved_bytes.iter().find(|(of, _)| *of == device));
    push(values, tag("peak_allocated_bytes"), row.peak_bytes.map(|bytes| bytes as f32));
    push(values, tag("peak_reserved_bytes"), reserved.map(|(_, bytes)| *bytes as f32));
    push(values, tag("end_allocated_bytes"), row.end_bytes.map(|bytes| bytes as f32));
}

fn push(values: &mut Vec<SummaryValue>, tag: String, value: Option<f32>) {
    values.extend(value.map(|value| SummaryValue { tag: Some(tag), simple_value: Some(value) }));
}

/// Of the moment at which the step ended; `None` where there is nothing to say.
fn event(row: &StepRow, values: Vec<SummaryValue>) -> Option<Event> {
    (!values.is_empty()).then(|| Event {
        wall_time: (row.begin_nanos + row.duration_nanos) as f64 / 1e9,
        step: row.step,
        file_version: None,
        summary: Some(Summary { value: values }),
    })
}
