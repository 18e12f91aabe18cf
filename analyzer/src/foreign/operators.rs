//! The profiler's operators: what `key_averages` sums up.

/// All calls of one operator, and the memory of one device in them.
#[derive(Debug, Clone, PartialEq, Eq)]
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
