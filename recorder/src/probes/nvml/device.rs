//! One device: a GPU or a MIG instance of one.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use tidegauge_schemas::metrics::{self, Metric};
use tidegauge_schemas::process::DeviceInfo;

use super::fields::{Field, Fields, RETRY_AFTER, Trouble};
use crate::probes::{Reading, Sink};

/// How often fields other than memory are read: each costs up to 100 µs, and the driver renews most of them less often
/// than ten times a second.
const SLOW_EVERY: Duration = Duration::from_secs(1);

/// A device that is sampled.
#[derive(Debug)]
pub(super) struct NvmlDevice {
    nvml: &'static Nvml,
    /// None while the device is lost.
    handle: Option<Device<'static>>,
    info: DeviceInfo,
    fields: Fields,
    slow_due: Option<Instant>,
    /// When a lost device is looked for again.
    retry_at: Option<Instant>,
    is_loss_said: bool,
    is_return_said: bool,
    is_usage_unknown_said: bool,
    notes: Vec<String>,
}

impl NvmlDevice {
    /// A device with the index that the trace is to know it by; with an error, one that could not be opened and is
    /// looked for again later.
    pub(super) fn new(
        nvml: &'static Nvml,
        index: i16,
        parent: Option<&DeviceInfo>,
        handle: Result<Device<'static>, NvmlError>,
    ) -> Self {
        let unknown = DeviceInfo {
            index,
            uuid: None,
            name: None,
            total_bytes: None,
            pci_bus_id: parent.and_then(|parent| parent.pci_bus_id.clone()),
            parent_index: parent.map(|parent| parent.index),
        };
        let mut device = Self {
            nvml,
            handle: None,
            info: unknown,
            fields: Fields::default(),
            slow_due: None,
            retry_at: None,
            is_loss_said: false,
            is_return_said: false,
            is_usage_unknown_said: false,
            notes: Vec::new(),
        };
        match handle {
            Ok(handle) => {
                device.info.uuid = handle.uuid().ok();
                device.info.name = handle.name().ok();
                device.info.total_bytes = memory(&handle).ok().map(|memory| memory.total_bytes);
                if parent.is_none() {
                    device.info.pci_bus_id = handle.pci_info().ok().map(|pci| pci.bus_id);
                }
                device.handle = Some(handle);
            }
            Err(error) => device.lose(&error, Instant::now()),
        }
        device
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Instances that the GPU is split into; none if it is not in MIG mode.
    pub(super) fn mig_handles(&mut self) -> Vec<Device<'static>> {
        let Some(handle) = &self.handle else { return Vec::new() };
        // In MIG mode this is 1. Where there is no such mode, it is an error.
        if !handle.mig_mode().is_ok_and(|mode| mode.current == 1) {
            return Vec::new();
        }
        let most = handle.mig_device_count().unwrap_or(0);
        let found = (0..most).filter_map(|index| handle.mig_device_by_index(index).ok()).collect::<Vec<_>>();
        if found.is_empty() {
            self.say(
                "MIG mode is on, and there is no instance that can be seen: figures are of the whole device",
            );
        }
        found
    }

    /// Hands on what the device says of itself: memory each time, the rest once a second.
    pub(super) fn sample(&mut self, now: Instant, sink: &mut dyn Sink) {
        self.find_again(now);
        let index = self.info.index;
        let mut hand_on =
            |metric: Metric, value: f64| sink.reading(Reading { metric, device: index, pid: None, value });
        if let Some(memory) = self.ask(Field::Memory, now, memory) {
            hand_on(metrics::GPU_TOTAL, memory.total_bytes as f64);
            hand_on(metrics::GPU_USED, memory.used_bytes as f64);
            hand_on(metrics::GPU_FREE, memory.free_bytes as f64);
            if let Some(bytes) = memory.reserved_bytes {
                hand_on(metrics::GPU_RESERVED, bytes as f64);
            }
        }
        if self.handle.is_some() && self.slow_due.is_none_or(|due| now >= due) {
            self.slow_due = Some(now + SLOW_EVERY);
            if let Some(rates) = self.ask(Field::Utilization, now, Device::utilization_rates) {
                hand_on(metrics::GPU_UTILIZATION, f64::from(rates.gpu));
                hand_on(metrics::GPU_MEMORY_UTILIZATION, f64::from(rates.memory));
            }
            if let Some(milliwatts) = self.ask(Field::Power, now, Device::power_usage) {
                hand_on(metrics::GPU_POWER, f64::from(milliwatts) / 1000.0);
            }
            if let Some(milliwatts) = self.ask(Field::PowerLimit, now, Device::enforced_power_limit) {
                hand_on(metrics::GPU_POWER_LIMIT, f64::from(milliwatts) / 1000.0);
            }
            let temperature = |device: &Device<'_>| device.temperature(TemperatureSensor::Gpu);
            if let Some(celsius) = self.ask(Field::Temperature, now, temperature) {
                hand_on(metrics::GPU_TEMPERATURE, f64::from(celsius));
            }
            if let Some(mhz) = self.ask(Field::SmClock, now, |device| device.clock_info(Clock::SM)) {
                hand_on(metrics::GPU_SM_CLOCK, f64::from(mhz));
            }
            if let Some(reasons) = self.ask(Field::ThrottleReasons, now, Device::current_throttle_reasons) {
                hand_on(metrics::GPU_THROTTLE_REASONS, reasons.bits() as f64);
            }
        }
        self.hand_on_notes(sink);
    }

