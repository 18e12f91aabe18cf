//! What devices held at most, by the driver's own count: sampled once per node by `tidegauge-record`, or by nvidia-smi.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;
use tidegauge_schemas::process::DeviceInfo;

use super::PeakSummary;
use crate::replay::{Observed, Observer, Window};

/// The use of one device, by whomever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUse {
    /// Index in the driver's order.
    pub device: i16,
    /// Product name.
    pub name: Option<String>,
    /// Identity.
    pub uuid: Option<String>,
    /// Memory of the device.
    pub total_bytes: Option<u64>,
    /// Most that was used, by all processes; the step and phase are not known. A lower bound, since it is sampled.
    pub used: PeakSummary,
    /// Mean time between two samples; `None` of a single one.
    pub interval_nanos: Option<i64>,
}

/// Samples of one device.
#[derive(Debug)]
struct Sampled {
    used: PeakSummary,
    count: i64,
    first_nanos: i64,
    last_nanos: i64,
}

/// Observes what devices hold.
#[derive(Debug)]
pub(super) struct DeviceUses {
    window: Window,
    devices: BTreeMap<i16, Sampled>,
}

impl DeviceUses {
    /// Inside of `window`.
    pub(super) fn new(window: Window) -> Self {
        Self { window, devices: BTreeMap::new() }
    }

    /// By index; `infos` say what the devices are.
    pub(super) fn finish(self, infos: &[DeviceInfo]) -> Vec<DeviceUse> {
        let described = |(device, sampled): (i16, Sampled)| {
            let info = infos.iter().find(|info| info.index == device);
            let intervals = sampled.count - 1;
            DeviceUse {
                device,
                name: info.and_then(|info| info.name.clone()),
                uuid: info.and_then(|info| info.uuid.clone()),
                total_bytes: info.and_then(|info| info.total_bytes),
                used: sampled.used,
                interval_nanos: (intervals > 0)
                    .then(|| (sampled.last_nanos - sampled.first_nanos).max(0) / intervals),
            }
        };
        self.devices.into_iter().map(described).collect()
    }
}

impl Observer for DeviceUses {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::NodeSample(row) = observed else { return };
        if row.metric != metrics::GPU_USED.name || !self.window.contains(row.time_nanos) {
            return;
        }
        let bytes = row.value as i64;
        let sampled = self.devices.entry(row.device).or_insert_with(|| Sampled {
            used: PeakSummary::sampled(bytes, row.time_nanos),
            count: 0,
            first_nanos: row.time_nanos,
            last_nanos: row.time_nanos,
        });
        sampled.count += 1;
        sampled.last_nanos = row.time_nanos;
        if sampled.used.bytes < bytes {
            sampled.used = PeakSummary::sampled(bytes, row.time_nanos);
        }
    }
}
