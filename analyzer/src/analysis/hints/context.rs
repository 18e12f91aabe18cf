//! What hints are made from.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use crate::analysis::categories::{LiveAtPeak, PhaseMap};
use crate::analysis::summary::ProcessSummary;

/// All that is known of a process.
pub(crate) struct HintContext<'a> {
    pub(crate) summary: &'a ProcessSummary,
    pub(crate) config: &'a Map<String, Value>,
    pub(crate) phases: &'a PhaseMap,
    pub(crate) live: &'a [LiveAtPeak],
    pub(crate) site_names: &'a FxHashMap<u32, String>,
    pub(crate) modules: &'a FxHashSet<String>,
    /// Element types of the modules' parameters, as torch names them.
    pub(crate) dtypes: &'a FxHashSet<String>,
    /// What modules were called with, by path.
    pub(crate) input_bytes: &'a FxHashMap<String, i64>,
    /// Reserved and not active at the peak of reserved, by device.
    pub(crate) unused_bytes: &'a FxHashMap<i16, i64>,
    pub(crate) has_times: bool,
    /// Highest resident size by pid, of processes that were recorded from outside.
    pub(crate) rss_by_pid: &'a BTreeMap<u32, i64>,
}

impl HintContext<'_> {
    /// The batch size of all steps that tell it, else of the configuration.
    pub(crate) fn batch_size(&self) -> Option<i64> {
        self.summary.steps.batch_size.or_else(|| self.config.get("batch_size").and_then(Value::as_i64))
    }
}
