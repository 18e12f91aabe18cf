//! Metrics that the recorder itself samples. A program's own counters bear whatever names it gives them.

/// A metric of table `samples`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, which ends in its unit.
    pub name: &'static str,
    /// What it is and where it is read.
    pub doc: &'static str,
}

/// Resident size.
pub const RSS: Metric = Metric {
    name: "rss_bytes",
    doc: "resident memory of the process, shared pages included (/proc/self/statm)",
};
/// Highest resident size.
pub const PEAK_RSS: Metric = Metric {
    name: "peak_rss_bytes",
    doc: "highest resident memory so far, as the kernel kept it: not a sampled figure (VmHWM in /proc/self/status)",
};
/// Virtual size.
pub const VIRTUAL: Metric =
    Metric { name: "virtual_bytes", doc: "address space of the process (/proc/self/statm)" };
/// Shared part of the resident size.
pub const SHARED: Metric = Metric {
    name: "shared_bytes",
    doc: "resident pages that belong to files or shared memory (/proc/self/statm)",
};

/// Allocated.
pub const ALLOCATED: Metric = Metric {
    name: "allocated_bytes",
    doc: "allocated on the device at the end of a step, from all allocation events, kept or not",
};
/// Highest allocated.
pub const PEAK_ALLOCATED: Metric = Metric {
    name: "peak_allocated_bytes",
    doc: "highest allocated on the device since the step began, from all allocation events, kept or not",
};

/// All of them.
pub const ALL: [Metric; 6] = [RSS, PEAK_RSS, VIRTUAL, SHARED, ALLOCATED, PEAK_ALLOCATED];
