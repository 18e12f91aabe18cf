//! The processes below one.

use super::Sink;

/// A process tree.
#[derive(Debug)]
pub(crate) struct ProcessTree {
    root_pid: u32,
}

impl ProcessTree {
    /// The tree of a process and all that it starts.
    pub(crate) fn new(root_pid: u32) -> Self {
        Self { root_pid }
    }

    /// The tree of all that a process starts, without itself.
    pub(crate) fn below(root_pid: u32) -> Self {
        Self { root_pid }
    }

    /// Leaves a process and what it starts out of the tree: a helper of the launcher.
    pub(crate) fn leave_out(&mut self, _pid: u32) {}

    pub(crate) fn discover(&mut self) {}

    pub(crate) fn sample(&mut self, _is_full: bool, _sink: &mut dyn Sink) {}

    pub(crate) fn contains(&self, pid: u32) -> bool {
        pid == self.root_pid
    }

    pub(crate) fn len(&self) -> usize {
        1
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.root_pid)
    }

    pub(crate) fn peak_rss_bytes(&self) -> Option<u64> {
        None
    }
}
