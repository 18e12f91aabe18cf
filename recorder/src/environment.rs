//! The environment of a program that is recorded, by which it is told how.
//!
//! A value that cannot be read is said and left out: the program is to run.

use std::time::Duration;

use tidegauge_schemas::retention::Windows;

use crate::alerts::split;
use crate::recorder::RecorderBuilder;
use crate::run_folder::say;

/// Folder to record into.
pub const RUN_VARIABLE: &str = "TIDEGAUGE";
/// Id of the run that a process of the same job has begun; its folder is then joined.
pub const RUN_ID_VARIABLE: &str = "TIDEGAUGE_RUN_ID";
/// How often memory is sampled: a number with `us`, `ms` or `s`.
pub const INTERVAL_VARIABLE: &str = "TIDEGAUGE_INTERVAL";
/// Keep only the newest so many records, see [`RecorderBuilder::ring`].
pub const RING_VARIABLE: &str = "TIDEGAUGE_RING";
/// `FIRST/EVERY`: keep only the allocations of chosen steps, see [`RecorderBuilder::windows`].
pub const WINDOWS_VARIABLE: &str = "TIDEGAUGE_WINDOWS";

/// Alerts that recorders in the process watch, separated by `;`, see [`RecorderBuilder::alert`].
pub const ALERTS_VARIABLE: &str = "TIDEGAUGE_ALERTS";
/// `PID:RANK` of the process that records because its environment asked for it, for its children, which then do not.
pub const OWNER_VARIABLE: &str = "TIDEGAUGE_OWNER";
/// `1`: Python programs record what torch does from the moment that they import it.
pub const TORCH_VARIABLE: &str = "TIDEGAUGE_TORCH";

/// What the environment says of a recorder, but for its folder.
pub(crate) fn apply(mut builder: RecorderBuilder) -> RecorderBuilder {
    if let Some(interval) = read(INTERVAL_VARIABLE, "a time as 100ms or 1s", parse_interval) {
        builder = builder.interval(interval);
    }
    if let Some(records) = read(RING_VARIABLE, "a number of records", |text| text.parse().ok()) {
        builder = builder.ring(records);
    }
    if let Some(windows) = read(WINDOWS_VARIABLE, "FIRST/EVERY as 2/50", Windows::parse) {
        builder = builder.windows(windows.first, windows.every);
    }
    match std::env::var(ALERTS_VARIABLE) {
        Ok(text) => alerts(builder, &text),
        Err(_) => builder,
    }
}

fn alerts(mut builder: RecorderBuilder, text: &str) -> RecorderBuilder {
    for alert in split(text) {
        match alert {
            Ok(alert) => builder = builder.alert(alert),
            Err(error) => say(&format!("{ALERTS_VARIABLE}: {error}; it is ignored")),
        }
    }
    builder
}

fn read<T>(name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let value = parse(text.trim());
    if value.is_none() {
        say(&format!("{name} is {text:?}, expected {expected}; it is ignored"));
    }
    value
}

fn parse_interval(text: &str) -> Option<Duration> {
    // What ends in `s` may also end in one of the others.
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units() {
        assert_eq!(parse_interval("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_interval("0.5s"), Some(Duration::from_millis(500)));
        for wrong in ["", "100", "ms", "-1s", "1e999s", "1h"] {
            assert_eq!(parse_interval(wrong), None, "{wrong}");
        }
    }
}
