//! The programs under test, as cargo has built them beside this test.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The program `name` of the workspace.
///
/// # Panics
/// If it has not been built: `cargo build --workspace` first, as `make test` does.
#[must_use]
pub fn program(name: &str) -> Command {
    Command::new(built(name))
}

/// What cargo has built under that file name.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    // …/target/PROFILE/deps/all-HASH → …/target/PROFILE/NAME
    let folder = test.ancestors().nth(2).map_or_else(PathBuf::new, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace` first, or `make test`",
        path.display()
    );
    path
}

/// A program that is killed when the test ends, whichever way it ends.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says something of a test that everybody is to see: what `println!` says is kept from those who look at a test that
/// passes.
pub fn say(line: &str) {
    use std::io::Write as _;
    // Nothing is lost if nobody listens.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A figure that the kernel keeps of this process in `/proc/self/status`, in KiB.
///
/// # Panics
/// If it keeps none of that name.
#[must_use]
pub fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    number.unwrap_or_else(|| panic!("/proc/self/status has no {name}"))
}

/// Runs a command and returns what it printed.
///
/// # Panics
/// If it cannot be run or fails.
#[must_use]
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}:\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is so, looking every millisecond.
///
/// # Panics
/// If it is not within a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
