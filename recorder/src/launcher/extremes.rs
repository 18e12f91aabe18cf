//! The largest readings so far, for the closing block.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use crate::probes::Reading;

/// Largest readings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extremes {
    /// Resident memory of the whole tree at one moment.
    pub(crate) tree_rss_bytes: Option<f64>,
    /// By device.
    pub(crate) devices: BTreeMap<i16, DeviceExtremes>,
}

/// Of one device.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeviceExtremes {
    pub(crate) used_bytes: Option<f64>,
    pub(crate) total_bytes: Option<f64>,
    /// Of the tree alone.
    pub(crate) tree_used_bytes: Option<f64>,
}

impl Extremes {
    pub(crate) fn observe(&mut self, reading: &Reading) {
        if reading.pid.is_some() {
            return;
        }
        let place = match reading.metric {
            metrics::TREE_RSS => &mut self.tree_rss_bytes,
            metrics::GPU_USED => &mut self.devices.entry(reading.device).or_default().used_bytes,
            metrics::GPU_TOTAL => &mut self.devices.entry(reading.device).or_default().total_bytes,
            metrics::GPU_TREE_USED => &mut self.devices.entry(reading.device).or_default().tree_used_bytes,
            _ => return,
        };
        *place = Some(place.map_or(reading.value, |before| before.max(reading.value)));
    }
}
