//! What devices held at most, by the driver's own count: samples of `tidegauge-record`, once per node.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use super::PeakSummary;
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::Window;

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
    /// Most that was used, by all processes; the step and phase are not known.
    pub used: PeakSummary,
}

/// The devices that this process's recorder sampled, by index; a sampled peak is a lower bound.
///
/// # Errors
/// If the samples cannot be read.
pub(super) fn device_use(process: &Process, window: Window) -> Result<Vec<DeviceUse>> {
    let mut peaks: BTreeMap<i16, PeakSummary> = BTreeMap::new();
    for row in Rows::new(process).node_samples() {
        let row = row?;
        if row.metric != metrics::GPU_USED.name || !window.contains(row.time_nanos) {
            continue;
        }
        let bytes = row.value as i64;
        let peak = peaks.entry(row.device).or_insert_with(|| PeakSummary::sampled(bytes, row.time_nanos));
        if peak.bytes < bytes {
            *peak = PeakSummary::sampled(bytes, row.time_nanos);
        }
    }
    let infos = process.info.as_ref().map_or(&[][..], |info| &info.devices);
    let described = |(device, used): (i16, PeakSummary)| {
        let info = infos.iter().find(|info| info.index == device);
        DeviceUse {
            device,
            name: info.and_then(|info| info.name.clone()),
            uuid: info.and_then(|info| info.uuid.clone()),
            total_bytes: info.and_then(|info| info.total_bytes),
            used,
        }
    };
    Ok(peaks.into_iter().map(described).collect())
}
