//! Names that frameworks and people give to parts of a training loop, in the words of this project.

/// What an annotation stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PhaseMark {
    /// A training step.
    Step(i64),
    /// A phase of that name.
    Span(String),
}

/// What PyTorch itself marks, by what the name begins with.
const PYTORCH: [(&str, &str); 4] = [
    ("Optimizer.step#", "optimizer"),
    ("Optimizer.zero_grad#", "zero_grad"),
    ("enumerate(DataLoader)#", "data"),
    ("DistributedDataParallel.forward", "forward"),
];

/// Communication is marked by the thousand and is part of a phase, not one.
const COMMUNICATION: [&str; 7] = ["nccl:", "gloo:", "mpi:", "ucc:", "xccl:", "c10d::", "record_param_comms"];

/// The phases that other parts of this project know by name.
const CANONICAL: [&str; 6] = ["data", "forward", "backward", "optimizer", "zero_grad", "eval"];

/// What an annotation of that name stands for; `None` for one that is no part of a training loop.
pub(super) fn phase(name: &str) -> Option<PhaseMark> {
    if let Some(mark) = pytorch_phase(name) {
        return Some(mark);
    }
    // People frame names, as in the tutorial's "## forward ##".
    let name = name.trim_matches(|c: char| c == '#' || c == '=' || c == '*' || c.is_whitespace());
    let is_no_phase = name.is_empty()
        || name.starts_with("PyTorch Profiler")
        || COMMUNICATION.iter().any(|prefix| name.starts_with(prefix));
    if is_no_phase {
        return None;
    }
    let canonical = CANONICAL.iter().find(|canonical| name.eq_ignore_ascii_case(canonical));
    Some(PhaseMark::Span(canonical.map_or(name, |canonical| canonical).to_owned()))
}

/// As [`phase`], for names that PyTorch itself gives: there were times when they were recorded like operators.
pub(super) fn pytorch_phase(name: &str) -> Option<PhaseMark> {
    if let Some(number) = name.strip_prefix("ProfilerStep#") {
        return number.parse().ok().map(PhaseMark::Step);
    }
    let known = PYTORCH.iter().find(|(prefix, _)| name.starts_with(prefix));
    known.map(|(_, phase)| PhaseMark::Span((*phase).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_to_ours() {
        let span = |name: &str| Some(PhaseMark::Span(name.to_owned()));
        let cases = [
            ("ProfilerStep#12", Some(PhaseMark::Step(12))),
            ("Optimizer.step#SGD.step", span("optimizer")),
            ("Optimizer.zero_grad#Adam.zero_grad", span("zero_grad")),
            ("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", span("data")),
            ("DistributedDataParallel.forward", span("forward")),
            ("## forward ##", span("forward")),
            ("Backward", span("backward")),
            ("my own part", span("my own part")),
            ("nccl:all_reduce", None),
            ("PyTorch Profiler (0)", None),
            ("####", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(phase(name), expected, "{name}");
        }
        assert_eq!(pytorch_phase("## forward ##"), None);
    }
}
