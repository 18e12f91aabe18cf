//! What can be recorded here, and for what cannot, why and what to do.

use std::fmt;
use std::path::Path;

/// How well something works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should.
    Works,
    /// In part, or at a higher cost.
    Limited,
    /// Not at all.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How well it works.
    pub status: Status,
    /// What was found.
    pub finding: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
}

impl Report {
    /// An array of objects: `name`, `status`, `finding`, `advice`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Array(Vec::new())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Looks at what recording stands on: here, and in `folder` if traces are to go there.
#[must_use]
pub fn doctor(_folder: Option<&Path>) -> Report {
    Report { checks: Vec::new() }
}
