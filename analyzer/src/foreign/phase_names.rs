//! What annotations of a program mean: steps and phases.

/// What an annotation marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PhaseMark {
    /// A training step of that number.
    Step(i64),
    /// A phase of that name.
    Span(String),
}

/// What an annotation of that name marks; `None` if it is no phase.
pub(super) fn phase(name: &str) -> Option<PhaseMark> {
    if let Some(step) = name.strip_prefix("ProfilerStep#") {
        return step.parse().ok().map(PhaseMark::Step);
    }
    let name = name.trim_matches(['#', ' ']);
    let name = match name {
        _ if name.starts_with("Optimizer.step#") => "optimizer",
        _ if name.starts_with("Optimizer.zero_grad#") => "zero_grad",
        _ if name.starts_with("enumerate(DataLoader)#") => "data",
        _ => name,
    };
    (!name.is_empty()).then(|| PhaseMark::Span(name.to_owned()))
}
