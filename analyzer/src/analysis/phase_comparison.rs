//! Runs against a base, phase by phase: a phase is compared with the one of the same name.

use tidegauge_schemas::layout::ProcessId;

use super::comparison::{Compared, ComparisonRow, PEAK_FLOOR, TIME_FLOOR, compared, floor};
use super::phase_figures::{PhaseFigure, PhaseMemoryFigure, Varying};
use super::run_figures::{ProcessFigures, RunFigures};

/// One phase of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedPhase {
    /// Name of the phase.
    pub phase: String,
    /// Name of the run.
    pub configuration: String,
    /// Process that it is of: the one whose peak the comparison shows.
    pub process: ProcessId,
    /// −1 the host, 0… accelerators: what the bytes are of; `None` where they are not known.
    pub device: Option<i16>,
    /// How often it ended.
    pub count: u64,
    /// Highest allocated inside.
    pub peak_bytes: Option<Compared>,
    /// Mean of (allocated at the end − at the begin), without the first step.
    pub change_bytes: Option<Compared>,
    /// Median time of one, nanoseconds.
    pub nanos: Option<Compared>,
}

/// The phases that the base shares with others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseComparison {
    /// Phase by phase in the order of the base's loop, the base first.
    pub rows: Vec<ComparedPhase>,
    /// What could not be aligned.
    pub notes: Vec<String>,
}

/// A run, its row, and the process that its phases are of.
struct Phased<'a> {
    row: &'a ComparisonRow,
    process: &'a ProcessFigures,
}

impl Phased<'_> {
    fn phase(&self, name: &str) -> Option<&PhaseFigure> {
        self.process.phases.iter().find(|phase| phase.phase == name)
    }

    /// What memory did, on the device whose peak is shown and if that is one of allocated.
    fn memory(&self, phase: &PhaseFigure) -> Option<PhaseMemoryFigure> {
        let peak = self.row.peak.as_ref()?;
        let is_of = peak.measure.is_allocated() && peak.process == self.process.id;
        phase.memory.iter().copied().find(|memory| is_of && memory.device == peak.device)
    }

    fn compared(&self, phase: &PhaseFigure, base: Option<&ComparedPhase>) -> ComparedPhase {
        let memory = self.memory(phase);
        let of_base = |figure: fn(&ComparedPhase) -> Option<Compared>| base.and_then(figure);
        let of = |figure: Varying, base: Option<Compared>, floor: i64| {
            compared(figure.value, figure.deviation, base, floor)
        };
        let (base_peak, base_nanos) = (of_base(|base| base.peak_bytes), of_base(|base| base.nanos));
        let memory_floor = floor(base_peak, PEAK_FLOOR);
        ComparedPhase {
            phase: phase.phase.clone(),
            configuration: self.row.configuration.clone(),
            process: self.process.id,
            device: memory.map(|memory| memory.device),
            count: phase.count,
            peak_bytes: memory.map(|memory| of(memory.peak_bytes, base_peak, memory_floor)),
            // A change may be nothing: the floor is a part of the memory that there is.
            change_bytes: memory
                .map(|memory| of(memory.change_bytes, of_base(|base| base.change_bytes), memory_floor)),
            nanos: phase.nanos.map(|nanos| of(nanos, base_nanos, floor(base_nanos, TIME_FLOOR))),
        }
    }
}

/// Compares the phases of `runs`, of which `rows` are the comparison, with those of the first of them.
#[must_use]
pub fn phase_comparison(runs: &[RunFigures], rows: &[ComparisonRow]) -> PhaseComparison {
    let phased: Vec<Option<Phased<'_>>> = runs
        .iter()
        .zip(rows)
        .map(|(run, row)| Some(Phased { row, process: phased_process(run, row)? }))
        .collect();
    let mut notes = Vec::new();
    let without: Vec<String> = rows
        .iter()
        .zip(&phased)
        .filter(|(_, phased)| phased.is_none())
        .map(|(row, _)| format!("`{}`", row.configuration))
        .collect();
    if without.len() < rows.len() && !without.is_empty() {
        notes.push(format!("{}: no phases are known, nothing is compared by phase", without.join(", ")));
    }
    let Some((Some(base), others)) = phased.split_first() else {
        return PhaseComparison { rows: Vec::new(), notes };
    };
    let others: Vec<&Phased<'_>> = others.iter().flatten().collect();
    let measure = |of: &Phased<'_>| of.row.peak.as_ref().map(|peak| peak.measure);
    let mut found = Vec::new();
    for phase in &base.process.phases {
        let mut sharing =
            others.iter().filter_map(|other| Some((other, other.phase(&phase.phase)?))).peekable();
        if sharing.peek().is_none() {
            continue;
        }
        let of_base = base.compared(phase, None);
        found.push(of_base.clone());
        found.extend(sharing.map(|(other, own)| {
            let is_alike = measure(other) == measure(base);
            // Of unlike memory, times can be compared all the same.
            let against = ComparedPhase {
                peak_bytes: of_base.peak_bytes.filter(|_| is_alike),
                change_bytes: of_base.change_bytes.filter(|_| is_alike),
                ..of_base.clone()
            };
            other.compared(own, Some(&against))
        }));
    }
    for other in &others {
        let name = &other.row.configuration;
        if let Some(missing) = only_in(base, other) {
            notes.push(format!("`{name}` has no phase {missing}, as the base has"));
        }
        if let Some(own) = only_in(other, base) {
            notes.push(format!("`{name}` has a phase {own}, which the base has not"));
        }
    }
    PhaseComparison { rows: found, notes }
}

/// Names of phases that one has and the other has not.
fn only_in(one: &Phased<'_>, other: &Phased<'_>) -> Option<String> {
    let names = one.process.phases.iter().map(|phase| phase.phase.as_str());
    let alone: Vec<&str> = names.filter(|name| other.phase(name).is_none()).collect();
    (!alone.is_empty()).then(|| alone.join(", "))
}

/// The process whose peak is shown; where that has no phases, as a launcher's, the one whose steps are.
fn phased_process<'a>(run: &'a RunFigures, row: &ComparisonRow) -> Option<&'a ProcessFigures> {
    let of = |id: Option<ProcessId>| {
        run.processes.iter().find(|process| Some(process.id) == id && !process.phases.is_empty())
    };
    of(row.peak.as_ref().map(|peak| peak.process))
        .or_else(|| of(row.steps_of))
        .or_else(|| run.processes.iter().find(|process| !process.phases.is_empty()))
}

#[cfg(test)]
#[path = "phase_comparison_tests.rs"]
mod tests;
