//! Devices, by NVML.

use tidegauge_schemas::process::DeviceInfo;

use super::Sink;

/// Why there is no NVML here, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{finding}; {advice}")]
pub(crate) struct NvmlAbsent {
    pub(crate) finding: String,
    pub(crate) advice: String,
}

/// A device that was asked for and is not there.
#[derive(Debug, thiserror::Error)]
#[error("no device {index}: NVML knows {known}")]
pub(crate) struct UnknownDevice {
    index: u32,
    known: String,
}

/// The devices that NVML knows.
#[derive(Debug)]
pub(crate) struct NvmlProbe;

impl NvmlProbe {
    pub(crate) fn open() -> Result<Self, NvmlAbsent> {
        Err(NvmlAbsent { finding: String::new(), advice: String::new() })
    }

    pub(crate) fn devices(&self) -> Vec<DeviceInfo> {
        Vec::new()
    }

    pub(crate) fn select(&mut self, _wanted: &[u32]) -> Result<(), UnknownDevice> {
        Ok(())
    }

    pub(crate) fn sample_devices(&mut self, _sink: &mut dyn Sink) {}

    pub(crate) fn sample_processes(&mut self, _is_ours: &dyn Fn(u32) -> bool, _sink: &mut dyn Sink) {}
}
