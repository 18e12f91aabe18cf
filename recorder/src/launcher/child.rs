//! The recorded command: found, started with what the launcher inherited, and how it ended.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::LaunchError;
use super::inherited::Inherited;

/// Where a program is looked for when there is no PATH: what the C library does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildEnd {
    Exited(i32),
    Killed(i32),
}

impl ChildEnd {
    /// From what `wait` says, of a process that is over.
    pub(crate) fn of_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }

    /// What a shell would return.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => (code & 0xFF) as u8,
            Self::Killed(signal) => 128 + (signal & 0x7F) as u8,
        }
    }

    pub(crate) fn code(self) -> Option<i32> {
        matches!(self, Self::Exited(_)).then(|| i32::from(self.exit_code()))
    }

    pub(crate) fn signal(self) -> Option<i32> {
        if let Self::Killed(signal) = self { Some(signal) } else { None }
    }
}

/// Whether `program` will be found and may be executed: asked before a trace is begun for it. Exec has the last word.
pub(crate) fn look_for(program: &OsStr) -> Result<(), LaunchError> {
    let denied = || {
        let source = io::Error::from_raw_os_error(libc::EACCES);
        LaunchError::NotExecutable { program: program.to_owned(), source }
    };
    let is_path = program.as_bytes().contains(&b'/');
    let candidates: Vec<PathBuf> = if is_path {
        vec![PathBuf::from(program)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
        std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    let mut is_there = false;
    for candidate in candidates {
        match is_executable(&candidate) {
            Ok(true) => return Ok(()),
            Ok(false) => is_there = true,
            // Of a folder of PATH that may not be looked into nobody knows whether it is there.
            Err(error) => is_there |= is_path && error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    if is_there { Err(denied()) } else { Err(LaunchError::NotFound { program: program.to_owned() }) }
}

fn is_executable(path: &Path) -> io::Result<bool> {
    let file = std::fs::metadata(path)?;
    // Whose permission it is, exec will say.
    Ok(file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Starts the command with these variables, in this process group and with this terminal; its pid. It is not killed when
/// this process dies.
pub(crate) fn spawn(
    command: &[OsString],
    variables: &[(&'static str, OsString)],
    inherited: Inherited,
) -> Result<libc::pid_t, LaunchError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(LaunchError::NotFound { program: OsString::new() });
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    // Rust gives a child an empty mask and a default SIGPIPE; this runs after that, and sets both as they were.
    let as_it_was = move || {
        // SAFETY: this is the forked child.
        unsafe { inherited.restore() };
        Ok(())
    };
    // SAFETY: the closure makes system calls that a forked child may make, and touches no lock and no heap.
    unsafe { command.pre_exec(as_it_was) };
    match command.spawn() {
        Ok(child) => Ok(child.id().cast_signed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LaunchError::NotFound { program: program.clone() })
        }
        Err(source) if matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
            Err(LaunchError::System { what: "cannot start a process", source })
        }
        Err(source) => Err(LaunchError::NotExecutable { program: program.clone(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_return() {
        assert_eq!(ChildEnd::Exited(3).exit_code(), 3);
        assert_eq!(ChildEnd::Killed(libc::SIGKILL).exit_code(), 137);
        assert_eq!((ChildEnd::Exited(3).code(), ChildEnd::Exited(3).signal()), (Some(3), None));
        assert_eq!((ChildEnd::Killed(9).code(), ChildEnd::Killed(9).signal()), (None, Some(9)));
    }

    #[test]
    fn programs_are_looked_for_as_exec_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        std::fs::write(&file, "").unwrap();
        assert!(look_for(OsStr::new("sh")).is_ok());
        assert!(look_for(OsStr::new("/bin/sh")).is_ok());
        assert_eq!(look_for(OsStr::new("no-such-command")).unwrap_err().exit_code(), 127);
        assert_eq!(look_for(OsStr::new("/no/such/command")).unwrap_err().exit_code(), 127);
        assert_eq!(look_for(file.as_os_str()).unwrap_err().exit_code(), 126);
        assert_eq!(look_for(folder.path().as_os_str()).unwrap_err().exit_code(), 126);
    }
}
