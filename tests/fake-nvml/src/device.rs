//! Handles: which device a pointer stands for. Nothing lies where they point to.

use nvml_wrapper_sys::bindings::*;

use crate::state::State;

/// Instances that a GPU can have at most.
pub(crate) const MAX_MIG_DEVICES: u32 = 7;

/// A GPU, or a MIG instance of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceId {
    pub(crate) gpu: u32,
    pub(crate) mig: Option<u32>,
}

impl DeviceId {
    pub(crate) fn handle(self) -> nvmlDevice_t {
        let number = (self.gpu as usize + 1) * 256 + self.mig.map_or(0, |mig| mig as usize + 1);
        std::ptr::without_provenance_mut(number)
    }

    pub(crate) fn from_handle(handle: nvmlDevice_t) -> Option<Self> {
        let number = handle.addr();
        let gpu = u32::try_from((number / 256).checked_sub(1)?).ok()?;
        Some(Self { gpu, mig: u32::try_from(number % 256).ok()?.checked_sub(1) })
    }

    /// What the key of a device begins with.
    pub(crate) fn key(self, name: &str) -> String {
        match self.mig {
            None => format!("{}.{name}", self.gpu),
            Some(mig) => format!("{}.mig.{mig}.{name}", self.gpu),
        }
    }

    /// An error if it is not there, or its GPU is lost.
    pub(crate) fn check(self, state: &State) -> Result<(), nvmlReturn_t> {
        let [devices] = state.numbers("devices")?;
        if u64::from(self.gpu) >= devices {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        state.check(&format!("{}.lost", self.gpu))?;
        if self.mig.is_none() {
            return Ok(());
        }
        let has_mig = state.get(&format!("{}.mig_mode", self.gpu)) == Ok("1");
        if !has_mig || !state.contains(&self.key("uuid")) {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        }
        Ok(())
    }

    /// All that are there.
    pub(crate) fn all(state: &State) -> Result<Vec<Self>, nvmlReturn_t> {
        let [devices] = state.numbers("devices")?;
        let gpus = 0..u32::try_from(devices).unwrap_or(0);
        let each = |gpu| {
            let instances = (0..MAX_MIG_DEVICES).map(Some);
            std::iter::once(None).chain(instances).map(move |mig| Self { gpu, mig })
        };
        Ok(gpus.flat_map(each).filter(|device| device.check(state).is_ok()).collect())
    }
}
