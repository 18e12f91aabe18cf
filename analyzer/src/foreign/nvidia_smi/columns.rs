//! The columns that are read, by the names that nvidia-smi gives them in its header.

use std::borrow::Cow;

use tidegauge_schemas::metrics::{self, Metric};

use super::cell::Unit;

/// What a column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// When the row was read.
    Timestamp,
    /// Number of the device in the driver's order.
    Index,
    /// Identity of the device.
    Uuid,
    /// Its place on the PCI bus.
    PciBusId,
    /// Product name.
    Name,
    /// Version of the driver.
    DriverVersion,
    /// A process that uses the device.
    Pid,
    /// Its name, in which there may be commas.
    ProcessName,
    /// A reading of the device.
    Reading(usize),
    /// Device memory of the process.
    ProcessUsed,
}

/// A metric of a device, the unit of its column, and whether it is pushed only when it changes.
pub(super) struct Reading {
    pub(super) metric: Metric,
    pub(super) unit: Unit,
    pub(super) is_constant: bool,
}

const fn reading(metric: Metric, unit: Unit) -> Reading {
    Reading { metric, unit, is_constant: false }
}

const fn constant(metric: Metric, unit: Unit) -> Reading {
    Reading { metric, unit, is_constant: true }
}

/// What is read of a device, in the order in which it is pushed.
pub(super) const READINGS: [Reading; 11] = [
    constant(metrics::GPU_TOTAL, Unit::Bytes),
    reading(metrics::GPU_USED, Unit::Bytes),
    reading(metrics::GPU_FREE, Unit::Bytes),
    constant(metrics::GPU_RESERVED, Unit::Bytes),
    reading(metrics::GPU_UTILIZATION, Unit::Percent),
    reading(metrics::GPU_MEMORY_UTILIZATION, Unit::Percent),
    reading(metrics::GPU_POWER, Unit::Watts),
    constant(metrics::GPU_POWER_LIMIT, Unit::Watts),
    reading(metrics::GPU_TEMPERATURE, Unit::Celsius),
    reading(metrics::GPU_SM_CLOCK, Unit::Megahertz),
    reading(metrics::GPU_THROTTLE_REASONS, Unit::Mask),
];
/// Where the memory of the device stands in it.
pub(super) const TOTAL: usize = 0;

/// Names in headers. Some are what is asked for and others what is printed, some are of older drivers. Where several
/// columns of a file tell the same, the first in this list is read.
const NAMES: [(&str, Column); 32] = [
    ("timestamp", Column::Timestamp),
    ("index", Column::Index),
    ("uuid", Column::Uuid),
    ("gpu_uuid", Column::Uuid),
    ("pci.bus_id", Column::PciBusId),
    ("gpu_bus_id", Column::PciBusId),
    ("name", Column::Name),
    ("gpu_name", Column::Name),
    ("driver_version", Column::DriverVersion),
    ("pid", Column::Pid),
    ("process_name", Column::ProcessName),
    ("used_gpu_memory", Column::ProcessUsed),
    ("used_memory", Column::ProcessUsed),
    ("memory.total", Column::Reading(TOTAL)),
    ("memory.used", Column::Reading(1)),
    ("memory.free", Column::Reading(2)),
    ("memory.reserved", Column::Reading(3)),
    ("utilization.gpu", Column::Reading(4)),
    ("utilization.memory", Column::Reading(5)),
    ("power.draw", Column::Reading(6)),
    ("power.draw.average", Column::Reading(6)),
    ("power.draw.instant", Column::Reading(6)),
    ("enforced.power.limit", Column::Reading(7)),
    ("power.limit", Column::Reading(7)),
    ("temperature.gpu", Column::Reading(8)),
    ("clocks.current.sm", Column::Reading(9)),
    ("clocks.sm", Column::Reading(9)),
    ("clocks_event_reasons.active", Column::Reading(10)),
    ("clocks_throttle_reasons.active", Column::Reading(10)),
    ("fb_memory_usage.total", Column::Reading(TOTAL)),
    ("fb_memory_usage.used", Column::Reading(1)),
    ("fb_memory_usage.free", Column::Reading(2)),
];

/// Where the columns of a header stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Columns {
    /// How many there are.
    pub(super) count: usize,
    /// Those that are read.
    found: Vec<(Column, usize)>,
    /// Names as they stand, and the unit in brackets.
    names: Vec<(String, Option<String>)>,
    /// Names of those that are not read.
    pub(super) unread: Vec<String>,
}

impl Columns {
    /// Of a header; `None` if the line is none.
    pub(super) fn of_header(fields: &[Cow<'_, str>]) -> Option<Self> {
        if !is_header(fields) {
            return None;
        }
        let names: Vec<(String, Option<String>)> = fields.iter().map(|field| name_and_unit(field)).collect();
        let mut found: Vec<(Column, usize)> = Vec::new();
        for (name, column) in NAMES {
            let is_read = found.iter().any(|(other, _)| *other == column);
            let at = names.iter().position(|(known, _)| known == name);
            found.extend(at.filter(|_| !is_read).map(|at| (column, at)));
        }
        let unread = (0..names.len()).filter(|at| !found.iter().any(|(_, other)| other == at));
        let unread = unread.map(|at| names[at].0.clone()).collect();
        Some(Self { count: fields.len(), found, names, unread })
    }

    /// Where a column stands.
    pub(super) fn at(&self, column: Column) -> Option<usize> {
        self.found.iter().find(|(known, _)| *known == column).map(|(_, at)| *at)
    }

    /// Its name and the unit that the header tells.
    pub(super) fn name(&self, at: usize) -> (&str, Option<&str>) {
        self.names.get(at).map_or(("", None), |(name, unit)| (name, unit.as_deref()))
    }
}

/// Whether a line is a header: names throughout, one of which is known.
fn is_header(fields: &[Cow<'_, str>]) -> bool {
    let is_name = |field: &Cow<'_, str>| field.starts_with(|first: char| first.is_ascii_alphabetic());
    fields.iter().all(|field| field.is_empty() || is_name(field))
        && fields.iter().any(|field| is_known(field))
}

fn is_known(field: &str) -> bool {
    let (name, _) = name_and_unit(field);
    NAMES.iter().any(|(known, _)| *known == name)
}

/// Whether a line is a header that nothing but nvidia-smi writes.
pub(super) fn is_distinctive_header(fields: &[Cow<'_, str>]) -> bool {
    let is_own = |field: &Cow<'_, str>| is_known(field) && field.contains(['.', '_']);
    is_header(fields) && fields.iter().any(is_own)
}

/// `memory.used [MiB]`: the name, in lower case, and the unit.
fn name_and_unit(field: &str) -> (String, Option<String>) {
    let (name, unit) = match field.split_once('[') {
        Some((name, unit)) => (name, unit.strip_suffix(']').map(|unit| unit.trim().to_owned())),
        None => (field, None),
    };
    (name.trim().to_ascii_lowercase(), unit)
}
