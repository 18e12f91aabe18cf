//! The functions that NVML exports, but for lists of processes.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::*;

use crate::device::{DeviceId, MAX_MIG_DEVICES};
use crate::state::State;

/// Stores what was found where the caller wants it.
///
/// # Safety
/// `place` is null or valid.
unsafe fn put<T>(place: *mut T, found: Result<T, nvmlReturn_t>) -> nvmlReturn_t {
    match found {
        Ok(_) if place.is_null() => nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
        Ok(value) => {
            // SAFETY: it is valid, as the caller promises.
            unsafe { place.write(value) };
            nvmlReturn_enum_NVML_SUCCESS
        }
        Err(error) => error,
    }
}

/// Stores a text and its end.
///
/// # Safety
/// `place` is null or has room for `length` characters.
unsafe fn put_text(place: *mut c_char, length: c_uint, found: Result<String, nvmlReturn_t>) -> nvmlReturn_t {
    match found {
        Ok(_) if place.is_null() => nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
        Ok(text) if text.len() >= length as usize => nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE,
        Ok(text) => {
            for (index, byte) in text.bytes().chain([0]).enumerate() {
                // SAFETY: there is room for the text and its end.
                unsafe { place.add(index).write(byte.cast_signed()) };
            }
            nvmlReturn_enum_NVML_SUCCESS
        }
        Err(error) => error,
    }
}

/// A value of a device that is there.
fn of_device<T>(
    handle: nvmlDevice_t,
    value: impl FnOnce(&State, DeviceId) -> Result<T, nvmlReturn_t>,
) -> Result<T, nvmlReturn_t> {
    let state = State::now();
    let device = DeviceId::from_handle(handle).ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    device.check(&state)?;
    value(&state, device)
}

fn number(handle: nvmlDevice_t, name: &str) -> Result<u64, nvmlReturn_t> {
    of_device(handle, |state, device| state.numbers(&device.key(name)).map(|[number]| number))
}

fn text(handle: nvmlDevice_t, name: &str) -> Result<String, nvmlReturn_t> {
    of_device(handle, |state, device| state.get(&device.key(name)).map(str::to_owned))
}

fn small(number: u64) -> c_uint {
    c_uint::try_from(number).unwrap_or(c_uint::MAX)
}

/// The device of which `name` is `wanted`.
///
/// # Safety
/// `wanted` is null or a text with an end.
unsafe fn find(name: &str, wanted: *const c_char) -> Result<nvmlDevice_t, nvmlReturn_t> {
    if wanted.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: as the caller promises.
    let wanted = unsafe { CStr::from_ptr(wanted) }.to_str();
    let state = State::now();
    let all = DeviceId::all(&state)?;
    let found = all.into_iter().find(|device| state.get(&device.key(name)).ok() == wanted.ok());
    found.map(DeviceId::handle).ok_or(nvmlReturn_enum_NVML_ERROR_NOT_FOUND)
}

/// Exports functions; what they are given is valid or null, as NVML's callers promise.
macro_rules! exports {
    ($($name:ident($($argument:ident: $kind:ty),*) $body:block)+) => { $(
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe)] // One has nothing to do.
        unsafe extern "C" fn $name($($argument: $kind),*) -> nvmlReturn_t {
            // SAFETY: as NVML's callers promise.
            unsafe { $body }
        }
    )+ };
}

