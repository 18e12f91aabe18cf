//! Which device a row is of, and what is known of the devices.

use rustc_hash::FxHashMap;
use tidegauge_schemas::process::DeviceInfo;

use super::columns::READINGS;

/// More devices than a node has, MIG instances included.
const MAX_DEVICES: usize = 1024;

/// A device of the log.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) info: DeviceInfo,
    /// What was pushed last of what hardly ever changes.
    pub(super) last: [Option<f64>; READINGS.len()],
}

/// How a row names its device; what it does not tell is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identity<'a> {
    pub(super) index: Option<i16>,
    pub(super) uuid: Option<&'a str>,
    pub(super) pci_bus_id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

/// Devices in the order in which they appear.
#[derive(Debug, Default)]
pub(super) struct Devices {
    devices: Vec<Device>,
    by_index: FxHashMap<i16, usize>,
    by_text: FxHashMap<String, usize>,
    /// Rows of an index that was another device's.
    pub(super) changed_identities: u64,
    /// Whether a row did not tell which device it is of.
    pub(super) has_unnamed: bool,
}

impl Devices {
    /// The device of a row: that of its index, else of its identity, numbered as they appear; a row that has neither is of
    /// device 0.
    ///
    /// # Errors
    /// If there are more than any node has: the reason.
    pub(super) fn of(&mut self, identity: Identity<'_>) -> Result<&mut Device, &'static str> {
        let at = match identity.index {
            Some(index) => match self.by_index.get(&index) {
                Some(at) => *at,
                None => self.add(index)?,
            },
            None => match identity.text() {
                Some(text) => match self.by_text.get(text) {
                    Some(at) => *at,
                    None => {
                        let index = self.free_index();
                        self.add(index)?
                    }
                },
                None => {
                    self.has_unnamed = true;
                    match self.by_index.get(&0) {
                        Some(at) => *at,
                        None => self.add(0)?,
                    }
                }
            },
        };
        if let Some(text) = identity.text()
            && !self.by_text.contains_key(text)
        {
            self.by_text.insert(text.to_owned(), at);
        }
        let device = &mut self.devices[at];
        let is_other = |known: &Option<String>, told: Option<&str>| {
            known.as_deref().zip(told).is_some_and(|(known, told)| known != told)
        };
        if is_other(&device.info.uuid, identity.uuid)
            || is_other(&device.info.pci_bus_id, identity.pci_bus_id)
        {
            self.changed_identities += 1;
        }
        fill(&mut device.info.uuid, identity.uuid);
        fill(&mut device.info.pci_bus_id, identity.pci_bus_id);
        fill(&mut device.info.name, identity.name);
        Ok(device)
    }

    /// Whether a row's device is new and could be one that is known, cut off.
    pub(super) fn is_cut_off(&self, identity: Identity<'_>) -> bool {
        identity.text().is_some_and(|text| {
            !self.by_text.contains_key(text) && self.by_text.keys().any(|known| known.starts_with(text))
        })
    }

    /// What is known of them, by number.
    pub(super) fn finish(self) -> Vec<DeviceInfo> {
        let mut infos: Vec<DeviceInfo> = self.devices.into_iter().map(|device| device.info).collect();
        infos.sort_by_key(|info| info.index);
        infos
    }

    fn add(&mut self, index: i16) -> Result<usize, &'static str> {
        if self.devices.len() >= MAX_DEVICES {
            return Err("there are more devices than a node can have");
        }
        let at = self.devices.len();
        let info = DeviceInfo {
            index,
            uuid: None,
            name: None,
            total_bytes: None,
            pci_bus_id: None,
            parent_index: None,
        };
        self.devices.push(Device { info, last: [None; READINGS.len()] });
        self.by_index.insert(index, at);
        Ok(at)
    }

    fn free_index(&self) -> i16 {
        (0..i16::MAX).find(|index| !self.by_index.contains_key(index)).unwrap_or(i16::MAX)
    }
}

impl<'a> Identity<'a> {
    fn text(self) -> Option<&'a str> {
        self.uuid.or(self.pci_bus_id)
    }
}

fn fill(known: &mut Option<String>, told: Option<&str>) {
    if let (None, Some(told)) = (&known, told) {
        *known = Some(told.to_owned());
    }
}
