//! `tidegauge-record -- CMD`: what it returns, what CMD inherits, what the trace says of CMD's processes.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{Table, Trace};
use tidegauge_tests::programs::{output_of, program, wait_until};

use crate::launched::{Launched, largest, lives, samples, send};

const MIB: f64 = (1 << 20) as f64;

#[test]
fn exit_codes_are_those_of_a_shell() {
    let launched = Launched::new();
    let returned = |script: &str| launched.shell(script).status.code();
    assert_eq!(returned("exit 0"), Some(0));
    assert_eq!(returned("exit 3"), Some(3));
    assert_eq!(returned("exit 255"), Some(255));
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV] {
        assert_eq!(returned(&format!("ulimit -c 0; kill -{signal} $$")), Some(128 + signal));
    }
    let code = |words: &[&str]| program("tidegauge-record").args(words).output().unwrap().status.code();
    let folder = launched.folder.path().display().to_string();
    let script = launched.folder.path().join("script");
    std::fs::write(&script, "exit 9\n").unwrap();
    let script = script.display().to_string();
    assert_eq!(code(&["-o", &folder, "--", "no-such-command"]), Some(127));
    assert_eq!(code(&["-o", &folder, "--", "/no/such/command"]), Some(127));
    assert_eq!(code(&["-o", &folder, "--", &script]), Some(126), "no permission");
    assert_eq!(code(&["-o", &folder, "--", "/"]), Some(126));
    for own in [&["--no-such-option", "--", "true"][..], &[], &["--interval", "5", "--", "true"], &["true"]] {
        assert_eq!(code(own), Some(125), "{own:?}");
    }
    assert_eq!(code(&["--version"]), Some(0));
    Command::new("chmod").args(["+x", &script]).status().unwrap();
    // Without `#!` it is the shell's, as when a shell starts it.
    assert_eq!(launched.command(&[script.as_ref()]).output().unwrap().status.code(), Some(9));
}

#[test]
fn a_command_that_is_not_there_leaves_no_trace() {
    let launched = Launched::new();
    let status = launched.command(&["no-such-command".as_ref()]).output().unwrap().status;
    assert_eq!(status.code(), Some(127));
    assert!(!launched.run.exists());
}

