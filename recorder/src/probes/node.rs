//! The whole node.

use super::Sink;

/// Memory, swap and processors of the node.
#[derive(Debug)]
pub(crate) struct NodeProbe;

impl NodeProbe {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn sample(&mut self, _sink: &mut dyn Sink) {}
}
