//! The launcher or its command is killed: what goes on, what stays, what is left.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{Running, output_of, program, say, wait_until};
use tidegauge_tests::signals::READY;

use crate::launched::{Launched, lives, samples, send};

/// Kills unless TIDEGAUGE_LAUNCHER_KILLS says otherwise.
const KILLS: u64 = 50;

#[test]
fn the_command_outlives_its_launcher_and_nothing_else_does() {
    let launched = Launched::new().option(&["--interval", "10ms"]);
    let mut launcher = launched.start("signal-counter", &[]);
    let command = launched.pid().cast_unsigned();
    wait_until("something is sampled", || !samples(&launched.process(0, 0), Table::Samples).is_empty());
    let before = samples(&launched.process(0, 0), Table::Samples);
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert_eq!(launched.living(), BTreeSet::from([command]), "the command alone");
    send(command.cast_signed(), libc::SIGUSR1);
    wait_until("the command goes on", || launched.counts().get(libc::SIGUSR1 as usize) == 1);
    let left = launched.process(0, 0);
    assert_eq!(left.ended, Ended::Killed);
    assert!(left.damage.is_empty(), "{:?}", left.damage);
    let after = samples(&left, Table::Samples);
    assert!(after.len() >= before.len() && after[..before.len()] == before[..]);
    let _ = output_of(program("tidegauge-record").arg("recover").arg(&launched.run));
    let recovered = launched.process(0, 0);
    assert!(recovered.journal().is_none());
    assert_eq!(samples(&recovered, Table::Samples), after);
    launched.end(1);
    wait_until("nothing is left", || launched.living().is_empty());
}

#[test]
fn a_second_launcher_takes_over_the_sampling_of_the_node() {
    let launched = Launched::new();
    let rank = |rank: u32| {
        let mut command = launched.command(&["sleep".as_ref(), "60".as_ref()]);
        let rank = rank.to_string();
        command.env("RANK", &rank).env("LOCAL_RANK", &rank).env("WORLD_SIZE", "2");
        Running::start(command.stderr(Stdio::null()))
    };
    let of_node = |rank: u32| {
        let trace = Trace::open(&launched.run).ok();
        let id = ProcessId { rank, process: 0 };
        let process =
            trace.filter(|trace| trace.processes().contains(&id)).and_then(|trace| trace.process(id).ok());
        process.map_or(0, |process| samples(&process, Table::NodeSamples).len())
    };
    let mut first = rank(0);
    wait_until("the first samples the node", || of_node(0) > 0);
    let mut second = rank(1);
    let seconds = |rank: u32| {
        let rows = samples(&launched.process(rank, 0), Table::Samples);
        rows.iter().filter(|row| row.metric == "sampler_cost_seconds").count()
    };
    let has_begun = || Trace::open(&launched.run).unwrap().processes().len() == 2;
    wait_until("the second has sampled for two seconds", || has_begun() && seconds(1) >= 3);
    assert_eq!(of_node(1), 0, "one at a time");
    first.kill().unwrap();
    first.wait().unwrap();
    wait_until("the second samples the node", || of_node(1) > 0);
    for pid in launched.living().into_iter().filter(|pid| *pid != second.id()) {
        send(pid.cast_signed(), libc::SIGTERM);
    }
    assert_eq!(second.wait().unwrap().code(), Some(128 + libc::SIGTERM));
}

/// A control group with a limit; removed when dropped.
pub(crate) struct Group {
    pub(crate) path: PathBuf,
    limit: &'static str,
}

impl Group {
    /// Of one test; none where this user may not make one.
    pub(crate) fn new(test: &str, limit_bytes: u64) -> Option<Self> {
        let name = format!("tidegauge-test-{test}-{}", std::process::id());
        let [one, two] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|root| Path::new(root).join(&name));
        let (path, limit) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            (one, "memory.limit_in_bytes")
        } else {
            (two, "memory.max")
        };
        std::fs::create_dir(&path).ok()?;
        let group = Self { path, limit };
        std::fs::write(group.path.join(limit), limit_bytes.to_string()).ok()?;
        Some(group)
    }

    /// So that the kernel kills nothing in it any more, be the disk ever so slow to take what was written.
    pub(crate) fn widen(&self) {
        std::fs::write(self.path.join(self.limit), (16_u64 << 30).to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that are over are not gone from it at once.
        wait_until("the group is empty", || std::fs::remove_dir(&self.path).is_ok());
    }
}

