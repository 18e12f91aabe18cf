//! What is reserved and not used when most is reserved: figures of one moment, which maxima of two would not be.
//!
//! Reserved stays at its highest for long. What was not used of it even when most was is what could have been spared.

use rustc_hash::FxHashMap;

use crate::replay::{DeviceState, Observed, Observer, Window};

/// Observes the curves of all devices.
#[derive(Debug)]
pub(super) struct UnusedAtPeak {
    window: Window,
    /// Highest reserved, and the least unused of it.
    devices: FxHashMap<i16, (i64, i64)>,
}

impl UnusedAtPeak {
    /// At the peak inside of `window`.
    pub(super) fn new(window: Window) -> Self {
        Self { window, devices: FxHashMap::default() }
    }

    /// Bytes by device, of those with segments.
    pub(super) fn finish(self) -> FxHashMap<i16, i64> {
        self.devices.into_iter().map(|(device, (_, unused_bytes))| (device, unused_bytes)).collect()
    }

    #[inline]
    fn take(&mut self, device: &DeviceState) {
        let Some(reserved_bytes) = device.reserved_bytes else { return };
        let unused_bytes = (reserved_bytes - device.active_bytes.max(device.allocated_bytes)).max(0);
        let now = (reserved_bytes, unused_bytes);
        let known = self.devices.entry(device.device).or_insert(now);
        if reserved_bytes > known.0 {
            *known = now;
        } else if reserved_bytes == known.0 {
            known.1 = known.1.min(unused_bytes);
        }
    }
}

impl Observer for UnusedAtPeak {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Event { event, device, .. } = observed
            && self.window.contains(event.time_nanos)
        {
            self.take(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_one_moment() {
        let mut unused = UnusedAtPeak::new(Window::ALL);
        // 100 reserved of which 30 are in use at most; 90 were in use when less was reserved.
        for (reserved, active) in [(90, 90), (90, 10), (100, 10), (100, 30), (100, 20), (95, 95)] {
            let mut device = DeviceState::default();
            (device.reserved_bytes, device.active_bytes) = (Some(reserved), active);
            unused.take(&device);
        }
        assert_eq!(unused.finish().get(&0), Some(&70));
    }
}
