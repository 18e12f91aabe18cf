//! Whether pids mean here what they mean to the driver.

/// The namespace that pids of this process are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidNamespace {
    /// The one that the machine booted with, which NVML's pids are of.
    Initial,
    /// A container's: the same number names another process here.
    Inner,
    /// Nobody says.
    Unknown,
}

/// Inode of the initial namespace, fixed in the kernel (`PROC_PID_INIT_INO` in include/linux/proc_ns.h).
const INITIAL: &str = "pid:[4026531836]";

impl PidNamespace {
    /// Of this process.
    pub(crate) fn of_this_process() -> Self {
        let link = std::fs::read_link("/proc/self/ns/pid").ok();
        Self::parse(link.as_deref().and_then(std::path::Path::to_str))
    }

    fn parse(link: Option<&str>) -> Self {
        match link {
            Some(INITIAL) => Self::Initial,
            Some(link) if link.starts_with("pid:[") => Self::Inner,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_told_by_its_inode() {
        for (link, expected) in [
            (Some("pid:[4026531836]"), PidNamespace::Initial),
            (Some("pid:[4026532301]"), PidNamespace::Inner),
            (Some("[4026531836]"), PidNamespace::Unknown),
            (None, PidNamespace::Unknown),
        ] {
            assert_eq!(PidNamespace::parse(link), expected, "{link:?}");
        }
    }
}
