//! An operator of a profiler, in `process.json` of an imported recording.

use serde::{Deserialize, Serialize};

/// All calls of one operator, and the memory of one device in them: what a profiler's table sums up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Name, for instance `aten::mm`.
    pub name: String,
    /// −1 the host, 0… accelerators; `None` for one within which nothing was allocated.
    pub device: Option<i16>,
    /// How often it was called.
    pub calls: u64,
    /// Allocated − freed in the operator itself, without those that it called.
    pub self_bytes: i64,
    /// Allocated − freed in it and in those that it called.
    pub inclusive_bytes: i64,
    /// Allocated in the operator itself.
    pub self_allocated_bytes: i64,
    /// Allocated in it and in those that it called.
    pub inclusive_allocated_bytes: i64,
}
