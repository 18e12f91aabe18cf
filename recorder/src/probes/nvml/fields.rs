//! What a device is asked for, and what became of it: what it does not offer is not asked for again, what failed is
//! left alone for a while.

use std::time::{Duration, Instant};

use nvml_wrapper::error::NvmlError;

/// After a failure, the next attempt: NVML may take seconds to fail on a sick device.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Something that a device may or may not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Field {
    Memory,
    Utilization,
    Power,
    PowerLimit,
    Temperature,
    SmClock,
    ThrottleReasons,
    ComputeProcesses,
    GraphicsProcesses,
    MpsProcesses,
}

impl Field {
    const COUNT: usize = Self::MpsProcesses as usize + 1;

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Utilization => "utilization",
            Self::Power => "power",
            Self::PowerLimit => "power limit",
            Self::Temperature => "temperature",
            Self::SmClock => "clock",
            Self::ThrottleReasons => "throttling",
            Self::ComputeProcesses => "processes",
            Self::GraphicsProcesses => "graphics processes",
            Self::MpsProcesses => "processes under MPS",
        }
    }

    /// Whether nobody misses it where it is not offered.
    const fn is_optional(self) -> bool {
        matches!(self, Self::GraphicsProcesses | Self::MpsProcesses)
    }
}

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The device is not there any more.
    Lost,
    /// It will never answer this.
    NotOffered,
    /// It would, but not to this user.
    Denied,
    /// Something changed between two calls: the next sample will do.
    Momentary,
    /// Something that should not be.
    Failed,
}

impl Trouble {
    pub(super) fn of(field: Field, error: &NvmlError) -> Self {
        match error {
            NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::NotFound => Self::Lost,
            // Every device has memory: then it is the handle that is not valid any more, as that of a MIG instance that
            // was removed. Of other fields, many refuse a MIG instance's handle with this error.
            NvmlError::InvalidArg if field == Field::Memory => Self::Lost,
            NvmlError::InvalidArg
            | NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_) => Self::NotOffered,
            NvmlError::NoPermission => Self::Denied,
            NvmlError::InsufficientSize(_) => Self::Momentary,
            _ => Self::Failed,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct FieldState {
    is_not_offered: bool,
    paused_until: Option<Instant>,
    is_failure_said: bool,
}

/// What has been found out about a device's fields.
#[derive(Debug, Default)]
pub(super) struct Fields {
    states: [FieldState; Field::COUNT],
    /// Found out since the last note.
    not_offered: Vec<&'static str>,
    denied: Vec<&'static str>,
}

impl Fields {
    /// Whether to ask for it now.
    pub(super) fn is_asked(&self, field: Field, now: Instant) -> bool {
        let state = self.states.get(field as usize).copied().unwrap_or_default();
        !state.is_not_offered && state.paused_until.is_none_or(|until| now >= until)
    }

    /// Remembers that it was asked for in vain; a note, if there is something new to say at once.
    pub(super) fn in_vain(
        &mut self,
        field: Field,
        trouble: Trouble,
        error: &NvmlError,
        now: Instant,
    ) -> Option<String> {
        let state = self.states.get_mut(field as usize)?;
        match trouble {
            Trouble::NotOffered | Trouble::Denied => {
                state.is_not_offered = true;
                match trouble {
                    Trouble::Denied => self.denied.push(field.name()),
                    _ if field.is_optional() => {}
                    _ => self.not_offered.push(field.name()),
                }
                None
            }
            Trouble::Failed => {
                state.paused_until = Some(now + RETRY_AFTER);
                let is_said = std::mem::replace(&mut state.is_failure_said, true);
                (!is_said).then(|| format!("{} cannot be read now and then: {error}", field.name()))
            }
            Trouble::Momentary | Trouble::Lost => None,
        }
    }

    /// Lines about what the device does not offer that have not been said.
    pub(super) fn unsaid(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.not_offered.is_empty() {
            lines.push(format!("the device does not offer {}", self.not_offered.join(", ")));
            self.not_offered.clear();
        }
        if !self.denied.is_empty() {
            lines.push(format!("this user may not read {}", self.denied.join(", ")));
            self.denied.clear();
        }
        lines
    }
}