#[test]
fn an_oom_kill_is_told_from_another() {
    let Some(group) = Group::new("kill", 200 << 20) else {
        say("SKIPPED: this user may make no control group with a limit of memory");
        return;
    };
    let processes = group.path.join("cgroup.procs");
    for (how, ended, is_oom) in [(4, Ended::Oom, true), (3, Ended::Killed, false)] {
        let launched = Launched::new();
        let mut command = launched.program("environment-recorder", &["1000"]);
        let processes = processes.clone();
        // SAFETY: the child has one thread; it opens and writes a file.
        unsafe {
            command.pre_exec(move || std::fs::write(&processes, std::process::id().to_string()));
        }
        let mut launcher = Running::start(command.stderr(launched.errors_file()));
        wait_until("it has recorded", || launched.counts().get(READY) > 0);
        launched.end(how);
        assert_eq!(launcher.wait().unwrap().code(), Some(128 + libc::SIGKILL), "{}", launched.errors());
        let watched = launched.process(0, 0).info.unwrap().watched.unwrap();
        assert_eq!((watched.signal, watched.is_oom_killed), (Some(libc::SIGKILL), Some(is_oom)));
        assert_eq!(launched.process(0, 1).ended, ended);
        assert_eq!(launched.errors().contains("out of memory"), is_oom, "{}", launched.errors());
        group.widen();
    }
}

/// A number from 0 to 1 for each `number`, evenly spread however many are taken.
fn spread(number: u64) -> f64 {
    (number as f64 * 0.618_033_988_749_895).fract()
}

#[test]
fn whoever_is_killed_first_nothing_is_lost_and_nobody_is_left() {
    let kills = std::env::var("TIDEGAUGE_LAUNCHER_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let mut recovered_by_launchers = 0;
    for number in 0..kills {
        let launched = Launched::new().option(&["--interval", "5ms"]);
        let mut command = launched.program("environment-recorder", &["20000"]);
        let mut launcher = Running::start(command.stderr(launched.errors_file()));
        let counts = launched.counts();
        wait_until("it has recorded", || counts.get(READY) > 0);
        std::thread::sleep(std::time::Duration::from_millis(60).mul_f64(spread(number)));
        let child = launched.pid();
        // Neither, the launcher, the command, or both in either order.
        let order = spread(number * 7 + 3);
        let (kills_launcher, kills_child) = (order < 0.6, order > 0.3);
        if kills_launcher && order < 0.45 {
            launcher.kill().unwrap();
        }
        if kills_child {
            send(child, libc::SIGKILL);
        }
        if kills_launcher {
            launcher.kill().unwrap();
        }
        if !kills_child {
            launched.end(1);
        }
        let status = launcher.wait().unwrap();
        wait_until("the command is over", || !lives(child.cast_unsigned()));
        wait_until("nobody is left", || launched.living().is_empty());
        if status.code().is_some() {
            assert_eq!(
                status.code(),
                Some(if kills_child { 137 } else { 0 }),
                "{number}: {}",
                launched.errors()
            );
            recovered_by_launchers += u32::from(kills_child);
            assert!(launched.process(0, 0).journal().is_none() && launched.process(0, 1).journal().is_none());
        }
        let _ = output_of(program("tidegauge-record").arg("recover").arg(&launched.run));
        let inside = launched.process(0, 1);
        assert!(inside.damage.is_empty(), "{number}: {:?}", inside.damage);
        let rows: u64 = inside.parts(Table::Events).iter().map(|part| part.rows).sum();
        assert_eq!((rows, inside.losses().dropped_records), (20_000, 0), "{number}");
        Trace::open(&launched.run).unwrap().validate().unwrap();
    }
    say(&format!(
        "{kills} kills of launcher and command, {recovered_by_launchers} recovered by the launcher itself"
    ));
    assert!(recovered_by_launchers > 0 || kills < 10);
}
