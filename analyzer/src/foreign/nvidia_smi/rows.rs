//! The rows of a log, made into samples.

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use tidegauge_schemas::metrics;

use super::cell::{self, Unit, is_absent};
use super::columns::{Column, Columns, READINGS, TOTAL};
use super::devices::{Devices, Identity};
use super::lines::Line;
use crate::foreign::ForeignProcess;
use crate::load::SampleRow;

/// Rounds of readings without times are shown so far apart.
const ROUND_NANOS: i64 = 1000;
/// A clock that steps back by more than this was set, or the log is of several programs.
const STEP_BACK_NANOS: i64 = 1_000_000_000;
/// Names and lines in messages are cut at so many characters.
const MAX_SHOWN: usize = 60;

/// Takes rows in and pushes samples.
pub(super) struct Rows<'a> {
    process: &'a mut ForeignProcess,
    columns: Columns,
    devices: Devices,
    /// Whether any section has times.
    has_times: bool,
    time_nanos: i64,
    /// Number of the round of readings, where rows bear no time, and devices and their processes in it so far.
    round: i64,
    in_round: FxHashSet<(i16, Option<u32>)>,
    rows: u64,
    /// By place in the row: whether cells had a unit.
    has_unit: Vec<bool>,
    unread: Vec<String>,
    left_out: u64,
    first_left_out: Option<String>,
    steps_back: u64,
    last_line_is_cut_off: bool,
}

