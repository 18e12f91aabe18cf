//! Calls and memory by operator, as `key_averages` of torch's profiler sums them up.
//!
//! As there, an operator that calls one of its own name besides others counts what is allocated in that twice, and what was
//! allocated outside of all operators stands under `[memory]`. Other than there, only what the operator's own thread
//! allocates counts, and Python functions take nothing from the operators and annotations around them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::recording::NameId;
use super::texts::Texts;
use crate::foreign::Operator;

/// Operators of which the profiler's table says nothing.
const HIDDEN: [&str; 6] = [
    "profiler::_record_function_enter",
    "profiler::_record_function_enter_new",
    "profiler::_record_function_exit",
    "aten::is_leaf",
    "aten::output_nr",
    "aten::_version",
];

/// What was allocated, by device: mostly there is none, or one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allocations(Vec<(i16, Sum)>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    /// Allocated − freed.
    net_bytes: i64,
    allocated_bytes: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.net_bytes = self.net_bytes.saturating_add(other.net_bytes);
        self.allocated_bytes = self.allocated_bytes.saturating_add(other.allocated_bytes);
    }
}

impl Allocations {
    pub(super) fn add(&mut self, device: i16, bytes: i64) {
        self.sum(device).add(Sum { net_bytes: bytes, allocated_bytes: bytes.max(0) });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (device, sum) in &other.0 {
            self.sum(*device).add(*sum);
        }
    }

    fn sum(&mut self, device: i16) -> &mut Sum {
        let at = self.0.iter().position(|(known, _)| *known == device).unwrap_or_else(|| {
            self.0.push((device, Sum::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    fn get(&self, device: i16) -> Sum {
        self.0.iter().find(|(known, _)| *known == device).map_or_else(Sum::default, |(_, sum)| *sum)
    }
}

#[derive(Debug, Default)]
struct Row {
    calls: u64,
    own: Allocations,
    inclusive: Allocations,
}

impl Row {
    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.own.merge(&other.own);
        self.inclusive.merge(&other.inclusive);
    }
}

/// Sums by operator.
#[derive(Debug, Default)]
pub(super) struct OperatorTable {
    rows: FxHashMap<NameId, Row>,
    outside: Row,
}

impl OperatorTable {
    /// A call that is over.
    pub(super) fn add(&mut self, name: NameId, own: &Allocations, inclusive: &Allocations) {
        let row = self.rows.entry(name).or_default();
        row.calls += 1;
        row.own.merge(own);
        row.inclusive.merge(inclusive);
    }

    /// An allocation outside of all operators.
    pub(super) fn outside(&mut self, device: i16, bytes: i64) {
        self.outside.calls += 1;
        self.outside.own.add(device, bytes);
        self.outside.inclusive.add(device, bytes);
    }

    /// By name, a row for each device; one without a device where nothing was allocated.
    pub(super) fn finish(self, names: &Texts) -> Vec<Operator> {
        let mut by_name: BTreeMap<String, Row> = BTreeMap::new();
        for (name, row) in &self.rows {
            let name = super::cursor::text(names.get(name.text()));
            let name = if name.starts_with("ProfilerStep#") { "ProfilerStep*".to_owned() } else { name };
            if !HIDDEN.contains(&&*name) {
                by_name.entry(name).or_default().merge(row);
            }
        }
        if self.outside.calls > 0 {
            by_name.entry("[memory]".to_owned()).or_default().merge(&self.outside);
        }
        let mut operators = Vec::new();
        for (name, row) in by_name {
            let mut devices: Vec<Option<i16>> =
                row.inclusive.0.iter().map(|(device, _)| Some(*device)).collect();
            devices.sort_unstable();
            if devices.is_empty() {
                devices.push(None);
            }
            operators.extend(devices.into_iter().map(|device| {
                let own = device.map_or_else(Sum::default, |device| row.own.get(device));
                let inclusive = device.map_or_else(Sum::default, |device| row.inclusive.get(device));
                Operator {
                    name: name.clone(),
                    device,
                    calls: row.calls,
                    self_bytes: own.net_bytes,
                    inclusive_bytes: inclusive.net_bytes,
                    self_allocated_bytes: own.allocated_bytes,
                    inclusive_allocated_bytes: inclusive.allocated_bytes,
                }
            }));
        }
        operators
    }
}
