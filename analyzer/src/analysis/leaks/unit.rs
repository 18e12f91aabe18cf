//! What growth is counted by.

/// A stretch of a run that repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A training step.
    Step,
    /// An evaluation of the loss by a black-box optimizer.
    Evaluation,
    /// An epoch.
    Epoch,
    /// A minute.
    Time,
}

impl Unit {
    /// From the one that says most.
    pub const ALL: [Self; 4] = [Self::Step, Self::Evaluation, Self::Epoch, Self::Time];

    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Evaluation => "evaluation",
            Self::Epoch => "epoch",
            Self::Time => "minute",
        }
    }
}

/// Which curve grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrowthCurve {
    /// Lowest allocated within the unit, or at its end where the trace keeps not all events: what stays.
    Allocated,
    /// Highest allocated within the unit.
    AllocatedPeak,
    /// Highest reserved within the unit.
    Reserved,
    /// In use on the device, by whomever; sampled.
    Used,
    /// Resident size of the process, or of the tree of a command, at the unit's end, else the lowest sample within; sampled.
    Rss,
}

impl GrowthCurve {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::AllocatedPeak => "allocated_peak",
            Self::Reserved => "reserved",
            Self::Used => "used",
            Self::Rss => "rss",
        }
    }

    /// Whether it is read by a clock rather than counted.
    pub(super) const fn is_sampled(self) -> bool {
        matches!(self, Self::Used | Self::Rss)
    }
}
