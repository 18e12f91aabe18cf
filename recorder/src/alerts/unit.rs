//! What is measured, the units that a threshold may be said in, and amounts as people read them.

use std::fmt;

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Bytes,
    /// Its readings are percentages already.
    Percent,
    Celsius,
    Watts,
    /// A number of things.
    Count,
    /// A counter of the program's own, which may be anything.
    Any,
}

impl Dimension {
    /// The units that a threshold may have, for a message.
    pub(super) const fn units(self) -> &'static str {
        match self {
            Self::Bytes => "one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
            Self::Percent => "%",
            Self::Celsius => "C",
            Self::Watts => "W",
            Self::Count => "no unit",
            Self::Any => "one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, W, C",
        }
    }
}

/// A unit as it stands behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// None stands there: the number is in the unit of the metric.
    Bare,
    Bytes,
    Kibibytes,
    Mebibytes,
    Gibibytes,
    Tebibytes,
    Kilobytes,
    Megabytes,
    Gigabytes,
    Terabytes,
    Percent,
    Watts,
    Celsius,
}

impl Unit {
    const NAMED: [Self; 12] = [
        Self::Bytes,
        Self::Kibibytes,
        Self::Mebibytes,
        Self::Gibibytes,
        Self::Tebibytes,
        Self::Kilobytes,
        Self::Megabytes,
        Self::Gigabytes,
        Self::Terabytes,
        Self::Percent,
        Self::Watts,
        Self::Celsius,
    ];

    /// The unit of that name, in whatever case: none of them differ by case alone.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|unit| unit.as_str().eq_ignore_ascii_case(name))
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "",
            Self::Bytes => "B",
            Self::Kibibytes => "KiB",
            Self::Mebibytes => "MiB",
            Self::Gibibytes => "GiB",
            Self::Tebibytes => "TiB",
            Self::Kilobytes => "kB",
            Self::Megabytes => "MB",
            Self::Gigabytes => "GB",
            Self::Terabytes => "TB",
            Self::Percent => "%",
            Self::Watts => "W",
            Self::Celsius => "C",
        }
    }

    /// How many of the metric's own unit it is. A percentage of a total is not told by this.
    pub(super) const fn factor(self) -> f64 {
        match self {
            Self::Bare | Self::Bytes | Self::Percent | Self::Watts | Self::Celsius => 1.0,
            Self::Kibibytes => 1024.0,
            Self::Mebibytes => 1024.0 * 1024.0,
            Self::Gibibytes => 1024.0 * 1024.0 * 1024.0,
            Self::Tebibytes => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            Self::Kilobytes => 1e3,
            Self::Megabytes => 1e6,
            Self::Gigabytes => 1e9,
            Self::Terabytes => 1e12,
        }
    }

    /// What it measures; none for a bare number, which takes the metric's.
    pub(super) const fn dimension(self) -> Option<Dimension> {
        match self {
            Self::Bare => None,
            Self::Percent => Some(Dimension::Percent),
            Self::Watts => Some(Dimension::Watts),
            Self::Celsius => Some(Dimension::Celsius),
            _ => Some(Dimension::Bytes),
        }
    }
}

/// An amount for people: `74.2 GiB`, `93.7 %`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount(pub(super) f64, pub(super) Dimension);

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, dimension) = *self;
        match dimension {
            Dimension::Bytes => bytes(value, out),
            Dimension::Percent => write!(out, "{value:.1} %"),
            Dimension::Celsius => write!(out, "{value:.1} C"),
            Dimension::Watts => write!(out, "{value:.1} W"),
            Dimension::Count | Dimension::Any => write!(out, "{value}"),
        }
    }
}

fn bytes(value: f64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    const STEPS: [Unit; 4] = [Unit::Tebibytes, Unit::Gibibytes, Unit::Mebibytes, Unit::Kibibytes];
    match STEPS.into_iter().find(|unit| value.abs() >= unit.factor()) {
        Some(unit) => write!(out, "{:.1} {}", value / unit.factor(), unit.as_str()),
        None => write!(out, "{value:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_users_expect() {
        for (name, bytes) in
            [("B", 1.0), ("KiB", 1024.0), ("kB", 1e3), ("gib", 1073741824.0), ("GB", 1e9), ("TB", 1e12)]
        {
            assert_eq!(Unit::named(name).unwrap().factor(), bytes, "{name}");
        }
        assert_eq!(Unit::named("G"), None, "GiB or GB?");
        assert_eq!(Unit::named(""), None);
        for unit in Unit::NAMED {
            assert_eq!(Unit::named(unit.as_str()), Some(unit));
        }
    }

    #[test]
    fn amounts_are_for_people() {
        for (amount, text) in [
            (Amount(79.0 * 1073741824.0, Dimension::Bytes), "79.0 GiB"),
            (Amount(-1536.0, Dimension::Bytes), "-1.5 KiB"),
            (Amount(512.0, Dimension::Bytes), "512 B"),
            (Amount(93.68, Dimension::Percent), "93.7 %"),
            (Amount(83.0, Dimension::Celsius), "83.0 C"),
            (Amount(0.001, Dimension::Any), "0.001"),
        ] {
            assert_eq!(amount.to_string(), text);
        }
    }
}
