//! What counters said where forwards begin and end: all there is where no allocation was recorded.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use tidegauge_schemas::metrics;

use super::rows::Estimate;
use crate::analysis::categories::Forward;
use crate::replay::{Observed, Observer};

/// Counters that tell of activations, the best one first. The second is what the monitors of the Python package read.
const METRICS: [&str; 3] = [metrics::ALLOCATED.name, "torch_allocated_bytes", metrics::RSS.name];

/// Observes the samples that were read at the ends of forwards.
#[derive(Debug)]
pub(super) struct Counters {
    bounds: FxHashSet<u64>,
    /// By `seq`, device and place in [`METRICS`].
    values: BTreeMap<(u64, i16, usize), i64>,
}

impl Counters {
    pub(super) fn new(forwards: &[Forward]) -> Self {
        let ends =
            forwards.iter().flat_map(|forward| [forward.begin_seq, forward.phase_end_seq, forward.end_seq]);
        Self { bounds: ends.collect(), values: BTreeMap::new() }
    }

    /// Devices of which anything was read.
    pub(super) fn devices(&self) -> Vec<i16> {
        let mut devices: Vec<i16> = self.values.keys().map(|(_, device, _)| *device).collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    /// After a forward − before it, by the best counter that was read at both.
    pub(super) fn estimate(&self, forward: &Forward, device: i16) -> Option<Estimate> {
        let read = |seq: u64, metric: usize| self.values.get(&(seq, device, metric)).copied();
        (0..METRICS.len()).find_map(|metric| {
            let after = read(forward.end_seq, metric).or_else(|| read(forward.phase_end_seq, metric))?;
            let bytes = after - read(forward.begin_seq, metric)?;
            Some(Estimate { bytes, counter: METRICS[metric] })
        })
    }
}

impl Observer for Counters {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Sample(row) = observed else { return };
        // Processes of the tree have rows of their own.
        if row.pid.is_some() || !self.bounds.contains(&row.seq) {
            return;
        }
        if let Some(metric) = METRICS.iter().position(|metric| row.metric == *metric) {
            self.values.insert((row.seq, row.device, metric), row.value as i64);
        }
    }
}
