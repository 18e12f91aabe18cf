//! One alert: what is watched, the threshold, for how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::error::AlertError;
use super::expression;
use super::metric::{Devices, Subject};
use super::unit::{Dimension, Unit};

/// Where readings are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `tidegauge-record`: it sees the process tree, the node and its devices, but no training step.
    Launcher,
    /// A recorder in the process that is recorded.
    Process,
}

/// How a reading is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    pub(super) const ALL: [Self; 4] = [Self::Above, Self::AtLeast, Self::Below, Self::AtMost];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    /// Whether the threshold is crossed.
    pub(super) fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }
}

/// A threshold as it was said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) number: f64,
    pub(super) unit: Unit,
}

/// What a rate is per, where that is time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Second,
    Minute,
    Hour,
}

impl TimeUnit {
    pub(super) const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }

    pub(super) const fn nanos(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }
}

/// That the slope is watched and not the reading itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Per step, over so many steps.
    PerStep { steps: u32 },
    /// Per unit of time, over that time.
    PerTime { unit: TimeUnit, window: Duration },
}

impl Growth {
    pub(super) const fn rate(self) -> &'static str {
        match self {
            Self::PerStep { .. } => "/step",
            Self::PerTime { unit: TimeUnit::Second, .. } => "/s",
            Self::PerTime { unit: TimeUnit::Minute, .. } => "/min",
            Self::PerTime { unit: TimeUnit::Hour, .. } => "/h",
        }
    }
}

/// A threshold on a metric, as `gpu.used > 90%` says it.
///
/// Parsed from text; `Display` writes it in its canonical form, which parses to the same alert. The grammar and the
/// names of metrics stand in FORMAT.md.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub(super) subject: Subject,
    /// The one device that is watched; any if none.
    pub(super) device: Option<i16>,
    pub(super) growth: Option<Growth>,
    pub(super) operator: Operator,
    pub(super) value: Value,
    /// How long the condition must hold.
    pub(super) hold: Option<Duration>,
}

impl Alert {
    /// Whether what it needs can be read in that place. Steps are known in the process only.
    pub(crate) fn is_watchable(&self, place: Place) -> bool {
        self.trace_name(place).is_some()
    }

    /// Whether the launcher watches it: it can. `rss` is then that of the whole process tree.
    pub(crate) fn is_for_launcher(&self) -> bool {
        self.is_watchable(Place::Launcher)
    }

    /// Whether only a recorder in the process can watch it.
    pub(crate) fn needs_process(&self) -> bool {
        !self.is_for_launcher()
    }

    /// The metric of the trace whose readings it is told of in that place.
    pub(super) fn trace_name(&self, place: Place) -> Option<&str> {
        let knows_steps = place == Place::Process;
        if matches!(self.growth, Some(Growth::PerStep { .. })) && !knows_steps {
            return None;
        }
        self.subject.trace_name(place)
    }

    /// Whether the threshold is a part of a total, not an amount of its own.
    pub(super) fn is_of_total(&self) -> bool {
        self.value.unit == Unit::Percent && self.subject.dimension() != Dimension::Percent
    }

    /// The threshold in the unit of the readings; none while the total that it is a part of is unknown.
    pub(super) fn threshold(&self, total: Option<f64>) -> Option<f64> {
        if self.is_of_total() {
            Some(total? * self.value.number / 100.0)
        } else {
            Some(self.value.number * self.value.unit.factor())
        }
    }

    /// What its readings measure.
    pub(super) fn dimension(&self) -> Dimension {
        match (self.subject.dimension(), self.value.unit.dimension()) {
            (Dimension::Any, Some(said)) => said,
            (known, _) => known,
        }
    }

    /// The alert as it is about one device.
    pub(super) fn on_device(&self, device: i16) -> OnDevice<'_> {
        let device = (self.subject.devices() != Devices::None).then_some(device);
        OnDevice { alert: self, device }
    }
}

impl FromStr for Alert {
    type Err = AlertError;

    fn from_str(expression: &str) -> Result<Self, AlertError> {
        expression::parse(expression)
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        OnDevice { alert: self, device: self.device }.fmt(out)
    }
}

/// An alert with the device in its name.
#[derive(Debug)]
pub(super) struct OnDevice<'a> {
    alert: &'a Alert,
    device: Option<i16>,
}

impl fmt::Display for OnDevice<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alert = self.alert;
        match &alert.subject {
            Subject::Counter(name) => write!(out, "counter({name})")?,
            Subject::Known(metric) => {
                let word = metric.name.split('.').next().unwrap_or(metric.name);
                write!(out, "{word}")?;
                match self.device {
                    None => {}
                    Some(-1) => write!(out, "[host]")?,
                    Some(number) => write!(out, "[{number}]")?,
                }
                write!(out, "{}", metric.name.strip_prefix(word).unwrap_or(""))?;
            }
        }
        if alert.growth.is_some() {
            write!(out, " growth")?;
        }
        write!(out, " {} {}{}", alert.operator.as_str(), alert.value.number, alert.value.unit.as_str())?;
        if let Some(growth) = alert.growth {
            write!(out, "{} over ", growth.rate())?;
            match growth {
                Growth::PerStep { steps } => write!(out, "{steps}")?,
                Growth::PerTime { window, .. } => write!(out, "{}", DurationText(window))?,
            }
        }
        match alert.hold {
            Some(hold) => write!(out, " for {}", DurationText(hold)),
            None => Ok(()),
        }
    }
}

/// A duration in the largest unit that it is a whole number of.
struct DurationText(Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "min"), (1000, "s")];
        let (unit_millis, unit) =
            units.into_iter().find(|unit| millis.is_multiple_of(unit.0)).unwrap_or((1, "ms"));
        write!(out, "{}{unit}", millis / unit_millis)
    }
}
