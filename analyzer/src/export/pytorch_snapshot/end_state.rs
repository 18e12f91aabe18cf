//! The first pass: what is alive, and held from the device, at the end.

use std::collections::BTreeMap;

use super::changes::{Change, Changes};
use crate::error::Result;
use crate::export::stream_column::StreamColumn;
use crate::load::Process;
use crate::replay::{Observed, Observer, Window};

/// A block that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) size_bytes: i64,
    pub(super) site: u32,
    pub(super) stream: u64,
    pub(super) is_pending: bool,
}

/// How a range came to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) stream: u64,
    pub(super) is_mapped: bool,
}

/// One device.
#[derive(Debug, Default)]
pub(super) struct DeviceEnd {
    /// By address.
    pub(super) live: BTreeMap<u64, Live>,
    pub(super) changes: Changes,
    /// By the address that memory was taken at.
    pub(super) origins: BTreeMap<u64, Origin>,
    /// What was there at the start and is not known block by block; below zero where the books do not balance.
    pub(super) rest_bytes: i64,
    /// Events without an address, after the start.
    pub(super) anonymous_events: u64,
    /// No block or segment begins, or is known to end, past it.
    pub(super) highest_address: u64,
    found_bytes: i64,
    has_rest: bool,
}

/// The devices at the end.
#[derive(Debug)]
pub(super) struct Ended {
    devices: BTreeMap<i16, DeviceEnd>,
}

impl Ended {
    pub(super) fn devices(&self) -> impl Iterator<Item = i16> {
        self.devices.keys().copied()
    }

    pub(super) fn device(&self, device: i16) -> Option<&DeviceEnd> {
        self.devices.get(&device)
    }
}

/// Observes up to the end of the window.
pub(super) struct EndState<'a> {
    window: Window,
    devices: BTreeMap<i16, DeviceEnd>,
    streams: StreamColumn<'a>,
}

impl<'a> EndState<'a> {
    pub(super) fn new(process: &'a Process, window: Window) -> Self {
        Self { window, devices: BTreeMap::new(), streams: StreamColumn::new(process) }
    }

    pub(super) fn finish(self) -> Result<Ended> {
        self.streams.finish()?;
        Ok(Ended { devices: self.devices })
    }
}

impl Observer for EndState<'_> {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        if event.time_nanos > self.window.end_nanos {
            return;
        }
        let stream = self.streams.of(event.seq);
        let end = self.devices.entry(device.device).or_default();
        let DeviceEnd { live, changes, origins, .. } = end;
        let (mut found_bytes, mut completed_bytes, mut is_anonymous) = (0, 0, false);
        changes.of(observed, |change| match change {
            Change::Found { address, size_bytes, site, is_pending } => {
                found_bytes += size_bytes;
                live.insert(address, Live { size_bytes, site, stream, is_pending });
            }
            Change::Alloc { address, size_bytes, site } => {
                live.insert(address, Live { size_bytes, site, stream, is_pending: false });
            }
            Change::Requested { address, .. } => {
                if let Some(live) = live.get_mut(&address) {
                    live.is_pending = true;
                }
            }
            Change::Completed { address, size_bytes } => {
                live.remove(&address);
                completed_bytes += size_bytes;
            }
            Change::Annotated { address, site } => {
                if let Some(live) = live.get_mut(&address) {
                    live.site = site;
                }
            }
            Change::SegmentFound { address } => {
                origins.insert(address, Origin { stream, is_mapped: false });
            }
            Change::SegmentTaken { address, is_mapped, .. } => {
                origins.insert(address, Origin { stream, is_mapped });
            }
            Change::Anonymous => is_anonymous = true,
            Change::SegmentReturned { .. } | Change::Oom { .. } | Change::Snapshot => {}
        });
        if !changes.has_begun() {
            // What is gone already was found twice.
            end.found_bytes += found_bytes - completed_bytes;
            end.has_rest |= is_anonymous;
        } else if is_anonymous {
            end.anonymous_events += 1;
        }
        if let Some(address) = event.address {
            let size_bytes = event.size_bytes.unwrap_or(0).max(0).cast_unsigned();
            end.highest_address = end.highest_address.max(address.saturating_add(size_bytes));
        }
        if end.has_rest {
            end.rest_bytes = device.initial_active_bytes - end.found_bytes;
        }
    }
}
