//! Who holds memory at the peak, by site, in a single pass.
//!
//! Totals per site are kept up to date; when a new peak is reached nothing is copied. Instead each site's total is
//! saved the first time that it changes after the peak, so a peak costs nothing and an event a comparison, however many
//! sites there are.

use rustc_hash::FxHashMap;

use crate::replay::{Observed, Observer, Window};

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    bytes: i64,
    blocks: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Site {
    now: Total,
    /// As of peak number `saved_peak`.
    saved: Total,
    saved_peak: u64,
}

/// Sites below this are found by index: ids are given out from 1 on, so nearly all are.
const INDEXED_SITES: u32 = 1 << 14;

#[derive(Debug, Default)]
struct DeviceHolders {
    indexed: Vec<Site>,
    others: FxHashMap<u32, Site>,
    peak_bytes: i64,
    /// Number of the current peak.
    peak: u64,
}

/// What one site holds at the peak of allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Site; 0 for blocks without one.
    pub site: u32,
    /// Bytes alive.
    pub bytes: i64,
    /// Blocks alive.
    pub blocks: i64,
}

/// Observes and answers who holds memory at the peak of each device.
#[derive(Debug)]
pub struct HoldersAtPeak {
    devices: Vec<DeviceHolders>,
    window: Window,
}

impl HoldersAtPeak {
    /// At the peak inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { devices: Vec::new(), window }
    }

    /// The sites that hold something at the peak of a device, the largest first.
    #[must_use]
    pub fn finish(&self, device_index: usize) -> Vec<Holder> {
        let Some(device) = self.devices.get(device_index) else { return Vec::new() };
        let at_peak = |site: &Site| if site.saved_peak == device.peak { site.saved } else { site.now };
        let mut holders: Vec<Holder> = device
            .indexed
            .iter()
            .enumerate()
            .map(|(number, site)| (number as u32, site))
            .chain(device.others.iter().map(|(number, site)| (*number, site)))
            .map(|(number, site)| (number, at_peak(site)))
            .filter(|(_, total)| total.blocks != 0)
            .map(|(site, total)| Holder { site, bytes: total.bytes, blocks: total.blocks })
            .collect();
        holders.sort_by_key(|holder| (std::cmp::Reverse(holder.bytes), holder.site));
        holders
    }
}

impl DeviceHolders {
    #[cold]
    fn first_of(&mut self, site: u32) -> &mut Site {
        if site >= INDEXED_SITES {
            return self.others.entry(site).or_default();
        }
        self.indexed.resize((site as usize + 1).next_power_of_two(), Site::default());
        &mut self.indexed[site as usize]
    }

    #[inline]
    fn add(&mut self, site: u32, bytes: i64, blocks: i64) {
        let peak = self.peak;
        let site = match self.indexed.get_mut(site as usize) {
            Some(site) => site,
            None => self.first_of(site),
        };
        if site.saved_peak != peak {
            site.saved = site.now;
            site.saved_peak = peak;
        }
        site.now.bytes += bytes;
        site.now.blocks += blocks;
    }
}

impl Observer for HoldersAtPeak {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event {
            event,
            device_index,
            device,
            block,
            allocated_delta_bytes,
            allocated_delta_blocks,
            replaced,
            annotated,
            ..
        } = observed
        else {
            return;
        };
        if *device_index >= self.devices.len() {
            // Peak 1 is the state at the start: everything empty, and saved as such when it first changes.
            self.devices
                .resize_with(device_index + 1, || DeviceHolders { peak: 1, ..DeviceHolders::default() });
        }
        let holders = &mut self.devices[*device_index];
        if let Some(old) = replaced {
            holders.add(old.site, -old.size_bytes, -1);
        }
        let own_bytes = allocated_delta_bytes + replaced.map_or(0, |old| old.size_bytes);
        if let Some(block) = block.filter(|_| *allocated_delta_blocks != 0) {
            holders.add(block.site, own_bytes, *allocated_delta_blocks);
        }
        // From here on the block is another site's; what was at a peak before stays as it was seen then.
        if let Some((before, now)) = annotated.filter(|(before, _)| !before.is_pending) {
            holders.add(before.site, -before.size_bytes, -1);
            holders.add(now.site, now.size_bytes, 1);
        }
        let is_before = event.time_nanos < self.window.start_nanos;
        let is_shown = self.window.contains(event.time_nanos);
        if is_before || (is_shown && device.allocated_bytes > holders.peak_bytes) {
            holders.peak_bytes = device.allocated_bytes;
            holders.peak += 1;
        }
    }
}
