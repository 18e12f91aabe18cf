//! Signals and the terminal of a command that `tidegauge-record` runs.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tidegauge_schemas::Table;
use tidegauge_tests::programs::{Running, wait_until};
use tidegauge_tests::signals::{COUNTED, READY};

use crate::launched::{Launched, send};

fn count(launched: &Launched, signal: i32) -> u64 {
    launched.counts().get(signal as usize)
}

#[test]
fn signals_are_passed_on_once() {
    let launched = Launched::new();
    let mut launcher = launched.start("signal-counter", &[]);
    let pid = launcher.id().cast_signed();
    for signal in COUNTED {
        send(pid, signal);
        wait_until("it has come", || count(&launched, signal) > 0);
    }
    // A signal is passed on before the next is taken: when this one has come, no second of the others will.
    send(pid, 40);
    wait_until("it has come", || count(&launched, 40) == 2);
    for signal in COUNTED.into_iter().filter(|signal| *signal != 40) {
        assert_eq!(count(&launched, signal), 1, "signal {signal}");
    }
    launched.end(7);
    assert_eq!(launcher.wait().unwrap().code(), Some(7), "{}", launched.errors());
}

#[test]
fn every_queued_signal_comes_with_its_value() {
    let launched = Launched::new();
    let mut launcher = launched.start("signal-counter", &[]);
    for _ in 0..50 {
        let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(5) };
        // SAFETY: it takes numbers; the pid is that of a child of this test.
        assert_eq!(unsafe { libc::sigqueue(launcher.id().cast_signed(), 40, value) }, 0);
    }
    wait_until("all have come", || count(&launched, 40) == 50);
    launched.end(1);
    launcher.wait().unwrap();
}

#[test]
fn the_dump_signal_is_not_passed_on() {
    let launched = Launched::new().option(&["--dump-signal", "USR2"]);
    let mut launcher = launched.start("signal-counter", &[]);
    let pid = launcher.id().cast_signed();
    for signal in [libc::SIGUSR2, libc::SIGUSR1] {
        send(pid, signal);
    }
    wait_until("the other has come", || count(&launched, libc::SIGUSR1) == 1);
    // Lower numbers are taken first; this one is taken after both.
    send(pid, 40);
    wait_until("the last has come", || count(&launched, 40) == 1);
    assert_eq!(count(&launched, libc::SIGUSR2), 0);
    launched.end(1);
    launcher.wait().unwrap();
}

#[test]
fn the_dump_signal_has_a_ring_written() {
    let launched = Launched::new().option(&["--ring", "1000", "--dump-signal", "USR2"]);
    let mut launcher = launched.start("environment-recorder", &["100000"]);
    let rows = || {
        let process = launched.process(0, 1);
        process.parts(Table::Events).iter().map(|part| part.rows).sum::<u64>()
    };
    assert_eq!(rows(), 0, "a ring is kept, not written");
    send(launcher.id().cast_signed(), libc::SIGUSR2);
    wait_until("the ring is written", || rows() >= 1000);
    launched.end(1);
    assert_eq!(launcher.wait().unwrap().code(), Some(0), "{}", launched.errors());
}

