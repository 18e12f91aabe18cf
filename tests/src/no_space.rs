//! A full disk for one process: the kernel answers its writes with ENOSPC.
//!
//! The recorder makes system calls of its own, so that a library put before the C library would not be asked. A
//! seccomp filter is, needs no privilege, and holds for every thread until the process ends.

use std::io;

use libc::{sock_filter, sock_fprog};

/// From `linux/audit.h`: the calling convention that the numbers of system calls are of.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

/// Calls that need space whatever they are called with.
const RESERVING: [libc::c_long; 1] = [libc::SYS_fallocate];
/// Calls that write to the descriptor which is their first argument.
const WRITING: [libc::c_long; 4] = [libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev, libc::SYS_pwritev];

/// Offsets in `struct seccomp_data`; of an argument, the low half.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;

/// From here on no thread of this process can reserve space, or write to a file but for the standard streams.
///
/// # Errors
/// If the kernel does not take the filter.
pub fn begin() -> io::Result<()> {
    let mut filter = filter();
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the first call takes numbers, the second reads the program, which lives until it returns.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} has a filter of its own"))),
    }
}

fn filter() -> Vec<sock_filter> {
    let load = |at| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    let answer = |answer| statement(libc::BPF_RET | libc::BPF_K, answer);
    let skip_unless = |comparison, value, instructions| sock_filter {
        jf: instructions,
        ..statement(libc::BPF_JMP | comparison | libc::BPF_K, value)
    };
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let refuse = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSPC.cast_unsigned());

    let mut filter =
        vec![load(ARCH_AT), sock_filter { jt: 1, ..skip_unless(libc::BPF_JEQ, AUDIT_ARCH, 0) }, allow];
    filter.push(load(NUMBER_AT));
    for call in RESERVING {
        filter.extend([skip_unless(libc::BPF_JEQ, call as u32, 1), refuse]);
    }
    for call in WRITING {
        filter.extend([
            skip_unless(libc::BPF_JEQ, call as u32, 4),
            load(FIRST_ARGUMENT_AT),
            skip_unless(libc::BPF_JGT, libc::STDERR_FILENO.cast_unsigned(), 1),
            refuse,
            allow,
        ]);
    }
    filter.push(allow);
    filter
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
