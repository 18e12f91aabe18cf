//! What a budget can be on.

/// The unit of a metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes that each step adds.
    BytesPerStep,
    /// A part of one.
    Share,
    /// Nanoseconds.
    Nanos,
    /// As the metric's name ends.
    Number,
}

impl Unit {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesPerStep => "bytes_per_step",
            Self::Share => "share",
            Self::Nanos => "nanoseconds",
            Self::Number => "number",
        }
    }
}

/// What a budget is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckMetric {
    /// Allocated on the worst device; without allocations the resident size.
    Peak,
    /// Highest allocated.
    Allocated,
    /// Highest active: allocated, or freed while a stream still used it.
    Active,
    /// Highest reserved.
    Reserved,
    /// Highest use of a device, by whomever.
    Used,
    /// Highest resident size.
    Rss,
    /// Part of the highest reserved that was not allocated even when most of it was.
    Fragmentation,
    /// What forward leaves allocated at most.
    Activations,
    /// Median time of a step.
    StepTime,
    /// What each step adds to what is allocated at its end; without allocations, to the resident size.
    Growth,
    /// A sampled metric: its highest reading for an upper bound, its lowest for a lower one.
    Sampled(String),
}

impl CheckMetric {
    /// The metric of that name; any other name is that of a sampled metric.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "peak" => Self::Peak,
            "allocated" => Self::Allocated,
            "active" => Self::Active,
            "reserved" => Self::Reserved,
            "used" => Self::Used,
            "rss" => Self::Rss,
            "fragmentation" => Self::Fragmentation,
            "activations" => Self::Activations,
            "step_time" => Self::StepTime,
            "growth" => Self::Growth,
            sampled => Self::Sampled(sampled.to_owned()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Peak => "peak",
            Self::Allocated => "allocated",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Used => "used",
            Self::Rss => "rss",
            Self::Fragmentation => "fragmentation",
            Self::Activations => "activations",
            Self::StepTime => "step_time",
            Self::Growth => "growth",
            Self::Sampled(name) => name,
        }
    }

    /// Unit of its values.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self {
            Self::Fragmentation => Unit::Share,
            Self::StepTime => Unit::Nanos,
            Self::Growth => Unit::BytesPerStep,
            Self::Sampled(name) if name.ends_with("_bytes") => Unit::Bytes,
            Self::Sampled(_) => Unit::Number,
            _ => Unit::Bytes,
        }
    }
}
