//! A program that is stopped at each of its system calls that change files, so that it can be killed between any two:
//! what a kill leaves then depends on no timing.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

/// How a traced program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracedEnd {
    /// Killed as it was about to make its call of that name.
    KilledBefore(&'static str),
    /// By itself, after so many calls; true if with status 0.
    After(u64, bool),
}

/// The calls that change files. A store to a mapping would be another way; what is traced here must not use it.
const CHANGING: &[(libc::c_long, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    // Other architectures have the calls above only.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
];

/// Runs a program of one thread and kills it as it is about to make its `kill_at`-th call (from 0) that changes files.
///
/// # Errors
/// If it cannot be started or traced; some containers forbid the latter.
pub fn run_traced(command: &mut Command, kill_at: u64) -> io::Result<TracedEnd> {
    // SAFETY: between fork and exec this makes one system call.
    unsafe {
        command.pre_exec(|| {
            if libc::ptrace(libc::PTRACE_TRACEME) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let pid = child.id().cast_signed();
    let end = follow(pid, kill_at);
    // It is dead or about to be, and waited for already unless following it failed.
    let _ = child.kill();
    let _ = child.wait();
    end
}

fn follow(pid: libc::pid_t, kill_at: u64) -> io::Result<TracedEnd> {
    wait(pid)?;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    // SAFETY: the child is stopped and traced by this thread; the request takes a number.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options as libc::c_long) })?;
    let mut calls = 0;
    let mut signal = 0;
    loop {
        // SAFETY: as above; the number is a signal to deliver, or 0.
        check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, libc::c_long::from(signal)) })?;
        let status = wait(pid)?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            let is_fine = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return Ok(TracedEnd::After(calls, is_fine));
        }
        let stopped_by = libc::WSTOPSIG(status);
        signal = 0;
        if stopped_by != libc::SIGTRAP | 0x80 {
            signal = stopped_by;
        } else if let Some(name) = changing_call(pid)? {
            if calls == kill_at {
                // SAFETY: the child is ours and not waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                wait(pid)?;
                return Ok(TracedEnd::KilledBefore(name));
            }
            calls += 1;
        }
    }
}

/// The name of the call that the stopped child is about to make, if it changes files.
fn changing_call(pid: libc::pid_t) -> io::Result<Option<&'static str>> {
    // SAFETY: the structure is plain numbers.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let bytes = size_of_val(&info);
    // SAFETY: the child is stopped; the kernel writes no more than `bytes`.
    check(unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, bytes, &raw mut info) })?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: at the entry of a call, this is what the kernel has filled in.
    let call = unsafe { info.u.entry };
    let Some((number, name)) = CHANGING.iter().find(|(number, _)| *number as u64 == call.nr) else {
        return Ok(None);
    };
    let flags = match *number {
        libc::SYS_openat => call.args[2],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => call.args[1],
        _ => return Ok(Some(name)),
    };
    Ok((flags & libc::O_CREAT as u64 != 0).then_some(*name))
}

fn wait(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    if unsafe { libc::waitpid(pid, ptr::from_mut(&mut status), 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(status)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
