//! Arguments as they are typed, and how they become a plain configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tidegauge_recorder::Alert;
use tidegauge_recorder::launcher::{
    AtStart, InProcess, LaunchConfig, MIN_INTERVAL, OWN_ERROR, Target, signal_number,
};

/// Record the memory of any program: its processes, its devices, its node. Seal what a crash left
#[derive(Debug, Parser)]
#[command(
    name = "tidegauge-record",
    version,
    args_conflicts_with_subcommands = true,
    override_usage = "tidegauge-record [OPTIONS] -- CMD…\n       \
                      tidegauge-record [OPTIONS] --pid PID\n       \
                      tidegauge-record recover RUN\n       \
                      tidegauge-record doctor [FOLDER]",
    after_help = "Returns CMD's own exit code, 128 + n if signal n killed it, 125 for an error of its own, 126 if CMD \
                  cannot be executed and 127 if there is none."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) launch: Launch,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Seal the journal of a trace whose program crashed or was killed, so that other tools read it too
    Recover {
        /// Trace folder
        run: PathBuf,
    },
    /// Say what can be recorded here, and for what cannot, why and what to do
    Doctor {
        /// Where traces are to go
        folder: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Trace folder; by default the one that TIDEGAUGE names, else tidegauge-runs/NAME-TIME
    #[arg(short, long, value_name = "RUN")]
    output: Option<PathBuf>,
    /// How often to sample, 1ms or more; also for recorders in CMD [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    interval: Option<Duration>,
    /// Devices to sample, by NVML's number [default: all]
    #[arg(long, value_name = "N,N…", value_delimiter = ',')]
    device: Option<Vec<u32>>,
    /// Say when a threshold is crossed: 'gpu.used > 90%', 'rss > 40GiB', 'cgroup.used > 95% for 10s'; several
    #[arg(long, value_name = "EXPR")]
    alert: Vec<Alert>,
    /// Run this in a shell when an alert is raised; TIDEGAUGE_ALERT, _ALERT_VALUE and _RUN tell it which
    #[arg(long, value_name = "COMMAND")]
    on_alert: Option<OsString>,
    /// Record the process PID, which runs already, until it ends
    #[arg(long, value_name = "PID", conflicts_with = "cmd")]
    pid: Option<u32>,
    /// Sample for so long; CMD runs on afterwards
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// Take this signal from CMD, and have recorders in it write what they keep
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    dump_signal: Option<i32>,
    /// Have recorders in CMD keep their newest N records only
    #[arg(long, value_name = "N")]
    ring: Option<u64>,
    /// Have recorders in CMD record allocations of the first FIRST steps of an epoch and every EVERY-th after
    #[arg(long, value_name = "FIRST/EVERY", value_parser = windows)]
    windows: Option<String>,
    /// Have Python programs in CMD record by themselves, and torch in them: allocations, phases, modules
    #[arg(long, conflicts_with = "pid")]
    torch: bool,
    /// Do not start a CMD that cannot be recorded
    #[arg(long)]
    strict: bool,
    /// Print nothing at the end
    #[arg(short, long)]
    quiet: bool,
    /// What to run, after `--`
    #[arg(last = true, value_name = "CMD")]
    cmd: Vec<OsString>,
}

impl Launch {
    /// The configuration, or what to exit with and why.
    pub(crate) fn into_config(self, at_start: AtStart) -> Result<LaunchConfig, (u8, String)> {
        let target = match (self.pid, self.cmd) {
            (Some(pid), _) => Target::Process(pid),
            (None, cmd) if !cmd.is_empty() => Target::Command(cmd),
            _ => {
                let how = "nothing to record: tidegauge-record [OPTIONS] -- CMD…, or --pid PID (see --help)";
                return Err((OWN_ERROR, how.to_owned()));
            }
        };
        let in_process = InProcess { interval: self.interval, ring: self.ring, windows: self.windows };
        Ok(LaunchConfig {
            run: self.output,
            in_process,
            devices: self.device,
            alerts: self.alert,
            on_alert: self.on_alert,
            duration: self.duration,
            dump_signal: self.dump_signal,
            is_torch_recorded: self.torch,
            is_strict: self.strict,
            is_quiet: self.quiet,
            at_start,
            ..LaunchConfig::new(target)
        })
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = time(text)?;
    if interval < MIN_INTERVAL {
        return Err(format!("below {}ms the sampler would be what it measures", MIN_INTERVAL.as_millis()));
    }
    Ok(interval)
}

fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] =
        [("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let number = unit.and_then(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    number
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "a time is a number and a unit: 100ms, 60s, 5min, 1h".to_owned())
}

fn signal(text: &str) -> Result<i32, String> {
    signal_number(text).ok_or_else(|| "no signal that can be taken; USR2 is one".to_owned())
}

fn windows(text: &str) -> Result<String, String> {
    let windows = tidegauge_schemas::retention::Windows::parse(text);
    let expected = "two numbers, as in 10/100: the first 10 steps, and every 100th after (0: none after)";
    windows.map(|_| text.to_owned()).ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_command_is_what_stands_behind_the_dashes() {
        let line = ["tidegauge-record", "-o", "RUN", "--interval", "10ms", "--", "recover", "-o", "x"];
        let arguments = Arguments::try_parse_from(line).unwrap();
        let config = arguments.launch.into_config(AtStart::default()).unwrap();
        let command = ["recover", "-o", "x"].map(OsString::from).to_vec();
        assert_eq!(config.target, Target::Command(command));
        assert_eq!(config.run, Some(PathBuf::from("RUN")));
        assert_eq!(config.in_process.interval, Some(Duration::from_millis(10)));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("5min"), time("5m"));
        for text in ["", "5", "s", "-1s", "0s", "1 fortnight", "1e300h", "nans"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(interval("100us").is_err() && interval("1ms").is_ok());
        assert!(windows("10/100").is_ok() && windows("10/0").is_ok() && windows("a/b").is_err());
    }
}
