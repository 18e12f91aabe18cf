//! What `/proc/PID/stat` and `/proc/PID/status` say, parsed.

/// `/proc/PID/stat`, without what nobody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    /// `R`, `S`, …; `Z` for one that has ended and was not waited for.
    pub(crate) state: char,
    pub(crate) parent_pid: u32,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// User and system time, clock ticks.
    pub(crate) cpu_ticks: u64,
    pub(crate) threads: u64,
    /// Start, in clock ticks since boot: tells the process from another that gets its pid later.
    pub(crate) start_ticks: u64,
}

impl ProcessStat {
    /// The name, which is second, may hold blanks, brackets and any bytes: what counts comes after the last bracket.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
        // Numbered as in proc(5), where the state is the third.
        let field = |number: usize| rest.split_ascii_whitespace().nth(number.checked_sub(3)?);
        let number = |field_number: usize| field(field_number)?.parse::<u64>().ok();
        Some(Self {
            state: field(3)?.chars().next()?,
            parent_pid: field(4)?.parse().ok()?,
            minor_faults: number(10)?,
            major_faults: number(12)?,
            cpu_ticks: number(14)?.checked_add(number(15)?)?,
            threads: number(20)?,
            start_ticks: number(22)?,
        })
    }
}

/// A figure of `/proc/PID/status` that is given in kB, in bytes; none for a process without memory of its own.
pub(crate) fn status_bytes(text: &[u8], name: &str) -> Option<u64> {
    let line = text
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    let kib = std::str::from_utf8(line).ok()?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";

    #[test]
    fn a_stat_is_parsed_whatever_the_name() {
        let expected = ProcessStat {
            state: 'S',
            parent_pid: 1,
            minor_faults: 7,
            major_faults: 9,
            cpu_ticks: 11 + 12,
            threads: 17,
            start_ticks: 19,
        };
        for name in [&b"cat"[..], b"a b", b") R 5 (", b"\xff\xfe", b"", b"line\nbreak)"] {
            let text = [b"77 (", name, b") ", REST.as_bytes(), b"\n"].concat();
            assert_eq!(ProcessStat::parse(&text), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn garbage_is_no_stat() {
        for text in
            ["", "1 (x", "1 (x)", "1 (x) S", "1 (x) S -1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"]
        {
            assert_eq!(ProcessStat::parse(text.as_bytes()), None, "{text}");
        }
        let too_large = REST.replace(" 11 12 ", " 18446744073709551615 12 ");
        assert_eq!(ProcessStat::parse(format!("1 (x) {too_large}").as_bytes()), None);
        assert_eq!(ProcessStat::parse(b"1 (x) S 1 2\xff 3"), None);
    }

    #[test]
    fn a_status_is_searched_line_by_line() {
        let text =
            b"Name:\tVmHWM:\nGroups:\t1 2\nVmHWM:\t    12 kB\nVmSwap:\t18446744073709551615 kB\nVmLck:\t4\n";
        for (name, bytes) in
            [("VmHWM", Some(12 * 1024)), ("VmSwap", None), ("VmLck", None), ("Vm", None), ("", None)]
        {
            assert_eq!(status_bytes(text, name), bytes, "{name}");
        }
    }
}
