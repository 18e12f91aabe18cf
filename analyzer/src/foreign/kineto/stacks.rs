//! From the names of what runs to sites.

use super::recording::NameId;
use super::texts::Texts;
use crate::foreign::sites::{Frame, FrameId, Sites};

/// Operators that do nothing but allocate: the one that called them says more.
const ALLOCATING: [&str; 24] = [
    "aten::empty",
    "aten::empty_like",
    "aten::empty_permuted",
    "aten::empty_quantized",
    "aten::empty_strided",
    "aten::_empty_affine_quantized",
    "aten::_efficientzerotensor",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::new_zeros",
    "aten::new_ones",
    "aten::new_full",
    "aten::resize_",
    "aten::resize_as_",
    "aten::resize",
    "aten::zeros",
    "aten::zeros_like",
    "aten::ones",
    "aten::ones_like",
    "aten::full",
    "aten::full_like",
    "aten::zero_",
    "aten::fill_",
    "aten::set_",
];

/// Sites of one process, made of names.
#[derive(Debug)]
pub(super) struct Stacks<'a> {
    names: &'a Texts,
    call_stacks: &'a Texts,
    sites: &'a mut Sites,
    /// Frames by number of the text, for operators and for Python functions.
    operator_frames: Vec<Option<FrameId>>,
    python_frames: Vec<Option<FrameId>>,
    call_stack_frames: Vec<Option<Box<[FrameId]>>>,
}

impl<'a> Stacks<'a> {
    pub(super) fn new(names: &'a Texts, call_stacks: &'a Texts, sites: &'a mut Sites) -> Self {
        Self {
            names,
            call_stacks,
            sites,
            operator_frames: Vec::new(),
            python_frames: Vec::new(),
            call_stack_frames: Vec::new(),
        }
    }

    /// The site of what runs, innermost first, called from a Python stack of which the number is given, 0 for none.
    pub(super) fn site(&mut self, running: &[NameId], call_stack: u32) -> u32 {
        // A step is no part of a stack: what is called in each step alike is one site.
        let running =
            || running.iter().filter(|name| !self.names.get(name.text()).starts_with(b"ProfilerStep#"));
        let running: Vec<NameId> = running().copied().collect();
        let mut stack: Vec<FrameId> = running.iter().map(|name| self.frame(*name)).collect();
        if call_stack != 0 {
            stack.extend_from_slice(self.call_stack(call_stack));
        }
        let names = self.names;
        self.sites.site_id(&stack, |sites| {
            name(&running, names)
                .or_else(|| stack.first().map(|frame| sites.frame(*frame).function.clone()))
                .unwrap_or_default()
        })
    }

    fn frame(&mut self, name: NameId) -> FrameId {
        let frames = if name.is_python() { &mut self.python_frames } else { &mut self.operator_frames };
        let at = name.text() as usize;
        if frames.len() <= at {
            frames.resize(at + 1, None);
        }
        let (names, sites) = (self.names, &mut *self.sites);
        *frames[at].get_or_insert_with(|| {
            let text = super::cursor::text(names.get(name.text()));
            let frame = if name.is_python() { python_frame(&text) } else { Frame::operator(&text) };
            sites.frame_id(frame)
        })
    }

    fn call_stack(&mut self, number: u32) -> &[FrameId] {
        let at = number as usize;
        if self.call_stack_frames.len() <= at {
            self.call_stack_frames.resize(at + 1, None);
        }
        let (call_stacks, sites) = (self.call_stacks, &mut *self.sites);
        self.call_stack_frames[at].get_or_insert_with(|| {
            let text = super::cursor::text(call_stacks.get(number));
            let calls = text.split(';').map(str::trim).filter(|call| !call.is_empty());
            calls.map(|call| sites.frame_id(python_frame(call))).collect()
        })
    }
}

/// What a stack goes by: the innermost operator that does more than allocate; the outermost one where none does, since
/// that is what the program called; else what the program has marked.
fn name(running: &[NameId], names: &Texts) -> Option<String> {
    let is_telling = |name: &&[u8]| !ALLOCATING.iter().any(|allocating| allocating.as_bytes() == *name);
    let operators = || {
        let operators = running.iter().filter(|name| !name.is_python() && !name.is_annotation());
        operators.map(|name| names.get(name.text()))
    };
    let annotation = || running.iter().find(|name| name.is_annotation()).map(|name| names.get(name.text()));
    let written = operators().find(is_telling).or_else(|| operators().next_back()).or_else(annotation);
    written.map(super::cursor::text)
}

/// `file.py(12): name`, as the profiler names Python functions; others, such as `nn.Module: Linear_0`, are names only.
fn python_frame(text: &str) -> Frame {
    let located = || {
        let (place, function) = text.split_once("): ")?;
        let (file, line) = place.rsplit_once('(')?;
        let line = line.parse().ok()?;
        Some(Frame { function: function.to_owned(), file: Some(file.to_owned()), line })
    };
    located().unwrap_or_else(|| Frame::operator(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_functions_have_a_file_and_a_line() {
        let frame = python_frame("torch/nn/modules/module.py(1511): _wrapped_call_impl");
        assert_eq!(frame.function, "_wrapped_call_impl");
        assert_eq!(frame.file.as_deref(), Some("torch/nn/modules/module.py"));
        assert_eq!(frame.line, 1511);
        for name in ["nn.Module: Linear_0", "<built-in method relu_ of type object at 0x7f>", "x(y): z"] {
            assert_eq!(python_frame(name), Frame::operator(name));
        }
    }
}
