//! Devices, by NVML, the library of the NVIDIA driver, which is loaded at run time.
//!
//! A call takes 10–100 µs on a healthy device and can take seconds on a sick one: devices are sampled on a thread that
//! may wait. What a device does not offer is said once and not asked for again; a device that is lost is looked for
//! every ten seconds.

mod absent;
mod device;
mod fields;
mod pid_namespace;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsStr;
use std::time::Instant;

use nvml_wrapper::Nvml;
use tidegauge_schemas::process::DeviceInfo;

use self::device::NvmlDevice;
use super::Sink;

pub(crate) use absent::NvmlAbsent;
pub(crate) use pid_namespace::PidNamespace;

/// Environment variable: another library than the driver's.
pub(crate) const LIBRARY_VARIABLE: &str = "TIDEGAUGE_NVML_LIBRARY";

/// A device that was asked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no device {index} here; there are {known}")]
pub(crate) struct UnknownDevice {
    /// What was asked for.
    pub(crate) index: u32,
    /// What there is: indices, separated by commas.
    pub(crate) known: String,
}

/// The devices that NVML knows: GPUs in its own order, which is not always that of CUDA, then the MIG instances of all.
#[derive(Debug)]
pub(crate) struct NvmlProbe {
    nvml: &'static Nvml,
    devices: Vec<NvmlDevice>,
    namespace: PidNamespace,
    is_namespace_said: bool,
}

impl NvmlProbe {
    /// Loads the driver's library, or the one that `TIDEGAUGE_NVML_LIBRARY` names. It stays loaded.
    ///
    /// # Errors
    /// If there is no driver, it may not be used, or it knows no device.
    pub(crate) fn open() -> Result<Self, NvmlAbsent> {
        let library = std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty());
        Self::open_library(library.as_deref(), PidNamespace::of_this_process())
    }

    fn open_library(library: Option<&OsStr>, namespace: PidNamespace) -> Result<Self, NvmlAbsent> {
        let mut builder = Nvml::builder();
        if let Some(path) = library {
            builder.lib_path(path);
        }
        let nvml = builder.init().map_err(|error| NvmlAbsent::from_error(&error))?;
        // The devices borrow from it, and are needed until the process ends.
        let nvml: &'static Nvml = Box::leak(Box::new(nvml));
        let count = nvml.device_count().map_err(|error| NvmlAbsent::from_error(&error))?;
        let new = |index: usize, parent: Option<&DeviceInfo>, handle| {
            NvmlDevice::new(nvml, i16::try_from(index).unwrap_or(i16::MAX), parent, handle)
        };
        let mut devices = (0..count)
            .map(|index| new(index as usize, None, nvml.device_by_index(index)))
            .collect::<Vec<_>>();
        let mut instances = Vec::new();
        for gpu in &mut devices {
            let handles = gpu.mig_handles();
            instances.extend(handles.into_iter().map(|handle| (gpu.info().clone(), handle)));
        }
        for (parent, handle) in instances {
            devices.push(new(devices.len(), Some(&parent), Ok(handle)));
        }
        if devices.is_empty() {
            return Err(NvmlAbsent::no_devices());
        }
        Ok(Self { nvml, devices, namespace, is_namespace_said: false })
    }

    /// The devices that are sampled.
    pub(crate) fn devices(&self) -> Vec<DeviceInfo> {
        self.devices.iter().map(|device| device.info().clone()).collect()
    }

    /// Versions of the driver and of the CUDA that it supports.
    pub(crate) fn versions(&self) -> (Option<String>, Option<String>) {
        let cuda = self.nvml.sys_cuda_driver_version().ok();
        let major_minor = |version| {
            let major = nvml_wrapper::cuda_driver_version_major(version);
            format!("{major}.{}", nvml_wrapper::cuda_driver_version_minor(version))
        };
        (self.nvml.sys_driver_version().ok(), cuda.map(major_minor))
    }

    /// Restricts sampling to devices, by index.
    ///
    /// # Errors
    /// If one of them is not there; then nothing changes.
    pub(crate) fn select(&mut self, wanted: &[u32]) -> Result<(), UnknownDevice> {
        let index = |device: &NvmlDevice| u32::try_from(device.info().index).ok();
        if let Some(unknown) =
            wanted.iter().find(|wanted| !self.devices.iter().any(|device| index(device) == Some(**wanted)))
        {
            let known =
                self.devices.iter().filter_map(index).map(|index| index.to_string()).collect::<Vec<_>>();
            return Err(UnknownDevice { index: *unknown, known: known.join(", ") });
        }
        self.devices.retain(|device| index(device).is_some_and(|index| wanted.contains(&index)));
        Ok(())
    }

    /// Hands on what the devices say of themselves: memory each time, the rest at most once a second.
    pub(crate) fn sample_devices(&mut self, sink: &mut dyn Sink) {
        self.sample_devices_at(Instant::now(), sink);
    }

    fn sample_devices_at(&mut self, now: Instant, sink: &mut dyn Sink) {
        self.devices.iter_mut().for_each(|device| device.sample(now, sink));
    }

    /// Hands on what each process that is ours uses of each device, and all of them together. Nothing where pids do not
    /// mean the same to the driver as here, which is said once. Takes up to six calls for each device: once a second is
    /// enough.
    pub(crate) fn sample_processes(&mut self, is_ours: &dyn Fn(u32) -> bool, sink: &mut dyn Sink) {
        self.sample_processes_at(Instant::now(), is_ours, sink);
    }

    fn sample_processes_at(&mut self, now: Instant, is_ours: &dyn Fn(u32) -> bool, sink: &mut dyn Sink) {
        if let Some(why) = self.processes_unknown() {
            if !std::mem::replace(&mut self.is_namespace_said, true) {
                sink.note(format!("device memory of single processes is not known: {why}"));
            }
            return;
        }
        self.devices.iter_mut().for_each(|device| device.sample_processes(now, is_ours, sink));
    }

    /// Why figures of single processes cannot be had, if they cannot.
    pub(crate) fn processes_unknown(&self) -> Option<&'static str> {
        match self.namespace {
            PidNamespace::Initial => None,
            PidNamespace::Inner => Some(
                "this is a container with process ids of its own, and NVML names processes by those of the host",
            ),
            PidNamespace::Unknown => {
                Some("it cannot be told whether process ids here are those that NVML uses")
            }
        }
    }
}