/// A row of as many fields as there are columns.
struct Row<'a> {
    line: u64,
    columns: &'a Columns,
    fields: &'a [Cow<'a, str>],
    /// More fields than columns: commas in the name of a process.
    extra: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(process: &'a mut ForeignProcess, columns: Columns) -> Self {
        let mut rows = Self {
            process,
            columns: columns.clone(),
            devices: Devices::default(),
            has_times: false,
            time_nanos: 0,
            round: 0,
            in_round: FxHashSet::default(),
            rows: 0,
            has_unit: Vec::new(),
            unread: Vec::new(),
            left_out: 0,
            first_left_out: None,
            steps_back: 0,
            last_line_is_cut_off: false,
        };
        rows.begin_section(columns);
        rows
    }

    /// A header: of the file, of a log that was started again, or of another query.
    pub(super) fn begin_section(&mut self, columns: Columns) {
        for name in &columns.unread {
            if !self.unread.contains(name) && self.unread.len() < MAX_SHOWN {
                self.unread.push(name.clone());
            }
        }
        if columns != self.columns || self.has_unit.is_empty() {
            self.has_unit = vec![false; columns.count];
        }
        self.has_times |= columns.at(Column::Timestamp).is_some();
        self.columns = columns;
    }

    /// Counts a line that is no row.
    pub(super) fn leave_out(&mut self, number: u64, text: &str) {
        self.left_out += 1;
        self.first_left_out.get_or_insert_with(|| format!("line {number}: `{}`", cut(text)));
    }

    /// Takes a row in.
    ///
    /// # Errors
    /// If a cell is not what its column says, and not because the line was cut off: the reason.
    pub(super) fn add(&mut self, line: &Line<'_>, fields: &[Cow<'_, str>]) -> Result<(), String> {
        // Names of processes have commas in them, and nvidia-smi does not quote.
        let extra = fields.len().saturating_sub(self.columns.count);
        let has_names = self.columns.at(Column::ProcessName).is_some();
        if fields.len() < self.columns.count || (extra > 0 && !has_names) {
            if line.is_ended {
                self.leave_out(line.number, &line.text);
            } else {
                self.last_line_is_cut_off = true;
            }
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let row = Row { line: line.number, columns: &columns, fields, extra };
        let taken = if !line.is_ended && self.is_cut_off(&row) {
            self.last_line_is_cut_off = true;
            Ok(())
        } else {
            self.take(&row)
        };
        self.columns = columns;
        taken
    }

    /// Says what is known of the devices, and warnings.
    ///
    /// # Errors
    /// If there is no row: the reason.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.rows == 0 {
            let first = self.first_left_out.map(|first| format!(", but {first}")).unwrap_or_default();
            return Err(format!("it has a header and no rows{first}"));
        }
        let process = self.process;
        let mut notes = Vec::new();
        if self.has_times {
            notes.push("its times are local and name no zone: they are read as UTC".to_owned());
        } else {
            process.set_timeless();
            notes.push(
                "it has no column `timestamp`: rows are shown in their order, a microsecond apart".to_owned(),
            );
        }
        if self.devices.has_unnamed {
            notes.push(
                "no column says which GPU a row is of (index, uuid, pci.bus_id): all are taken to be of device 0"
                    .to_owned(),
            );
        }
        if self.devices.changed_identities > 0 {
            notes.push(format!(
                "in {} rows an index is another GPU's than before: is it the log of several nodes?",
                self.devices.changed_identities
            ));
        }
        if !self.unread.is_empty() {
            let names: Vec<String> =
                self.unread.iter().take(8).map(|name| format!("`{}`", cut(name))).collect();
            let more = self.unread.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!("columns that are not read: {}{more}", names.join(", ")));
        }
        if let Some(first) = self.first_left_out {
            notes.push(format!("{} lines are no rows and are left out, the first is {first}", self.left_out));
        }
        if self.last_line_is_cut_off {
            notes.push("the last line is cut off and left out".to_owned());
        }
        if self.steps_back > 0 {
            notes.push(format!(
                "times step back {} times: the clock was set, or logs were put together",
                self.steps_back
            ));
        }
        if process.node_samples().is_empty() && !process.samples().is_empty() {
            notes.push(
                "it tells memory of processes (table samples, gpu_process_used_bytes) and none of whole devices".to_owned(),
            );
        }
        process.info.devices = self.devices.finish();
        notes.into_iter().for_each(|note| process.note(note));
        process.coverage.push("what nvidia-smi read now and then, of all programs together".to_owned());
        Ok(())
    }

    /// Whether the last line of a file, which has no end, stops within its last cell.
    fn is_cut_off(&self, row: &Row<'_>) -> bool {
        let lacks_unit = READINGS.iter().enumerate().any(|(number, reading)| {
            let Some(at) = row.columns.at(Column::Reading(number)) else { return false };
            match row.number(at, reading.unit) {
                Ok(Some(number)) => !number.has_unit && self.has_unit.get(at) == Some(&true),
                Ok(None) => false,
                Err(_) => true,
            }
        });
        let is_broken = |column, unit: Unit| {
            row.columns.at(column).is_some_and(|at| match row.number(at, unit) {
                Ok(Some(number)) => !number.has_unit && self.has_unit.get(at) == Some(&true),
                Ok(None) => row.cell(at).starts_with('[') && !row.cell(at).ends_with(']'),
                Err(_) => true,
            })
        };
        let lacks_time =
            row.columns.at(Column::Timestamp).is_some_and(|at| cell::time_nanos(row.cell(at)).is_none());
        let is_empty = row.fields.last().is_some_and(|cell| cell.is_empty());
        is_empty
            || lacks_unit
            || lacks_time
            || is_broken(Column::ProcessUsed, Unit::Bytes)
            || row.identity().is_ok_and(|identity| self.devices.is_cut_off(identity))
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), String> {
        let identity = row.identity()?;
        let pid = row.pid()?;
        let time_nanos = row.time_nanos()?;
        let device = self.devices.of(identity).map_err(|reason| format!("line {}: {reason}", row.line))?;
        match time_nanos {
            Some(time_nanos) => {
                self.steps_back += u64::from(time_nanos.saturating_add(STEP_BACK_NANOS) < self.time_nanos);
                self.time_nanos = time_nanos;
            }
            // Of two queries in one file, one may have no times.
            None if self.has_times => {}
            None => {
                // Each device, and each of its processes, is read once in a round: what is there again begins the next.
                if !self.in_round.insert((device.info.index, pid)) {
                    self.round += 1;
                    self.in_round.clear();
                    self.in_round.insert((device.info.index, pid));
                }
                self.time_nanos = self.round * ROUND_NANOS;
            }
        }
        let index = device.info.index;
        let time_nanos = self.time_nanos;
        let sample = |metric: &str, pid, value| SampleRow {
            seq: 0,
            time_nanos,
            metric: metric.to_owned(),
            device: index,
            pid,
            value,
        };
        if let (Some(at), Some(pid)) = (row.columns.at(Column::ProcessUsed), pid)
            && let Some(used) = row.checked(at, Unit::Bytes, &mut self.has_unit)?
        {
            self.process.push_sample(sample(metrics::GPU_PROCESS_USED.name, Some(pid), used));
        }
        for (number, reading) in READINGS.iter().enumerate() {
            let Some(at) = row.columns.at(Column::Reading(number)) else { continue };
            let Some(value) = row.checked(at, reading.unit, &mut self.has_unit)? else { continue };
            if number == TOTAL {
                device.info.total_bytes = Some(value as u64);
            }
            if device.last[number].replace(value) != Some(value) || !reading.is_constant {
                self.process.push_node_sample(sample(reading.metric.name, None, value));
            }
        }
        if let Some(version) = row.columns.at(Column::DriverVersion).map(|at| row.cell(at))
            && !is_absent(version)
            && !self.process.info.versions.contains_key("nvidia_driver")
        {
            self.process.info.versions.insert("nvidia_driver".to_owned(), version.to_owned());
        }
        self.rows += 1;
        Ok(())
    }
}

