//! The block that is printed when the command is over.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::child::ChildEnd;
use super::recording::Closed;
use crate::recover::Recovered;

/// All that the block says.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    /// `python3 train.py`, or `process 1234`.
    pub(crate) subject: String,
    /// How it ended; none if it runs on, or nobody can tell.
    pub(crate) end: Option<ChildEnd>,
    /// Whether it goes on without being recorded.
    pub(crate) runs_on: bool,
    pub(crate) duration: Duration,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) is_oom_killed: Option<bool>,
    pub(crate) closed: &'a Closed,
    pub(crate) recovered: &'a [Recovered],
}

impl Closing<'_> {
    /// The block, lines and all.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("tidegauge: {}{} {}\n", self.subject, self.how(), duration(self.duration));
        let mut row = |name: &str, value: &str| {
            // A string takes everything.
            let _ = writeln!(text, "  {name:<20}{value}");
        };
        row("peak RSS", &self.rss());
        for (index, device) in &self.closed.extremes.devices {
            let Some(used) = device.used_bytes.or(device.tree_used_bytes) else { continue };
            let of = device.total_bytes.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
            let own = device.tree_used_bytes.map(|own| format!("   (this program {})", bytes(own)));
            row(
                "peak device memory",
                &format!("gpu {index}: {}{of}{}", bytes(used), own.unwrap_or_default()),
            );
        }
        for (rule, times) in &self.closed.alerts {
            row("alert", &format!("{rule}   ({})", counted(*times, "time", "times")));
        }
        if !self.closed.notes.is_empty() {
            row("not recorded", &self.missing());
        }
        if !self.recovered.is_empty() {
            let records: u64 = self.recovered.iter().map(|process| process.records).sum();
            let processes = counted(
                self.recovered.len() as u64,
                "process that did not stop its recorder",
                "processes that did not stop their recorders",
            );
            row("sealed", &format!("{} of {processes}", counted(records, "record", "records")));
        }
        let run = word(&self.closed.run);
        match &self.closed.failure {
            None => {
                row("trace", &run);
                row("next", &format!("tidegauge summary {run}"));
            }
            Some(failure) => {
                row("trace", &format!("{run}: {failure}"));
                row("next", &format!("tidegauge-record recover {run}"));
            }
        }
        text
    }

    fn how(&self) -> String {
        if self.runs_on {
            return " runs on, recorded for".to_owned();
        }
        let oom = if self.is_oom_killed == Some(true) { ": the kernel was out of memory," } else { "" };
        match self.end {
            Some(ChildEnd::Exited(_)) if !oom.is_empty() => {
                let code = self.end.map_or(0, ChildEnd::exit_code);
                format!(" ended with {code}, a process of it was killed{oom} after")
            }
            Some(end @ ChildEnd::Exited(_)) => format!(" ended with {} after", end.exit_code()),
            Some(ChildEnd::Killed(signal)) => format!(" was killed by {}{oom} after", signal_name(signal)),
            None => " ended after".to_owned(),
        }
    }

    fn rss(&self) -> String {
        let extremes = &self.closed.extremes;
        let largest = self.peak_rss_bytes.map(|peak| peak as f64);
        // What was sampled is no higher than what was; of a single process the kernel kept the true peak.
        let known = [extremes.tree_rss_bytes, largest];
        let Some(peak) = known.into_iter().flatten().reduce(f64::max) else { return "unknown".to_owned() };
        let largest = largest.map(|largest| format!("largest process {}", bytes(largest)));
        let processes = Some(self.closed.tree.most_processes).filter(|count| *count > 1);
        let processes = processes.map(|count| format!("up to {count} processes"));
        let details: Vec<String> = largest.into_iter().chain(processes).collect();
        if details.is_empty() { bytes(peak) } else { format!("{}   ({})", bytes(peak), details.join("; ")) }
    }

    fn missing(&self) -> String {
        // A line for each would be longer than the rest: the trace has them.
        let first = self.closed.notes.first().map_or("", String::as_str);
        let first = first.split(';').next().unwrap_or(first);
        match self.closed.notes.len() {
            1 => first.to_owned(),
            more => format!("{first}   (and {} more, see `tidegauge-record doctor`)", more - 1),
        }
    }
}

/// The command, on one line.
pub(crate) fn subject(command: &[OsString]) -> String {
    const MOST: usize = 60;
    let line = command.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= MOST {
        return line;
    }
    line.chars().take(MOST - 1).chain(['…']).collect()
}

/// A path as a shell takes it.
fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "-_./+=:,@%".contains(c));
    if is_plain && !text.is_empty() {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 12] = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// Three digits and a binary unit.
fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.digits$} {}", UNITS.get(unit).unwrap_or(&"B"))
}

fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::launcher::extremes::DeviceExtremes;

    #[test]
    fn the_block_says_what_there_is_to_say() {
        let mut closed = Closed { run: PathBuf::from("runs/a"), ..Closed::default() };
        closed.extremes.tree_rss_bytes = Some(4.21 * (1u64 << 30) as f64);
        closed.tree.most_processes = 9;
        let gib = |gib: f64| Some(gib * (1u64 << 30) as f64);
        let device = DeviceExtremes { used_bytes: gib(71.3), total_bytes: gib(79.2), tree_used_bytes: None };
        closed.extremes.devices.insert(0, device);
        closed.notes = vec!["no pressure figures; mount cgroup2".to_owned(), "no swap".to_owned()];
        closed.alerts = vec![("rss > 4GiB".to_owned(), 2)];
        let closing = Closing {
            subject: subject(&["python3".into(), "train.py".into()]),
            end: Some(ChildEnd::Killed(libc::SIGKILL)),
            runs_on: false,
            duration: Duration::from_secs(723),
            peak_rss_bytes: Some(3_900 << 20),
            is_oom_killed: Some(true),
            closed: &closed,
            recovered: &[],
        };
        let expected = "\
tidegauge: python3 train.py was killed by SIGKILL: the kernel was out of memory, after 12 min 3 s
  peak RSS            4.21 GiB   (largest process 3.81 GiB; up to 9 processes)
  peak device memory  gpu 0: 71.3 GiB of 79.2 GiB
  alert               rss > 4GiB   (2 times)
  not recorded        no pressure figures   (and 1 more, see `tidegauge-record doctor`)
  trace               runs/a
  next                tidegauge summary runs/a
";
        assert_eq!(closing.text(), expected);
    }

    #[test]
    fn sizes_durations_and_paths_are_for_people() {
        let sizes =
            [(0.0, "0 B"), (1023.0, "1.00 KiB"), (1536.0, "1.50 KiB"), (1e9, "954 MiB"), (1e12, "931 GiB")];
        for (number, text) in sizes {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(duration(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(duration(Duration::from_secs(7384)), "2 h 3 min");
        assert_eq!(word(Path::new("runs/a b's")), "'runs/a b'\\''s'");
        assert_eq!(subject(&["x".repeat(100).into()]).chars().count(), 60);
    }
}