#[test]
fn standard_streams_and_environment_are_passed_on() {
    let launched = Launched::new();
    let mut command =
        launched.command(&["sh".as_ref(), "-c".as_ref(), "cat; echo to stderr >&2; env".as_ref()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    {
        use std::io::Write as _;
        child.stdin.take().unwrap().write_all(b"through stdin\n").unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let (out, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.starts_with("through stdin\n") && errors.starts_with("to stderr\n"), "{out}{errors}");
    let run_id = Trace::open(&launched.run).unwrap().info.run_id;
    assert!(out.contains(&format!("\nTIDEGAUGE={}\n", launched.run.display())), "{out}");
    assert!(out.contains(&format!("\nTIDEGAUGE_RUN_ID={run_id}\n")), "{out}");
    // A relative folder is one for the command as well, wherever that goes.
    let mut relative = program("tidegauge-record");
    relative.current_dir(launched.folder.path()).args(["-q", "-o", "b", "--ring", "5", "--windows", "1/10"]);
    let out = output_of(relative.args(["--interval", "20ms", "--", "sh", "-c", "cd /; env"]));
    assert!(out.contains(&format!("TIDEGAUGE={}/b\n", launched.folder.path().display())), "{out}");
    for variable in ["TIDEGAUGE_RING=5\n", "TIDEGAUGE_WINDOWS=1/10\n", "TIDEGAUGE_INTERVAL=20ms\n"] {
        assert!(out.contains(variable), "{out}");
    }
}

#[test]
fn the_closing_block_says_where_the_trace_is() {
    let launched = Launched::new();
    let errors = String::from_utf8(launched.shell("exit 3").stderr).unwrap();
    let run = launched.run.display();
    assert!(errors.starts_with("tidegauge: sh -c exit 3 ended with 3 after 0."), "{errors}");
    assert!(errors.contains(&format!("\n  trace               {run}\n")), "{errors}");
    assert!(errors.ends_with(&format!("\n  next                tidegauge summary {run}\n")), "{errors}");
    let quiet = Launched::new().option(&["-q"]);
    assert_eq!(String::from_utf8(quiet.shell("exit 3").stderr).unwrap(), "");
    // An existing trace is left alone.
    let again = String::from_utf8(launched.shell("true").stderr).unwrap();
    assert!(again.contains(&format!("\n  trace               {run}-2\n")), "{again}");
    let summary = output_of(program("tidegauge").arg("summary").arg(&launched.run));
    assert!(summary.contains("rank 0 process 0"), "{summary}");
}

/// The lines of `/proc/self/status` that tell of signals.
fn signal_lines(mut command: Command, prepare: fn()) -> Vec<String> {
    // SAFETY: what is prepared makes system calls only.
    unsafe {
        command.pre_exec(move || {
            prepare();
            Ok(())
        });
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names = ["SigBlk", "SigIgn", "SigCgt"];
    let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

#[test]
fn dispositions_and_mask_are_those_that_the_launcher_was_given() {
    fn nothing() {}
    fn as_nohup_and_others_do() {
        // SAFETY: calls that a forked child may make; the set is initialised before it is read.
        unsafe {
            for signal in [libc::SIGHUP, libc::SIGPIPE, libc::SIGCHLD, libc::SIGTTOU] {
                libc::signal(signal, libc::SIG_IGN);
            }
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGUSR1);
            libc::sigaddset(&raw mut set, libc::SIGWINCH);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        }
    }
    for prepare in [nothing, as_nohup_and_others_do] {
        let direct = || {
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            command
        };
        let launched = Launched::new();
        let recorded = launched.command(&["cat".as_ref(), "/proc/self/status".as_ref()]);
        let expected = signal_lines(direct(), prepare);
        assert_eq!(expected.len(), 3);
        assert_eq!(signal_lines(recorded, prepare), expected);
    }
}

#[test]
fn open_descriptors_are_those_that_the_launcher_was_given() {
    let launched = Launched::new().option(&["-q"]);
    let listed = |mut command: Command, closes: bool| {
        // SAFETY: calls that a forked child may make.
        unsafe {
            command.pre_exec(move || {
                for fd in [0, 1, 2].into_iter().filter(|_| closes) {
                    libc::close(fd);
                }
                Ok(())
            });
        }
        assert_eq!(command.status().unwrap().code(), Some(0), "closed: {closes}");
        let text = std::fs::read_to_string(launched.folder.path().join("list")).unwrap();
        // Pipes have other numbers each time.
        let name = |line: &str| line.split('[').next().unwrap_or_default().to_owned();
        text.lines().map(name).collect::<Vec<_>>()
    };
    // The shell's own descriptors, before it opens the list.
    let script =
        "for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done 5> list.new >&5; mv list.new list";
    let words: [&OsStr; 3] = ["sh".as_ref(), "-c".as_ref(), script.as_ref()];
    let direct = || {
        let mut command = Command::new("sh");
        command.args(&words[1..]).current_dir(launched.folder.path()).stdin(Stdio::null());
        command
    };
    for closes in [false, true] {
        let expected = listed(direct(), closes);
        assert!(!expected.is_empty());
        assert_eq!(listed(launched.command(&words), closes), expected, "closed: {closes}");
        Trace::open(&launched.run).unwrap().validate().unwrap();
        std::fs::remove_dir_all(&launched.run).unwrap();
    }
}

#[test]
fn what_the_trace_says_of_memory_is_what_the_kernel_says() {
    const MEBIBYTES: u64 = 200;
    let launched = Launched::new().option(&["--interval", "10ms"]);
    let mut launcher = launched.start("memory-toucher", &[&MEBIBYTES.to_string()]);
    let pid = launched.pid().cast_unsigned();
    wait_until("a sample of all of its memory", || {
        let rss = largest(&samples(&launched.process(0, 0), Table::Samples), "rss_bytes", Some(pid));
        rss.is_some_and(|rss| rss >= MEBIBYTES as f64 * MIB)
    });
    wait_until("a reading of the kernel's peak", || {
        let peak = largest(&samples(&launched.process(0, 0), Table::Samples), "peak_rss_bytes", Some(pid));
        peak.is_some_and(|peak| peak >= MEBIBYTES as f64 * MIB)
    });
    launched.end(1);
    assert!(launcher.wait().unwrap().success(), "{}", launched.errors());
    let truth = launched.counts().get(1) * 1024;
    assert!(truth >= MEBIBYTES << 20);
    let process = launched.process(0, 0);
    let watched = process.info.as_ref().unwrap().watched.clone().unwrap();
    assert_eq!((watched.pid, watched.exit_code, watched.signal), (pid, Some(0), None));
    let peak = watched.peak_rss_bytes.unwrap();
    // It touched a few pages more after it had asked.
    assert!((truth..truth + (1 << 20)).contains(&peak), "{peak} against {truth}");
    let rows = samples(&process, Table::Samples);
    let sampled = largest(&rows, "rss_bytes", Some(pid)).unwrap();
    assert!((sampled - truth as f64).abs() < MIB, "{sampled} against {truth}");
    assert!(largest(&rows, "tree_rss_bytes", None).unwrap() >= sampled);
    let kernel = largest(&rows, "peak_rss_bytes", Some(pid)).unwrap();
    assert!((kernel - truth as f64).abs() < MIB, "{kernel} against {truth}");
    assert_eq!(process.ended, Ended::Clean);
    let command = &process.info.as_ref().unwrap().command;
    assert!(command[0].ends_with("memory-toucher") && command.len() == 3, "{command:?}");
}

#[test]
fn a_small_command_is_not_taken_for_the_launcher_that_it_was_copied_from() {
    let launched = Launched::new();
    assert!(launched.command(&["true".as_ref()]).output().unwrap().status.success());
    let watched = launched.process(0, 0).info.unwrap().watched.unwrap();
    let own = |peak: u64| peak < 6 << 20;
    assert!(watched.peak_rss_bytes.is_none_or(own), "{watched:?}");
}

#[test]
fn all_processes_of_the_tree_are_found() {
    let launched = Launched::new().option(&["--interval", "10ms"]);
    let mut launcher = launched.start("tree-maker", &["64"]);
    let counts = launched.counts();
    wait_until("the tree is there", || counts.get(1) > 0 && counts.get(2) > 0);
    let pids = [0, 1, 2].map(|counter| u32::try_from(counts.get(counter)).unwrap());
    wait_until("all are sampled", || {
        let rows = samples(&launched.process(0, 0), Table::Samples);
        pids.iter().all(|pid| largest(&rows, "rss_bytes", Some(*pid)).is_some())
            && largest(&rows, "tree_processes", None) >= Some(3.0)
    });
    let before = counts.get(3);
    wait_until("children come and go", || counts.get(3) > before + 100);
    let zombies = |parent: u32| {
        let stats = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("stat")).ok());
        stats
            .filter(|stat| {
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(&format!("Z {parent} ")))
            })
            .count()
    };
    launched.end(1);
    assert!(launcher.wait().unwrap().success(), "{}", launched.errors());
    assert_eq!(zombies(launcher.id()), 0);
    let rows = samples(&launched.process(0, 0), Table::Samples);
    let orphan = largest(&rows, "rss_bytes", Some(pids[2])).unwrap();
    assert!(orphan >= 64.0 * MIB, "{orphan}");
    assert!(largest(&rows, "tree_rss_bytes", None).unwrap() >= 64.0 * MIB);
    let own = launcher.id();
    assert_eq!(largest(&rows, "rss_bytes", Some(own)), None, "the launcher is none of them");
}

#[test]
fn a_recorder_in_the_command_writes_into_the_same_run() {
    let launched = Launched::new();
    let mut launcher = launched.start("environment-recorder", &["1000"]);
    launched.end(1);
    assert!(launcher.wait().unwrap().success(), "{}", launched.errors());
    let trace = Trace::open(&launched.run).unwrap();
    trace.validate().unwrap();
    assert_eq!(trace.processes().len(), 2);
    assert!(!launched.folder.path().join("run-2").exists());
    let inside = launched.process(0, 1);
    let info = inside.info.as_ref().unwrap();
    assert_eq!(
        (info.pid, info.run_id.as_str()),
        (launched.pid().cast_unsigned(), trace.info.run_id.as_str())
    );
    assert_eq!(inside.ended, Ended::Clean);
    assert_eq!(inside.parts(Table::Events).iter().map(|part| part.rows).sum::<u64>(), 1000);
    assert!(launched.process(0, 0).info.unwrap().watched.is_some());
}

#[test]
fn what_a_dead_command_left_is_sealed() {
    for (how, code) in [(2, 2), (3, 128 + libc::SIGKILL)] {
        let launched = Launched::new();
        let mut launcher = launched.start("environment-recorder", &["100000"]);
        launched.end(how);
        assert_eq!(launcher.wait().unwrap().code(), Some(code));
        let inside = launched.process(0, 1);
        assert!(inside.journal().is_none() && inside.damage.is_empty(), "{:?}", inside.damage);
        assert_eq!(inside.ended, Ended::Killed);
        assert_eq!(inside.parts(Table::Events).iter().map(|part| part.rows).sum::<u64>(), 100_000);
        let errors = launched.errors();
        assert!(errors.contains("sealed"), "{errors}");
    }
}

#[test]
fn a_launcher_within_a_launcher_joins_its_run() {
    let launched = Launched::new().option(&["-q"]);
    let inner = format!("{} -q -- sh -c 'exit 4'", program("tidegauge-record").get_program().display());
    assert_eq!(launched.shell(&inner).status.code(), Some(4));
    let trace = Trace::open(&launched.run).unwrap();
    assert_eq!(trace.processes().len(), 2);
    assert!(!launched.folder.path().join("tidegauge-runs").exists());
}

#[test]
fn without_a_name_a_run_is_named_after_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program("tidegauge-record");
    command.env_remove("TIDEGAUGE").env_remove("TIDEGAUGE_RUN_ID");
    assert!(command.current_dir(folder.path()).args(["-q", "--", "true"]).status().unwrap().success());
    let names = crate::launched::names(&folder.path().join("tidegauge-runs"));
    assert_eq!(names.len(), 1);
    assert!(names.iter().all(|name| name.starts_with("true-20")), "{names:?}");
}

