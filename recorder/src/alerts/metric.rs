//! The metrics that alerts know: their names in expressions, and under which names traces have them.
//!
//! FORMAT.md lists them; a test holds the two together.

use super::alert::Place;
use super::unit::Dimension;

/// Which devices a metric has readings of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    /// It is of a process or of the node.
    None,
    /// 0, 1, … in NVML's order.
    Accelerators,
    /// Those, and the host, which is −1.
    AcceleratorsAndHost,
}

/// A metric that an expression can name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AlertMetric {
    /// Its name in expressions.
    pub(super) name: &'static str,
    /// The metric of the trace that the launcher reads for it.
    pub(super) in_launcher: Option<&'static str>,
    /// The metric of the trace that a recorder in the process reads for it.
    pub(super) in_process: Option<&'static str>,
    /// What it measures.
    pub(super) dimension: Dimension,
    /// The metric of the trace that `%` is of.
    pub(super) total: Option<&'static str>,
    /// Which devices it has readings of.
    pub(super) devices: Devices,
}

const MEMORY_TOTAL: Option<&str> = Some("memory_total_bytes");
const GPU_TOTAL: Option<&str> = Some("gpu_total_bytes");

const fn of_tree(name: &'static str, trace_name: &'static str, dimension: Dimension) -> AlertMetric {
    AlertMetric {
        name,
        in_launcher: Some(trace_name),
        in_process: None,
        dimension,
        total: None,
        devices: Devices::None,
    }
}

const fn of_node(name: &'static str, trace_name: &'static str, total: Option<&'static str>) -> AlertMetric {
    AlertMetric { total, ..of_tree(name, trace_name, Dimension::Bytes) }
}

const fn of_gpu(name: &'static str, trace_name: &'static str, dimension: Dimension) -> AlertMetric {
    let total = if matches!(dimension, Dimension::Bytes) { GPU_TOTAL } else { None };
    AlertMetric { total, devices: Devices::Accelerators, ..of_tree(name, trace_name, dimension) }
}

const fn of_allocator(name: &'static str, trace_name: &'static str) -> AlertMetric {
    AlertMetric {
        name,
        in_launcher: None,
        in_process: Some(trace_name),
        dimension: Dimension::Bytes,
        total: None,
        devices: Devices::AcceleratorsAndHost,
    }
}

/// All but `counter(NAME)`.
pub(super) static METRICS: [AlertMetric; 20] = [
    AlertMetric {
        in_process: Some("rss_bytes"),
        total: MEMORY_TOTAL,
        ..of_tree("rss", "tree_rss_bytes", Dimension::Bytes)
    },
    AlertMetric {
        in_process: Some("rss_bytes"),
        total: MEMORY_TOTAL,
        ..of_tree("rss.process", "rss_bytes", Dimension::Bytes)
    },
    AlertMetric { in_process: Some("swap_bytes"), ..of_tree("swap", "tree_swap_bytes", Dimension::Bytes) },
    of_tree("cpu", "tree_cpu_percent", Dimension::Percent),
    of_tree("processes", "tree_processes", Dimension::Count),
    of_node("node.used", "memory_used_bytes", MEMORY_TOTAL),
    of_node("node.available", "memory_available_bytes", MEMORY_TOTAL),
    of_node("node.swap", "swap_used_bytes", None),
    of_tree("node.cpu", "cpu_percent", Dimension::Percent),
    of_tree("node.pressure", "psi_memory_some_percent", Dimension::Percent),
    of_node("cgroup.used", "cgroup_current_bytes", Some("cgroup_limit_bytes")),
    of_gpu("gpu.used", "gpu_used_bytes", Dimension::Bytes),
    of_gpu("gpu.free", "gpu_free_bytes", Dimension::Bytes),
    of_gpu("gpu.tree", "gpu_tree_used_bytes", Dimension::Bytes),
    of_gpu("gpu.process", "gpu_process_used_bytes", Dimension::Bytes),
    of_gpu("gpu.utilization", "gpu_utilization_percent", Dimension::Percent),
    of_gpu("gpu.power", "gpu_power_watts", Dimension::Watts),
    of_gpu("gpu.temperature", "gpu_temperature_celsius", Dimension::Celsius),
    of_allocator("allocated", "allocated_bytes"),
    of_allocator("reserved", "reserved_bytes"),
];

/// What an alert is on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Known(&'static AlertMetric),
    /// A counter of the program's own.
    Counter(String),
}

