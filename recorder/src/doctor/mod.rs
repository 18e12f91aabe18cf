//! What can be recorded here, and for what cannot, why and what to do. Looks only, and changes nothing.

mod devices;
mod host;

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::probes::NvmlProbe;

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

impl Status {
    /// The word in JSON and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
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

impl Check {
    fn works(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, status: Status::Works, finding: finding.into(), advice: None }
    }

    fn limited(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { name, status: Status::Limited, finding: finding.into(), advice }
    }

    fn missing(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Missing, ..Self::limited(name, finding, advice) }
    }
}

/// All that was looked at. Shown, it is a table; nothing in it is an error of the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
}

impl Report {
    /// An array of objects with `name`, `status` (`works`, `limited`, `missing`), `finding` and `advice` (null where
    /// there is nothing to do).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let check = |check: &Check| {
            json!({
                "name": check.name,
                "status": check.status.as_str(),
                "finding": check.finding,
                "advice": check.advice,
            })
        };
        self.checks.iter().map(check).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            writeln!(f, "{:7}  {:width$}  {}", check.status.as_str(), check.name, check.finding)?;
            if let Some(advice) = &check.advice {
                writeln!(f, "{:7}  {:width$}  → {advice}", "", "")?;
            }
        }
        Ok(())
    }
}

/// Looks at what recording stands on: here, and in `folder`, if traces are to go there.
#[must_use]
pub fn doctor(folder: Option<&Path>) -> Report {
    let mut checks = vec![host::clock(crate::ticks::source())];
    checks.extend(folder.map(host::folder));
    checks.extend([host::processes(), host::descriptors(), host::privileges()]);
    checks.extend(host::node());
    checks.extend(host::cgroup());
    checks.extend(devices::checks(NvmlProbe::open()));
    Report { checks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_and_an_array() {
        let report = Report {
            checks: vec![Check::works("clock", "good"), Check::missing("a device", "none", "plug one in")],
        };
        let expected = "works    clock     good\nmissing  a device  none\n                   → plug one in\n";
        assert_eq!(report.to_string(), expected);
        let expected = json!([
            {"name": "clock", "status": "works", "finding": "good", "advice": null},
            {"name": "a device", "status": "missing", "finding": "none", "advice": "plug one in"},
        ]);
        assert_eq!(report.to_json(), expected);
    }

    #[test]
    fn every_machine_gets_a_whole_report() {
        let folder = tempfile::tempdir().unwrap();
        let report = doctor(Some(&folder.path().join("not/made/yet")));
        let names = report.checks.iter().map(|check| check.name).collect::<Vec<_>>();
        for name in
            ["clock", "folder", "processes", "open files", "privileges", "node", "pressure", "control group"]
        {
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}: {names:?}");
        }
        assert!(names.contains(&"devices"), "{names:?}");
        for check in &report.checks {
            assert!(!check.finding.is_empty());
            assert_eq!(check.advice.is_none(), check.status == Status::Works, "{check:?}");
        }
        assert!(!folder.path().join("not").exists(), "it looks only");
    }
}