#[test]
fn a_folder_that_cannot_be_written_costs_the_trace_and_not_the_run() {
    let mut launched = Launched::new();
    // Not even the superuser makes folders there.
    launched.run = "/proc/tidegauge".into();
    let output = launched.shell("echo done; exit 5");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(5), &b"done\n"[..]), "{errors}");
    assert!(errors.contains("NOT RECORDING"), "{errors}");
    let strict = launched.option(&["--strict"]).shell("echo done; exit 5");
    assert_eq!((strict.status.code(), &*strict.stdout), (Some(125), &b""[..]));
}

#[test]
fn a_process_that_runs_already_is_attached_to() {
    let launched = Launched::new();
    let counts = launched.counts();
    let mut toucher = program("memory-toucher");
    let mut toucher =
        tidegauge_tests::programs::Running::start(toucher.arg(launched.counts_path()).arg("100"));
    wait_until("it is ready", || counts.get(tidegauge_tests::signals::READY) > 0);
    let attach = |extra: &[&str]| {
        let mut command = program("tidegauge-record");
        let pid = toucher.id().to_string();
        command.arg("-o").arg(&launched.run).args(["--interval", "10ms", "--pid", &pid]).args(extra);
        command.stderr(launched.errors_file());
        tidegauge_tests::programs::Running::start(&mut command)
    };
    // For a while.
    assert_eq!(attach(&["--duration", "300ms"]).wait().unwrap().code(), Some(0), "{}", launched.errors());
    assert!(launched.errors().contains("runs on"), "{}", launched.errors());
    let rows = samples(&launched.process(0, 0), Table::Samples);
    let pid = launched.pid().cast_unsigned();
    assert!(largest(&rows, "rss_bytes", Some(pid)).unwrap() >= 100.0 * MIB);
    std::fs::remove_dir_all(&launched.run).unwrap();
    let sampled = || {
        Trace::open(&launched.run).is_ok() && {
            let trace = Trace::open(&launched.run).unwrap();
            !trace.processes().is_empty() && !samples(&launched.process(0, 0), Table::Samples).is_empty()
        }
    };
    // Until it is told to stop.
    let mut attached = attach(&[]);
    wait_until("it is sampled", sampled);
    send(attached.id().cast_signed(), libc::SIGINT);
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    assert!(lives(pid), "it has nothing to do with the process");
    std::fs::remove_dir_all(&launched.run).unwrap();
    // Until the process ends.
    let mut attached = attach(&[]);
    wait_until("it is sampled", sampled);
    launched.end(1);
    toucher.wait().unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(0));
    let watched = launched.process(0, 0).info.unwrap().watched.unwrap();
    assert!(watched.peak_rss_bytes.unwrap() >= 100 << 20);
    let gone = program("tidegauge-record").args(["--pid", &pid.to_string()]).output().unwrap();
    assert_eq!(gone.status.code(), Some(125));
}

#[test]
fn sampling_ends_after_the_duration_and_the_command_goes_on() {
    let launched = Launched::new().option(&["--duration", "200ms", "--interval", "10ms"]);
    let mut launcher = launched.start("signal-counter", &[]);
    let count = || samples(&launched.process(0, 0), Table::Samples).len();
    wait_until("sampling has ended", || {
        let notes = launched.process(0, 0).info.unwrap().notes;
        notes.iter().any(|note| note.contains("--duration"))
    });
    let after = count();
    assert!(after > 0);
    send(launcher.id().cast_signed(), libc::SIGUSR1);
    wait_until("the command lives", || launched.counts().get(libc::SIGUSR1 as usize) == 1);
    launched.end(6);
    assert_eq!(launcher.wait().unwrap().code(), Some(6));
    // The kernel's peak is in `watched`.
    assert_eq!(count(), after);
}

#[test]
fn a_limit_on_the_size_of_files_costs_the_trace_and_not_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let record = program("tidegauge-record");
    let line = format!(
        "ulimit -f 100; exec {} -o {} -- sh -c 'echo ran; exit 7'",
        record.get_program().display(),
        folder.path().join("run").display()
    );
    let output = std::process::Command::new("bash").arg("-c").arg(line).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"ran\n");
}