    /// Hands on what each process that is ours uses of the device, and all of them together.
    pub(super) fn sample_processes(
        &mut self,
        now: Instant,
        is_ours: &dyn Fn(u32) -> bool,
        sink: &mut dyn Sink,
    ) {
        self.find_again(now);
        let device = self.info.index;
        let mut hand_on = |metric: Metric, pid, bytes: u64| {
            sink.reading(Reading { metric, device, pid, value: bytes as f64 })
        };
        if let Some(processes) = self.processes(now) {
            let mut total_bytes = Some(0);
            for (pid, used_bytes) in processes.into_iter().filter(|(pid, _)| is_ours(*pid)) {
                if let Some(bytes) = used_bytes {
                    hand_on(metrics::GPU_PROCESS_USED, Some(pid), bytes);
                }
                total_bytes =
                    total_bytes.zip(used_bytes).and_then(|(total, used): (u64, u64)| total.checked_add(used));
            }
            match total_bytes {
                Some(bytes) => hand_on(metrics::GPU_TREE_USED, None, bytes),
                None if !std::mem::replace(&mut self.is_usage_unknown_said, true) => {
                    self.say("NVML does not say how much a process uses (N/A)");
                }
                None => {}
            }
        }
        self.hand_on_notes(sink);
    }

    /// Processes with what they use, where NVML says it. One that computes and draws is in two lists, with the same
    /// figure in both.
    fn processes(&mut self, now: Instant) -> Option<BTreeMap<u32, Option<u64>>> {
        let compute = self.ask(Field::ComputeProcesses, now, Device::running_compute_processes)?;
        let graphics = self.ask(Field::GraphicsProcesses, now, Device::running_graphics_processes);
        let mps = self.ask(Field::MpsProcesses, now, Device::mps_running_compute_processes);
        let mut processes = BTreeMap::new();
        for ProcessInfo { pid, used_gpu_memory, .. } in
            compute.into_iter().chain(graphics.unwrap_or_default()).chain(mps.unwrap_or_default())
        {
            let used_bytes = match used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            let most: &mut Option<u64> = processes.entry(pid).or_default();
            *most = (*most).max(used_bytes);
        }
        Some(processes)
    }

    /// An answer of the device, unless it is lost or does not give this one.
    fn ask<T>(
        &mut self,
        field: Field,
        now: Instant,
        read: impl FnOnce(&Device<'static>) -> Result<T, NvmlError>,
    ) -> Option<T> {
        let handle = self.handle.as_ref()?;
        if !self.fields.is_asked(field, now) {
            return None;
        }
        let error = match read(handle) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let trouble = Trouble::of(field, &error);
        if trouble == Trouble::Lost {
            self.lose(&error, now);
        } else if let Some(line) = self.fields.in_vain(field, trouble, &error, now) {
            self.say(&line);
        }
        None
    }

    fn lose(&mut self, error: &NvmlError, now: Instant) {
        self.handle = None;
        self.retry_at = Some(now + RETRY_AFTER);
        if !std::mem::replace(&mut self.is_loss_said, true) {
            self.say(&format!(
                "it cannot be reached ({error}); looked for again every {} s",
                RETRY_AFTER.as_secs()
            ));
        }
    }

    /// Looks for a device that was lost, now and then.
    fn find_again(&mut self, now: Instant) {
        if self.handle.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = Some(now + RETRY_AFTER);
        // By what it is, not by its index: when a device is gone, others may move up.
        let found = match (&self.info.uuid, u32::try_from(self.info.index)) {
            (Some(uuid), _) => self.nvml.device_by_uuid(uuid.as_str()),
            (None, Ok(index)) if self.info.parent_index.is_none() => self.nvml.device_by_index(index),
            _ => return,
        };
        let Some(handle) = found.ok().filter(|handle| memory(handle).is_ok()) else { return };
        if self.info.uuid.is_none() {
            self.info.uuid = handle.uuid().ok();
        }
        self.handle = Some(handle);
        if !std::mem::replace(&mut self.is_return_said, true) {
            self.say("it can be reached again");
        }
    }

    fn say(&mut self, line: &str) {
        let name = self.info.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        self.notes.push(format!("device {}{name}: {line}", self.info.index));
    }

    fn hand_on_notes(&mut self, sink: &mut dyn Sink) {
        for line in self.fields.unsaid() {
            self.say(&line);
        }
        self.notes.drain(..).for_each(|note| sink.note(note));
    }
}

/// Memory of a device.
#[derive(Debug, Clone, Copy)]
struct DeviceMemory {
    total_bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
    reserved_bytes: Option<u64>,
}

fn memory(device: &Device<'_>) -> Result<DeviceMemory, NvmlError> {
    match device.memory_info() {
        Ok(memory) => Ok(DeviceMemory {
            total_bytes: memory.total,
            used_bytes: memory.used,
            free_bytes: memory.free,
            reserved_bytes: Some(memory.reserved),
        }),
        // Drivers before 510 know the first version only.
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound | NvmlError::NotSupported) => {
            memory_version_1(device)
        }
        Err(error) => Err(error),
    }
}

/// The call of older drivers, which the wrapper does not offer; what the driver keeps for itself counts as used.
fn memory_version_1(device: &Device<'_>) -> Result<DeviceMemory, NvmlError> {
    let function = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    let mut memory = MaybeUninit::zeroed();
    // SAFETY: the handle is of this library and the struct is the function's own, as its type says.
    nvml_try(unsafe { function(device.handle(), memory.as_mut_ptr()) })?;
    // SAFETY: three numbers, for which zeros are valid too.
    let memory = unsafe { memory.assume_init() };
    Ok(DeviceMemory {
        total_bytes: memory.total,
        used_bytes: memory.used,
        free_bytes: memory.free,
        reserved_bytes: None,
    })
}