impl Subject {
    /// As it is called in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Known(metric) => metric.name.to_owned(),
            Self::Counter(name) => format!("counter({name})"),
        }
    }

    pub(super) fn dimension(&self) -> Dimension {
        match self {
            Self::Known(metric) => metric.dimension,
            Self::Counter(_) => Dimension::Any,
        }
    }

    pub(super) fn devices(&self) -> Devices {
        match self {
            Self::Known(metric) => metric.devices,
            Self::Counter(_) => Devices::None,
        }
    }

    /// The metric of the trace that `%` is of.
    pub(super) fn total(&self) -> Option<&'static str> {
        match self {
            Self::Known(metric) => metric.total,
            Self::Counter(_) => None,
        }
    }

    /// The metric of the trace that it is in that place, if it is read there.
    pub(super) fn trace_name(&self, place: Place) -> Option<&str> {
        match (self, place) {
            (Self::Known(metric), Place::Launcher) => metric.in_launcher,
            (Self::Known(metric), Place::Process) => metric.in_process,
            (Self::Counter(_), Place::Launcher) => None,
            (Self::Counter(name), Place::Process) => Some(name),
        }
    }
}

/// The metric of that name.
pub(super) fn named(name: &str) -> Option<&'static AlertMetric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// All names, for a message.
pub(super) fn names() -> String {
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    format!("{}, counter(NAME)", names.join(", "))
}

/// What was probably meant: the name that the trace has for it was written, the first word alone, or a name of nearly
/// the same letters.
pub(super) fn nearest(found: &str) -> Option<&'static str> {
    let found = found.to_ascii_lowercase();
    let is_meant = |metric: &&AlertMetric| {
        let traced = [metric.in_launcher, metric.in_process];
        let mut words = metric.name.split('.');
        traced.contains(&Some(found.as_str())) || words.next() == Some(found.as_str())
    };
    if let Some(metric) = METRICS.iter().find(is_meant) {
        return Some(metric.name);
    }
    let (distance, name) = METRICS
        .iter()
        .map(|metric| (distance(&found, metric.name), metric.name))
        .min_by_key(|near| near.0)?;
    (distance <= (name.len() / 3).max(1)).then_some(name)
}

/// Levenshtein's: how many letters to insert, drop or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = before + usize::from(from != to);
            before = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use tidegauge_schemas::alert_grammar;

    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        for (found, meant) in [
            ("gpu.usd", Some("gpu.used")),
            ("GPU.USED", Some("gpu.used")),
            ("gpu_used_bytes", Some("gpu.used")),
            ("tree_rss_bytes", Some("rss")),
            ("rs", Some("rss")),
            ("gpu", Some("gpu.used")),
            ("alocated", Some("allocated")),
            ("gpu.temprature", Some("gpu.temperature")),
            ("loss", None),
            ("", None),
        ] {
            assert_eq!(nearest(found), meant, "{found}");
        }
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }

    /// Rows of the table in FORMAT.md: name, launcher, process, unit, total.
    fn documented() -> Vec<[String; 5]> {
        let rows = alert_grammar::METRICS.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.replace('`', "")));
        cells
            .map(|cells| {
                let cells: Vec<String> = cells.map(|cell| cell.trim().to_owned()).collect();
                let [name, launcher, process, unit, total, _] = cells.try_into().unwrap();
                [name, launcher, process, unit, total]
            })
            .collect()
    }

    #[test]
    fn format_md_lists_what_the_code_knows() {
        let unit = |metric: &AlertMetric| match metric.dimension {
            Dimension::Bytes => "bytes",
            Dimension::Percent => "percent",
            Dimension::Celsius => "celsius",
            Dimension::Watts => "watts",
            Dimension::Count => "count",
            Dimension::Any => "any",
        };
        let mut code: Vec<[String; 5]> = METRICS
            .iter()
            .map(|metric| {
                let (launcher, process) = (metric.in_launcher.unwrap_or(""), metric.in_process.unwrap_or(""));
                [metric.name, launcher, process, unit(metric), metric.total.unwrap_or("")].map(str::to_owned)
            })
            .collect();
        code.push(["counter(NAME)", "", "NAME", "any", ""].map(str::to_owned));
        assert_eq!(documented(), code);
    }

    #[test]
    fn what_is_of_a_device_is_said_in_format_md() {
        for metric in &METRICS {
            let is_of_device = metric.name.starts_with("gpu.");
            let is_of_allocator = ["allocated", "reserved"].contains(&metric.name);
            assert_eq!(metric.devices == Devices::Accelerators, is_of_device, "{}", metric.name);
            assert_eq!(metric.devices == Devices::AcceleratorsAndHost, is_of_allocator, "{}", metric.name);
        }
    }
}
