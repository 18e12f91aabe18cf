//! The whole node: memory, swap and processors, by sysinfo; pressure and load.
//!
//! To be asked about once a second. In a container it is still the node that is measured, not the container.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use sysinfo::System;
use tidegauge_schemas::metrics::{self, Metric};

use super::pressure::Pressure;
use super::{Reading, Sink};

/// Shorter spans of processor use are mostly noise; sysinfo refuses those below 200 ms.
const MIN_CPU_SPAN: Duration = Duration::from_millis(500);

/// The node.
#[derive(Debug)]
pub(crate) struct NodeProbe {
    system: Option<System>,
    cpu_read_at: Option<Instant>,
    pressure: Option<File>,
    is_said: bool,
}

impl NodeProbe {
    pub(crate) fn new() -> Self {
        Self {
            system: System::new().ok(),
            cpu_read_at: None,
            pressure: File::open("/proc/pressure/memory").ok(),
            is_said: false,
        }
    }

    /// Hands on the node's figures. Processor use is that since the call before, if that was half a second ago or more.
    pub(crate) fn sample(&mut self, sink: &mut dyn Sink) {
        let is_memory_known = self.system.as_mut().is_some_and(|system| {
            system.refresh_memory();
            hand_on_memory(system, sink)
        });
        if let Some(percent) = self.cpu_percent() {
            hand_on(metrics::CPU_PERCENT, percent, sink);
        }
        if let Ok(load) = System::load_average() {
            hand_on(metrics::LOAD_1MIN, load.one, sink);
            hand_on(metrics::LOAD_5MIN, load.five, sink);
            hand_on(metrics::LOAD_15MIN, load.fifteen, sink);
        }
        if let Some(pressure) = self.pressure() {
            hand_on(metrics::PSI_MEMORY_SOME, pressure.some_percent, sink);
            if let Some(percent) = pressure.full_percent {
                hand_on(metrics::PSI_MEMORY_FULL, percent, sink);
            }
        }
        if !is_memory_known && !std::mem::replace(&mut self.is_said, true) {
            sink.note("/proc/meminfo cannot be read: the node's memory is not sampled".to_owned());
        }
    }

    /// Whether the kernel says how long tasks wait for memory.
    pub(crate) fn has_pressure(&self) -> bool {
        self.pressure().is_some()
    }

    fn pressure(&self) -> Option<Pressure> {
        let mut text = [0; 256];
        let length = self.pressure.as_ref()?.read_at(&mut text, 0).ok()?;
        Pressure::parse(std::str::from_utf8(text.get(..length)?).ok()?)
    }

    fn cpu_percent(&mut self) -> Option<f64> {
        let system = self.system.as_mut()?;
        let before = self.cpu_read_at;
        if before.is_some_and(|at| at.elapsed() < MIN_CPU_SPAN) {
            return None;
        }
        self.cpu_read_at = Some(Instant::now());
        system.refresh_cpu_usage();
        // The first reading is that since boot.
        before.map(|_| f64::from(system.global_cpu_usage())).filter(|percent| percent.is_finite())
    }
}

/// Whether there was something to hand on: sysinfo gives zeros for what it cannot read.
fn hand_on_memory(system: &System, sink: &mut dyn Sink) -> bool {
    if system.total_memory() == 0 {
        return false;
    }
    hand_on(metrics::MEMORY_TOTAL, system.total_memory() as f64, sink);
    hand_on(metrics::MEMORY_AVAILABLE, system.available_memory() as f64, sink);
    hand_on(metrics::MEMORY_USED, system.used_memory() as f64, sink);
    hand_on(metrics::SWAP_TOTAL, system.total_swap() as f64, sink);
    hand_on(metrics::SWAP_USED, system.used_swap() as f64, sink);
    true
}

fn hand_on(metric: Metric, value: f64, sink: &mut dyn Sink) {
    sink.reading(Reading { metric, device: -1, pid: None, value });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::collected::Collected;

    fn sampled(node: &mut NodeProbe) -> Collected {
        let mut sink = Collected::default();
        node.sample(&mut sink);
        assert_eq!(sink.notes, Vec::<String>::new());
        sink
    }

    #[test]
    fn the_node_has_the_memory_that_the_kernel_says() {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib = total.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap();
        let sample = sampled(&mut NodeProbe::new());
        assert_eq!(sample.of(metrics::MEMORY_TOTAL), [kib as f64 * 1024.0]);
        let (available, used) = (sample.of(metrics::MEMORY_AVAILABLE)[0], sample.of(metrics::MEMORY_USED)[0]);
        assert_eq!(available + used, kib as f64 * 1024.0);
        assert_eq!(sample.of(metrics::LOAD_1MIN).len(), 1);
    }

    #[test]
    fn processor_use_is_of_a_span() {
        let mut node = NodeProbe::new();
        assert!(sampled(&mut node).of(metrics::CPU_PERCENT).is_empty(), "since when?");
        assert!(sampled(&mut node).of(metrics::CPU_PERCENT).is_empty(), "too soon");
        let until = Instant::now() + MIN_CPU_SPAN + Duration::from_millis(50);
        while Instant::now() < until {}
        let percent = sampled(&mut node).of(metrics::CPU_PERCENT);
        // This thread alone has kept a processor busy, but for what others took of it.
        assert!(percent.len() == 1 && percent[0] > 0.0 && percent[0] <= 100.0, "{percent:?}");
    }
}
