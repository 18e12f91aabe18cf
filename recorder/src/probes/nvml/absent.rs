//! Why there are no devices to sample, and what to do about it.

use std::path::Path;

use nvml_wrapper::error::NvmlError;

/// Why NVML cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{finding}; {advice}")]
pub(crate) struct NvmlAbsent {
    /// What was found.
    pub(crate) finding: String,
    /// What to do.
    pub(crate) advice: &'static str,
}

impl NvmlAbsent {
    /// What loading the library, or starting it, came to.
    pub(super) fn from_error(error: &NvmlError) -> Self {
        // Made by the driver's kernel module, and passed into containers that may use a device.
        let has_driver =
            ["/dev/nvidiactl", "/proc/driver/nvidia/version"].map(Path::new).iter().any(|path| path.exists());
        Self::of(error, has_driver)
    }

    fn of(error: &NvmlError, has_driver: bool) -> Self {
        let (finding, advice) = match error {
            NvmlError::LibloadingError(_) if has_driver => (
                format!("the NVIDIA driver is loaded but its library is not found ({error})"),
                "install the driver's user part; in a container, NVIDIA_DRIVER_CAPABILITIES must contain `utility`; \
                 or name the library in TIDEGAUGE_NVML_LIBRARY",
            ),
            NvmlError::LibloadingError(_) => (
                format!("there is no NVIDIA driver here ({error})"),
                "nothing, if there is no NVIDIA device; else install the driver, or pass the device into the container \
                 (docker run --gpus all)",
            ),
            NvmlError::DriverNotLoaded => (
                "the NVIDIA driver's library is here, but the driver is not loaded".to_owned(),
                "load it (modprobe nvidia); in a container, pass the device in (docker run --gpus all)",
            ),
            NvmlError::NoPermission => (
                "this user may not talk to the NVIDIA driver".to_owned(),
                "/dev/nvidiactl and /dev/nvidia* must be readable and writable; in a container the device must be allowed",
            ),
            NvmlError::LibRmVersionMismatch => (
                "the NVIDIA driver and its library are of different versions".to_owned(),
                "the driver was updated while it ran: reload it, or reboot",
            ),
            NvmlError::FailedToLoadSymbol(_) => (
                format!("the library that was loaded is not NVML ({error})"),
                "TIDEGAUGE_NVML_LIBRARY must name libnvidia-ml.so.1 of the driver",
            ),
            error => {
                (format!("NVML does not start: {error}"), "see what nvidia-smi says, and the kernel's log")
            }
        };
        Self { finding, advice }
    }

    pub(super) fn no_devices() -> Self {
        Self {
            finding: "the NVIDIA driver is loaded and knows no device".to_owned(),
            advice: "see `lspci -d 10de:` and the kernel's log; in a container, pass the device in (docker run --gpus all)",
        }
    }
}
