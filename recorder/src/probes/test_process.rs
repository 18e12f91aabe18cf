//! A process that tests can tell what to do: this test program, started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What a child's answers begin with: the test harness prints lines of its own.
const ANSWER: &str = "answer:";

/// Set for a process that is to be told what to do.
const ROLE_VARIABLE: &str = "TIDEGAUGE_TEST_PROCESS";

/// A child of this test, or of another such process. It ends with the test, and so does all that it starts.
#[derive(Debug)]
pub(crate) struct TestProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl TestProcess {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .arg("probes::test_process::be_told_what_to_do")
            .env(ROLE_VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Self { child, input, output };
        assert_eq!(process.answer(), "ready");
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do something and returns what it answers when it is done.
    pub(crate) fn ask(&mut self, what: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
        self.answer()
    }

    /// The same, for something that starts a process: its pid.
    pub(crate) fn ask_for_pid(&mut self, what: &str) -> u32 {
        self.ask(what).parse().unwrap()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended");
            // The harness ends no line before the test's first.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim().to_owned();
            }
        }
    }

    /// Ends it and leaves it as a zombie.
    pub(crate) fn end_without_waiting(&mut self) {
        self.child.kill().unwrap();
        // Its end of the pipe is closed when it is gone.
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut self.output, &mut rest).unwrap();
        let stat = || super::process::stat_of(self.child.id()).unwrap();
        wait_until("a zombie", || stat().state == 'Z');
    }

    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so, looking every millisecond.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program that lives until its input ends.
fn waiting_program() -> Command {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

#[test]
#[ignore = "not a test: what other tests start"]
fn be_told_what_to_do() {
    if std::env::var_os(ROLE_VARIABLE).is_none() {
        return;
    }
    let answer = |text: &str| {
        println!("{ANSWER}{text}");
        std::io::stdout().flush().unwrap();
    };
    // What was started lives as long as this process holds the other end of its input.
    let (mut memory, mut children, mut inputs, mut nested) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    answer("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (word, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "touch" => {
                memory.push(vec![1_u8; argument.parse().unwrap()]);
                std::hint::black_box(&memory);
                answer("touched");
            }
            "forget" => {
                memory.clear();
                answer("forgotten");
            }
            "burn" => {
                let until = crate::ticks::thread_cpu_nanos() + argument.parse::<u64>().unwrap() * 1_000_000;
                while crate::ticks::thread_cpu_nanos() < until {}
                answer("burnt");
            }
            "thread" => {
                let (started, is_started) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    started.send(()).unwrap();
                    std::thread::park_timeout(Duration::from_secs(600));
                });
                is_started.recv().unwrap();
                answer("started");
            }
            "adopt_orphans" => {
                // SAFETY: sets an attribute of this process.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
                answer("adopted");
            }
            "start" => {
                children.push(waiting_program().spawn().unwrap());
                answer(&children.last().unwrap().id().to_string());
            }
            "start_session" => {
                let mut command = waiting_program();
                // SAFETY: setsid may be called between fork and exec.
                unsafe { command.pre_exec(begin_session) };
                children.push(command.spawn().unwrap());
                answer(&children.last().unwrap().id().to_string());
            }
            "start_orphan" => {
                // The shell ends at once and leaves its child to whom orphans go to.
                let script = "exec 3<&0; cat <&3 >/dev/null & echo $!";
                let mut shell = Command::new("sh");
                let shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut shell = shell.spawn().unwrap();
                let mut pid = String::new();
                BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
                inputs.push(shell.stdin.take());
                shell.wait().unwrap();
                answer(pid.trim());
            }
            "end_last" => {
                let mut child: Child = children.pop().unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                answer("ended");
            }
            "nest" => {
                nested.push(TestProcess::start());
                answer(&nested.last().unwrap().pid().to_string());
            }
            "tell_nested" => answer(&nested.last_mut().unwrap().ask(argument)),
            "end_nested" => {
                drop(nested.pop());
                answer("ended");
            }
            "come_and_go" => {
                for _ in 0..argument.parse().unwrap() {
                    assert!(Command::new("true").status().unwrap().success());
                }
                answer("done");
            }
            "become_another_program" => {
                answer("becoming");
                // Lives on under the same pid, until its input ends.
                panic!("{}", Command::new("cat").exec());
            }
            _ => panic!("{line}"),
        }
    }
    drop(nested);
    // The harness would complain that nobody listens any more.
    std::process::exit(0);
}

fn begin_session() -> std::io::Result<()> {
    // SAFETY: makes a session; a child that has just been forked leads no group.
    if unsafe { libc::setsid() } < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
