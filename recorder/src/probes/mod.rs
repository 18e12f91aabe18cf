//! What can be read of processes, of the node and of devices.
//!
//! A probe reads and hands on; it keeps nothing, decides nothing and never fails as a whole: what cannot be read is an
//! absent reading and, once, a note that says why.

mod cgroup;
pub(crate) mod cgroup_folder;
pub(crate) mod collected;
mod node;
mod nvml;
mod pressure;
mod proc_file;
pub(crate) mod process;
pub(crate) mod process_stat;
#[cfg(test)]
mod test_process;
mod tree;

use tidegauge_schemas::metrics::Metric;

pub(crate) use cgroup::CgroupProbe;
pub(crate) use node::NodeProbe;
#[cfg(test)]
pub(crate) use nvml::PidNamespace;
#[cfg(test)]
pub(crate) use nvml::tests as nvml_tests;
pub(crate) use nvml::{NvmlAbsent, NvmlProbe};
pub(crate) use tree::ProcessTree;

/// A counter's value, just read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// What was read.
    pub(crate) metric: Metric,
    /// −1 the host, 0… accelerators in NVML's order.
    pub(crate) device: i16,
    /// The process that it is of, if it is of one.
    pub(crate) pid: Option<u32>,
    /// The value, in the unit that the metric's name ends in.
    pub(crate) value: f64,
}

/// Where readings go.
pub(crate) trait Sink {
    /// Takes a reading.
    fn reading(&mut self, reading: Reading);
    /// Takes a line for `process.json`: what cannot be read here, and why. Said once for each thing.
    fn note(&mut self, note: String);
}
