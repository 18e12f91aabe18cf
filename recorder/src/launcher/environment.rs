//! What the recorded command finds in its environment, so that recorders in it write into the same run.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::LaunchConfig;
use super::bootstrap::Bootstrap;
use crate::alerts;
use crate::environment::{
    ALERTS_VARIABLE, INTERVAL_VARIABLE, OWNER_VARIABLE, RING_VARIABLE, RUN_ID_VARIABLE, RUN_VARIABLE,
    WINDOWS_VARIABLE,
};

/// What recorders in the command are told.
#[derive(Debug, Clone, Default)]
pub struct InProcess {
    /// See [`crate::environment::INTERVAL_VARIABLE`].
    pub interval: Option<Duration>,
    /// See [`crate::environment::RING_VARIABLE`].
    pub ring: Option<u64>,
    /// See [`crate::environment::WINDOWS_VARIABLE`].
    pub windows: Option<String>,
}

/// The variables for a command that is recorded into `run`, and whose interpreters find `bootstrap`.
pub(crate) fn variables(
    run: &Path,
    run_id: &str,
    config: &LaunchConfig,
    bootstrap: Option<&Bootstrap>,
) -> Vec<(&'static str, OsString)> {
    let in_process = &config.in_process;
    let alerts = alerts::join(config.alerts.iter().filter(|alert| alert.needs_process()));
    // The command may go elsewhere.
    let run = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
    let mut variables = vec![(RUN_VARIABLE, run.into_os_string()), (RUN_ID_VARIABLE, run_id.into())];
    let interval = in_process.interval.map(|interval| match interval.as_micros() {
        micros if micros.is_multiple_of(1000) => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    });
    let others = [
        (INTERVAL_VARIABLE, interval),
        (RING_VARIABLE, in_process.ring.map(|records| records.to_string())),
        (WINDOWS_VARIABLE, in_process.windows.clone()),
        (ALERTS_VARIABLE, Some(alerts).filter(|alerts| !alerts.is_empty())),
    ];
    variables.extend(others.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
    variables.extend(bootstrap.into_iter().flat_map(Bootstrap::variables));
    // Whoever records where this launcher was started does not record what it starts.
    if std::env::var_os(OWNER_VARIABLE).is_some() {
        variables.push((OWNER_VARIABLE, OsString::new()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::Target;

    #[test]
    fn the_run_is_named_from_everywhere() {
        let mut config = LaunchConfig::new(Target::Process(1));
        config.in_process.interval = Some(Duration::from_millis(20));
        config.alerts = vec!["rss > 1GiB".parse().unwrap(), "allocated > 1GiB".parse().unwrap()];
        let variables = variables(Path::new("runs/a"), "id", &config, None);
        let run = std::env::current_dir().unwrap().join("runs/a");
        let expected = vec![
            (RUN_VARIABLE, run.into_os_string()),
            (RUN_ID_VARIABLE, "id".into()),
            (INTERVAL_VARIABLE, "20ms".into()),
            (ALERTS_VARIABLE, "allocated > 1GiB".into()),
        ];
        assert_eq!(variables, expected);
    }
}