impl Row<'_> {
    /// The cell of a column; what comes after the name of a process is counted from the end.
    fn cell(&self, at: usize) -> &str {
        let is_after = self.columns.at(Column::ProcessName).is_some_and(|name| at > name);
        self.fields.get(if is_after { at + self.extra } else { at }).map_or("", |field| field)
    }

    fn present(&self, column: Column) -> Option<(usize, &str)> {
        let at = self.columns.at(column)?;
        Some((at, self.cell(at))).filter(|(_, cell)| !is_absent(cell))
    }

    fn number(&self, at: usize, unit: Unit) -> Result<Option<cell::Number>, &'static str> {
        unit.read(self.cell(at), self.columns.name(at).1)
    }

    fn checked(&self, at: usize, unit: Unit, has_unit: &mut [bool]) -> Result<Option<f64>, String> {
        let number = self.number(at, unit).map_err(|expected| self.failed(at, expected))?;
        if let (Some(number), Some(seen)) = (number, has_unit.get_mut(at)) {
            *seen |= number.has_unit;
        }
        Ok(number.map(|number| number.value))
    }

    fn time_nanos(&self) -> Result<Option<i64>, String> {
        let Some(at) = self.columns.at(Column::Timestamp) else { return Ok(None) };
        let time = cell::time_nanos(self.cell(at));
        time.map(Some).ok_or_else(|| self.failed(at, "a time as 2023/08/01 10:11:12.345"))
    }

    fn identity(&self) -> Result<Identity<'_>, String> {
        let index = self.present(Column::Index).map(|(at, cell)| {
            let index = cell.parse::<i16>().ok().filter(|index| *index >= 0);
            index.ok_or_else(|| self.failed(at, "the number of a device"))
        });
        Ok(Identity {
            index: index.transpose()?,
            uuid: self.present(Column::Uuid).map(|(_, cell)| cell),
            pci_bus_id: self.present(Column::PciBusId).map(|(_, cell)| cell),
            name: self.present(Column::Name).map(|(_, cell)| cell),
        })
    }

    fn pid(&self) -> Result<Option<u32>, String> {
        let pid = self.present(Column::Pid);
        pid.map(|(at, cell)| cell.parse().map_err(|_| self.failed(at, "the number of a process"))).transpose()
    }

    fn failed(&self, at: usize, expected: &str) -> String {
        let (name, _) = self.columns.name(at);
        format!(
            "line {}, column `{}`: expected {expected}, found `{}`",
            self.line,
            cut(name),
            cut(self.cell(at))
        )
    }
}

/// Text of bounded length for a message.
fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
