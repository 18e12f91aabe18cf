//! The course that memory usually takes through a step, and where a run departs from it.
//!
//! A batch is small; forward goes up by what it keeps for backward; backward gives that back, and leaves gradients at most;
//! an optimizer's step changes nothing once its state is there; zero_grad gives gradients back or leaves them.

use super::phase_table::{PhaseMemory, PhaseRow};
use crate::replay::PhaseClass;

/// What is less than this part of the highest peak is small.
const SMALL_SHARE: f64 = 0.05;

/// How the phases of one device go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasePattern {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The phase with the highest peak inside.
    pub peak_phase: String,
    /// How high that is.
    pub peak_bytes: i64,
    /// Where it is unlike what is usual.
    pub departures: Vec<Departure>,
    /// Whether there are forward and backward, without which there is no pattern to depart from.
    pub is_training: bool,
}

/// One way of being unlike what is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The phase.
    pub phase: String,
    /// Which one.
    pub kind: DepartureKind,
    /// Mean change of allocated over the phase, or of forward and backward together.
    pub delta_bytes: i64,
}

/// Ways of being unlike what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepartureKind {
    /// Batches take much.
    LargeData,
    /// Forward keeps nothing for backward.
    FlatForward,
    /// Backward does not give back what forward kept, not even but for gradients.
    UnreturnedBackward,
    /// The optimizer keeps more with each step.
    GrowingOptimizer,
    /// An evaluation keeps what it allocated.
    KeepingEvaluation,
}

/// The pattern of each device, as far as there are phases with memory.
#[must_use]
pub fn phase_pattern(rows: &[PhaseRow]) -> Vec<PhasePattern> {
    let with_memory = || rows.iter().filter_map(|row| Some((row, row.memory.as_ref()?)));
    let mut devices: Vec<i16> = with_memory().map(|(_, memory)| memory.device).collect();
    devices.dedup();
    devices
        .into_iter()
        .filter_map(|device| of_device(with_memory().filter(|(_, memory)| memory.device == device).collect()))
        .collect()
}

fn of_device(rows: Vec<(&PhaseRow, &PhaseMemory)>) -> Option<PhasePattern> {
    let (highest, memory) = rows.iter().copied().max_by_key(|(_, memory)| memory.peak_bytes)?;
    let small_bytes = (memory.peak_bytes as f64 * SMALL_SHARE) as i64;
    let class = |row: &PhaseRow| PhaseClass::of(&row.phase);
    let sum = |wanted: PhaseClass| -> Option<(&str, i64, u64)> {
        let of_class = || rows.iter().filter(|(row, _)| class(row) == Some(wanted));
        let (first, _) = of_class().next()?;
        // Phases of one class that are nested are not told apart here; the largest has the word.
        let (row, largest) = of_class().max_by_key(|(_, memory)| memory.mean_delta_bytes.abs())?;
        let count = row.count.max(first.count);
        Some((&row.phase, largest.mean_delta_bytes, count))
    };
    let (forward, backward) = (sum(PhaseClass::Forward), sum(PhaseClass::Backward));
    let mut departures = Vec::new();
    let mut depart = |phase: &str, kind, delta_bytes| {
        departures.push(Departure { phase: phase.to_owned(), kind, delta_bytes });
    };
    if let Some((phase, delta, _)) = sum(PhaseClass::Data).filter(|(_, delta, _)| *delta > 4 * small_bytes) {
        depart(phase, DepartureKind::LargeData, delta);
    }
    if let (Some((phase, up, _)), Some(_)) = (forward, backward)
        && up < small_bytes.min(memory.mean_rise_bytes / 4)
    {
        depart(phase, DepartureKind::FlatForward, up);
    }
    if let (Some((_, up, _)), Some((phase, down, _))) = (forward, backward)
        // Gradients stay, and are at most as large as what forward kept in all but the smallest batches.
        && up > small_bytes
        && up + down > up / 2 + small_bytes
        && down >= 0
    {
        depart(phase, DepartureKind::UnreturnedBackward, up + down);
    }
    if let Some((phase, delta, count)) = sum(PhaseClass::Optimizer)
        // Its state comes with the first step.
        && count >= 3
        && delta > small_bytes
        && delta * count as i64 > memory.peak_bytes / 2
    {
        depart(phase, DepartureKind::GrowingOptimizer, delta);
    }
    if let Some((phase, delta, _)) = sum(PhaseClass::Evaluation).filter(|(_, delta, _)| *delta > small_bytes)
    {
        depart(phase, DepartureKind::KeepingEvaluation, delta);
    }
    Some(PhasePattern {
        device: memory.device,
        peak_phase: highest.phase.clone(),
        peak_bytes: memory.peak_bytes,
        departures,
        is_training: forward.is_some() && backward.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(phase: &str, mean_delta_bytes: i64, peak_bytes: i64, count: u64) -> PhaseRow {
        PhaseRow {
            phase: phase.to_owned(),
            count,
            memory: Some(PhaseMemory {
                device: 0,
                mean_delta_bytes,
                max_delta_bytes: mean_delta_bytes,
                peak_bytes,
                peak_step: None,
                mean_rise_bytes: peak_bytes - 100,
            }),
            total_nanos: 0,
            mean_nanos: 0,
        }
    }

    fn kinds(rows: &[PhaseRow]) -> Vec<DepartureKind> {
        phase_pattern(rows)[0].departures.iter().map(|departure| departure.kind).collect()
    }

    #[test]
    fn an_ordinary_step_departs_from_nothing() {
        let rows = [
            row("data", 10, 120, 9),
            row("forward", 500, 700, 9),
            row("backward", -480, 900, 9),
            // The state, in the first of nine.
            row("optimizer", 30, 300, 9),
        ];
        let pattern = &phase_pattern(&rows)[0];
        assert_eq!((pattern.peak_phase.as_str(), pattern.peak_bytes), ("backward", 900));
        assert!(pattern.is_training && pattern.departures.is_empty(), "{pattern:?}");
    }

    #[test]
    fn departures_are_told() {
        assert_eq!(
            kinds(&[row("data", 400, 500, 3), row("forward", 500, 1000, 3)]),
            [DepartureKind::LargeData]
        );
        assert_eq!(
            kinds(&[row("forward", 500, 1000, 3), row("backward", 20, 1000, 3)]),
            [DepartureKind::UnreturnedBackward]
        );
        assert_eq!(
            kinds(&[row("forward", 0, 1000, 3), row("backward", 0, 1000, 3)]),
            [DepartureKind::FlatForward]
        );
        assert_eq!(kinds(&[row("optimizer", 200, 1000, 9)]), [DepartureKind::GrowingOptimizer]);
        assert_eq!(kinds(&[row("eval", 200, 1000, 9)]), [DepartureKind::KeepingEvaluation]);
        assert!(phase_pattern(&[]).is_empty());
    }
}