exports! {
    nvmlInit_v2() {
        put(&mut (), State::now().check("init"))
    }
    nvmlInitWithFlags(_flags: c_uint) {
        nvmlInit_v2()
    }
    nvmlShutdown() {
        nvmlReturn_enum_NVML_SUCCESS
    }
    nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) {
        put_text(version, length, State::now().get("driver_version").map(str::to_owned))
    }
    nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) {
        put_text(version, length, State::now().get("nvml_version").map(str::to_owned))
    }
    nvmlSystemGetCudaDriverVersion(version: *mut c_int) {
        put(version, State::now().numbers("cuda_version").map(|[number]| small(number).cast_signed()))
    }
    nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) {
        nvmlSystemGetCudaDriverVersion(version)
    }
    nvmlDeviceGetCount_v2(count: *mut c_uint) {
        put(count, State::now().numbers("devices").map(|[number]| small(number)))
    }
    nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) {
        let wanted = DeviceId { gpu: index, mig: None };
        put(device, wanted.check(&State::now()).map(|()| wanted.handle()))
    }
    nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) {
        put(device, find("uuid", uuid))
    }
    nvmlDeviceGetHandleByPciBusId_v2(bus_id: *const c_char, device: *mut nvmlDevice_t) {
        put(device, find("pci_bus_id", bus_id))
    }
    nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
        put_text(uuid, length, text(device, "uuid"))
    }
    nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
        put_text(name, length, text(device, "name"))
    }
    nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) {
        put(index, of_device(device, |_, device| Ok(device.mig.unwrap_or(device.gpu))))
    }
    nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, pci: *mut nvmlPciInfo_t) {
        put(pci, text(device, "pci_bus_id").map(|text| {
            // All zeros is a valid value of a struct of numbers.
            let mut info: nvmlPciInfo_t = std::mem::zeroed();
            info.busId.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte.cast_signed());
            info
        }))
    }
    nvmlDeviceGetMemoryInfo(device: nvmlDevice_t, memory: *mut nvmlMemory_t) {
        put(memory, of_device(device, |state, device| {
            let [total, reserved, used] = state.numbers(&device.key("memory"))?;
            let used = used + reserved;
            Ok(nvmlMemory_t { total, free: total.saturating_sub(used), used })
        }))
    }
    nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t) {
        let wanted = (size_of::<nvmlMemory_v2_t>() | (2 << 24)) as c_uint;
        if memory.as_ref().is_some_and(|memory| memory.version != wanted) {
            return nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
        }
        put(memory, of_device(device, |state, device| {
            state.check(&device.key("memory_v2"))?;
            let [total, reserved, used] = state.numbers(&device.key("memory"))?;
            let free = total.saturating_sub(used + reserved);
            Ok(nvmlMemory_v2_t { version: wanted, total, reserved, free, used })
        }))
    }
    nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, utilization: *mut nvmlUtilization_t) {
        put(utilization, of_device(device, |state, device| {
            let [gpu, memory] = state.numbers(&device.key("utilization"))?;
            Ok(nvmlUtilization_t { gpu: small(gpu), memory: small(memory) })
        }))
    }
    nvmlDeviceGetPowerUsage(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        put(milliwatts, number(device, "power_milliwatts").map(small))
    }
    nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, milliwatts: *mut c_uint) {
        put(milliwatts, number(device, "power_limit_milliwatts").map(small))
    }
    nvmlDeviceGetTemperature(device: nvmlDevice_t, sensor: nvmlTemperatureSensors_t, celsius: *mut c_uint) {
        if sensor != nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU {
            return nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
        }
        put(celsius, number(device, "temperature_celsius").map(small))
    }
    nvmlDeviceGetClockInfo(device: nvmlDevice_t, clock: nvmlClockType_t, mhz: *mut c_uint) {
        if clock != nvmlClockType_enum_NVML_CLOCK_SM {
            return nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
        }
        put(mhz, number(device, "sm_clock_mhz").map(small))
    }
    nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, reasons: *mut c_ulonglong) {
        put(reasons, number(device, "throttle_reasons"))
    }
    nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        let mode = number(device, "mig_mode").map(small);
        put(pending, mode);
        put(current, mode)
    }
    nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        put(count, of_device(device, |_, _| Ok(MAX_MIG_DEVICES)))
    }
    nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, instance: *mut nvmlDevice_t) {
        put(instance, of_device(device, |state, device| {
            let wanted = DeviceId { mig: Some(index), ..device };
            wanted.check(state).map(|()| wanted.handle())
        }))
    }
    nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is_mig: *mut c_uint) {
        put(is_mig, of_device(device, |_, device| Ok(c_uint::from(device.mig.is_some()))))
    }
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance: nvmlDevice_t, device: *mut nvmlDevice_t) {
        put(device, of_device(instance, |_, device| Ok(DeviceId { mig: None, ..device }.handle())))
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(_code: nvmlReturn_t) -> *const c_char {
    c"an error of the stand-in".as_ptr()
}
