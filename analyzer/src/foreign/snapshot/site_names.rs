//! What a stack is called: a table has room for one line of it.

use crate::foreign::sites::{Frame, FrameId, Sites};

/// Parts of paths of libraries: of what the user did not write.
const LIBRARY_PARTS: [&str; 5] = ["/site-packages/", "/dist-packages/", "/torch/", "/lib/python3", "<frozen"];
/// What a node of the backward graph is called in C++.
const BACKWARD: &str = "torch::autograd::generated::";
/// What an operator's entry is called in C++.
const OPERATOR: &str = "at::_ops::";
/// C++ that is in every stack.
const PLUMBING: [&str; 5] =
    ["unwind::unwind", "CapturedTraceback", "gather_with_cpp", "CachingAllocator", "CachingHostAllocator"];

/// The innermost Python function that the user wrote; in a thread of the backward pass, which has none, its node; else the
/// operator, else the innermost function that is not the allocator's.
pub(super) fn site_name(sites: &Sites, stack: &[FrameId]) -> String {
    let frames = || stack.iter().map(|id| sites.frame(*id));
    let user = frames().find(|frame| is_python(frame) && !is_library(frame));
    let python = || frames().find(|frame| is_python(frame));
    let node = || {
        let name = frames().find_map(|frame| frame.function.strip_prefix(BACKWARD)?.split_once("::apply("));
        name.map(|(node, _)| node.to_owned())
    };
    let operator = || {
        // The outermost is what was called, the inner ones are how it is done.
        let called =
            |frame: &Frame| Some(frame.function.strip_prefix(OPERATOR)?.split_once("::call(")?.0.to_owned());
        frames().rev().find_map(called).map(|operator| format!("aten::{operator}"))
    };
    let other = || {
        let is_plumbing = |frame: &&Frame| PLUMBING.iter().any(|part| frame.function.contains(part));
        frames().find(|frame| !is_plumbing(frame)).or(frames().next()).map_or_else(String::new, short)
    };
    user.map(short).or_else(node).or_else(|| python().map(short)).or_else(operator).unwrap_or_else(other)
}

fn is_python(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    frame.line > 0 && (file.ends_with(".py") || file.starts_with('<'))
}

fn is_library(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default().replace('\\', "/");
    // Windows spells its folder of libraries so.
    let file = file.replace("/Lib/site-packages/", "/site-packages/");
    LIBRARY_PARTS.iter().any(|part| file.contains(part))
}

/// `function at folder/file:line`.
fn short(frame: &Frame) -> String {
    let file = frame.file.as_deref().filter(|file| !file.is_empty() && *file != "??");
    let Some(file) = file else { return frame.function.clone() };
    let start = file.rmatch_indices(['/', '\\']).nth(1).map_or(0, |(at, _)| at + 1);
    let file = file[start..].replace('\\', "/");
    if frame.line == 0 {
        return format!("{} at {file}", frame.function);
    }
    format!("{} at {file}:{}", frame.function, frame.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(frames: &[(&str, &str, u32)]) -> String {
        let mut sites = Sites::default();
        let frame = |(function, file, line): &(&str, &str, u32)| Frame {
            function: (*function).to_owned(),
            file: Some((*file).to_owned()),
            line: *line,
        };
        let stack: Vec<FrameId> = frames.iter().map(|each| sites.frame_id(frame(each))).collect();
        site_name(&sites, &stack)
    }

    #[test]
    fn the_innermost_function_of_the_user_names_a_stack() {
        const GATHER: (&str, &str, u32) = ("torch::CapturedTraceback::gather(bool, bool, bool)", "??", 0);
        const LINEAR: (&str, &str, u32) =
            ("linear", "/v/lib/python3.12/site-packages/torch/nn/functional.py", 9);
        const MODEL: (&str, &str, u32) = ("forward", "/home/me/project/model.py", 54);
        assert_eq!(
            name(&[GATHER, LINEAR, MODEL, ("main", "/home/me/train.py", 3)]),
            "forward at project/model.py:54"
        );
        assert_eq!(name(&[GATHER, LINEAR]), "linear at nn/functional.py:9");
        let windows = ("forward", r"D:\Dev\code\model.py", 54);
        let library = ("_call_impl", r"D:\Dev\.venv\Lib\site-packages\torch\nn\modules\module.py", 1);
        assert_eq!(name(&[library, windows]), "forward at code/model.py:54");
        assert_eq!(name(&[("cell", "<ipython-input-3>", 2)]), "cell at <ipython-input-3>:2");
    }

    #[test]
    fn a_stack_without_python_is_named_by_its_node_or_operator() {
        const OP: (&str, &str, u32) =
            ("at::_ops::mul_Tensor::call(at::Tensor const&, at::Tensor const&)", "??", 0);
        const NODE: (&str, &str, u32) =
            ("torch::autograd::generated::RsqrtBackward0::apply(std::vector<at::Tensor>&&)", "??", 0);
        const OUTER: (&str, &str, u32) = ("at::_ops::to_dtype::call(at::Tensor const&)", "??", 0);
        assert_eq!(name(&[OP, NODE]), "RsqrtBackward0");
        assert_eq!(name(&[OP, OUTER]), "aten::to_dtype");
        let malloc = ("c10::cuda::CUDACachingAllocator::Native::malloc(unsigned long)", "a.cpp", 0);
        assert_eq!(
            name(&[malloc, ("my_kernel(float*)", "kernels.cu", 0)]),
            "my_kernel(float*) at kernels.cu"
        );
        assert_eq!(
            name(&[malloc]),
            "c10::cuda::CUDACachingAllocator::Native::malloc(unsigned long) at a.cpp"
        );
    }
}