#[test]
fn a_signal_that_kills_the_command_is_returned() {
    let launched = Launched::new();
    let mut command = launched.command(&["sleep".as_ref(), "60".as_ref()]);
    let mut launcher = Running::start(command.stderr(Stdio::null()));
    wait_until("the command runs", || launched.living().len() == 2);
    send(launcher.id().cast_signed(), libc::SIGTERM);
    assert_eq!(launcher.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    let watched = launched.process(0, 0).info.unwrap().watched.unwrap();
    assert_eq!((watched.exit_code, watched.signal), (None, Some(libc::SIGTERM)));
}

#[test]
fn what_the_command_sends_to_its_own_group_does_not_come_back() {
    let launched = Launched::new();
    let script = "trap 'n=$((n+1))' USR1; kill -USR1 0; sleep 0.3; kill -USR1 0; sleep 0.3; exit $n";
    let mut command = launched.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    // A group of its own, of the launcher and the command.
    assert_eq!(command.process_group(0).stderr(Stdio::null()).status().unwrap().code(), Some(2));
}

/// A terminal, with what it has shown.
struct Terminal {
    master: File,
    shown: Arc<Mutex<Vec<u8>>>,
    is_gone: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts a command as the leader of a session with a terminal of its own.
    fn start(mut command: Command) -> (Self, Running) {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the descriptors are written before they are used, and nobody else's.
        let (master, slave) = unsafe {
            let none = std::ptr::null_mut();
            assert_eq!(libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()), 0);
            libc::fcntl(master, libc::F_SETFD, libc::FD_CLOEXEC);
            (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let terminal = slave.as_raw_fd();
        // SAFETY: calls that a forked child may make.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                libc::ioctl(terminal, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = Running::start(&mut command);
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (master.try_clone().unwrap(), shown.clone());
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = is_gone.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while !gone.load(Ordering::Acquire) {
                let mut ready = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: the call reads and writes that one structure.
                if unsafe { libc::poll(&raw mut ready, 1, 20) } == 0 {
                    continue;
                }
                let Ok(read @ 1..) = reader.read(&mut bytes) else { break };
                kept.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        (Self { master, shown, is_gone, reader }, child)
    }

    /// Closes it, as when a connection is lost.
    fn hang_up(self) {
        self.is_gone.store(true, Ordering::Release);
        self.reader.join().unwrap();
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }
}

#[test]
fn an_interrupt_from_the_terminal_reaches_the_command_once_and_ends_nothing() {
    let launched = Launched::new();
    let (mut terminal, mut launcher) = Terminal::start(launched.program("signal-counter", &[]));
    wait_until("the command is ready", || launched.counts().get(READY) > 0);
    let pid = launcher.id().cast_signed();
    terminal.type_in("\x03");
    wait_until("^C has come", || count(&launched, libc::SIGINT) > 0);
    terminal.type_in("\x1c");
    wait_until("^\\ has come", || count(&launched, libc::SIGQUIT) > 0);
    let size = libc::winsize { ws_row: 50, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads the structure.
    unsafe { libc::ioctl(terminal.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    wait_until("the change of size has come", || count(&launched, libc::SIGWINCH) > 0);
    send(pid, 40);
    wait_until("what was sent after them has come", || count(&launched, 40) == 1);
    let counts = [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH].map(|signal| count(&launched, signal));
    assert_eq!(counts, [1, 1, 1]);
    launched.end(3);
    assert_eq!(launcher.wait().unwrap().code(), Some(3), "{}", terminal.shown());
}

#[test]
fn a_terminal_that_is_gone_hangs_the_command_up() {
    let launched = Launched::new();
    let (terminal, mut launcher) = Terminal::start(launched.program("signal-counter", &[]));
    wait_until("the command is ready", || launched.counts().get(READY) > 0);
    // The kernel tells the leader of the session, which the launcher is.
    terminal.hang_up();
    wait_until("the hangup has come", || count(&launched, libc::SIGHUP) > 0);
    assert_eq!(count(&launched, libc::SIGHUP), 1);
    launched.end(3);
    assert_eq!(launcher.wait().unwrap().code(), Some(3));
}

#[test]
fn the_command_has_the_terminal() {
    let launched = Launched::new().option(&["-q"]);
    let script = "test -t 0 && test -t 1 && test -t 2 && read line < /dev/tty && echo \"got $line\"";
    let command = launched.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]);
    let (mut terminal, mut launcher) = Terminal::start(command);
    terminal.type_in("words\n");
    assert_eq!(launcher.wait().unwrap().code(), Some(0), "{}", terminal.shown());
    wait_until("it has answered", || terminal.shown().contains("got words"));
}

#[test]
fn a_shell_can_stop_and_continue_it() {
    let launched = Launched::new().option(&["-q"]);
    let inner = launched.program("signal-counter", &[]);
    let words: Vec<String> = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    // A shell with job control waits until the job is stopped, and goes on.
    let script = format!("{}; echo STOPPED; fg >/dev/null; echo ENDED $?", words.join(" "));
    let mut shell = Command::new("bash");
    shell.args(["--norc", "-m", "-c", &script]);
    for (name, value) in &launched.environment {
        shell.env(name, value);
    }
    let (mut terminal, mut shell) = Terminal::start(shell);
    wait_until("the command is ready", || launched.counts().get(READY) > 0);
    for round in 1..=1 {
        terminal.type_in("\x1a");
        wait_until("the shell sees it stopped", || terminal.shown().matches("STOPPED").count() == round);
        wait_until("fg continues it", || count(&launched, libc::SIGCONT) >= round as u64);
    }
    send(launched.pid(), libc::SIGUSR1);
    wait_until("the command runs", || count(&launched, libc::SIGUSR1) == 1);
    launched.end(9);
    shell.wait().unwrap();
    wait_until("the shell has its code", || terminal.shown().contains("ENDED 9"));
}

#[test]
fn a_command_that_is_stopped_alone_does_not_stop_the_launcher() {
    let launched = Launched::new();
    let mut launcher = launched.start("signal-counter", &[]);
    send(launched.pid(), libc::SIGSTOP);
    let state = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    wait_until("it is stopped", || state(launched.pid()) == 'T');
    send(launched.pid(), libc::SIGCONT);
    wait_until("it goes on", || count(&launched, libc::SIGCONT) == 1);
    assert_ne!(state(launcher.id().cast_signed()), 'T');
    launched.end(2);
    assert_eq!(launcher.wait().unwrap().code(), Some(2));
}
