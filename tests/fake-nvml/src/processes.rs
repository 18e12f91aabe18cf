//! The lists of processes.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::*;

use crate::device::DeviceId;
use crate::state::State;

/// What NVML says where it does not know how much a process uses.
const NOT_AVAILABLE: u64 = u64::MAX;
/// What NVML says of an instance where there is none.
const NO_INSTANCE: c_uint = c_uint::MAX;

/// Fills the caller's list, or says how long it has to be.
///
/// # Safety
/// `count` is null or valid, and `infos` is null or has room for as many as `count` says.
unsafe fn list<Info>(
    device: nvmlDevice_t,
    kind: &str,
    count: *mut c_uint,
    infos: *mut Info,
    info: impl Fn(c_uint, u64) -> Info,
) -> nvmlReturn_t {
    let processes = match processes(device, kind) {
        Ok(processes) => processes,
        Err(error) => return error,
    };
    // SAFETY: as the caller promises.
    let Some(count) = (unsafe { count.as_mut() }) else { return nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT };
    let room = std::mem::replace(count, c_uint::try_from(processes.len()).unwrap_or(0));
    if processes.is_empty() {
        return nvmlReturn_enum_NVML_SUCCESS;
    }
    if infos.is_null() || *count > room {
        return nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (index, (pid, used_bytes)) in processes.into_iter().enumerate() {
        // SAFETY: there is room for as many.
        unsafe { infos.add(index).write(info(pid, used_bytes)) };
    }
    nvmlReturn_enum_NVML_SUCCESS
}

fn processes(device: nvmlDevice_t, kind: &str) -> Result<Vec<(c_uint, u64)>, nvmlReturn_t> {
    let state = State::now();
    let device = DeviceId::from_handle(device).ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
    device.check(&state)?;
    let text = state.get(&device.key(kind))?;
    if text == "none" {
        return Ok(Vec::new());
    }
    let process = |word: &str| {
        let (pid, bytes) = word.split_once(':')?;
        let bytes = if bytes == "n/a" { NOT_AVAILABLE } else { bytes.parse().ok()? };
        Some((pid.parse().ok()?, bytes))
    };
    let all = text.split_ascii_whitespace().map(process).collect::<Option<Vec<_>>>();
    all.ok_or(nvmlReturn_enum_NVML_ERROR_UNKNOWN)
}

fn info_v2(pid: c_uint, usedGpuMemory: u64) -> nvmlProcessInfo_v2_t {
    nvmlProcessInfo_v2_t { pid, usedGpuMemory, gpuInstanceId: NO_INSTANCE, computeInstanceId: NO_INSTANCE }
}

/// Exports the functions that list processes.
macro_rules! lists {
    ($($name:ident($info:ty) = $kind:literal, $make:expr;)+) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, count: *mut c_uint, infos: *mut $info) -> nvmlReturn_t {
            // SAFETY: as NVML's callers promise.
            unsafe { list(device, $kind, count, infos, $make) }
        }
    )+ };
}

lists! {
    nvmlDeviceGetComputeRunningProcesses(nvmlProcessInfo_v1_t) = "compute",
        |pid, usedGpuMemory| nvmlProcessInfo_v1_t { pid, usedGpuMemory };
    nvmlDeviceGetComputeRunningProcesses_v2(nvmlProcessInfo_v2_t) = "compute", info_v2;
    nvmlDeviceGetComputeRunningProcesses_v3(nvmlProcessInfo_t) = "compute", info_v2;
    nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlProcessInfo_t) = "graphics", info_v2;
    nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlProcessInfo_t) = "mps", info_v2;
}
