//! The part of a training loop that a stack was recorded in, by the functions of PyTorch in it.

use super::sites::Frame;
use crate::replay::PhaseClass;

/// The class of a stack; `None` where nothing tells it.
///
/// Backward of CUDA runs in threads of its own, which have no Python frames: their stacks are empty, or C++ alone. The
/// first allocation of a backward pass is made where it is called from (the gradient of the loss), and names it.
#[must_use]
pub fn stack_class<'a>(stack: impl IntoIterator<Item = &'a Frame>) -> Option<PhaseClass> {
    // Forward runs within backward (checkpointing), and both within an optimizer's step (closures): the surest sign in the
    // whole stack has the word.
    stack.into_iter().filter_map(sign).max_by_key(|(rank, _)| *rank).map(|(_, class)| class)
}

/// What a frame says, and how surely.
fn sign(frame: &Frame) -> Option<(u8, PhaseClass)> {
    let function = frame.function.as_str();
    let cpp = [
        ("torch::autograd::Engine::", PhaseClass::Backward),
        ("torch::autograd::generated::", PhaseClass::Backward),
    ];
    if let Some((_, class)) = cpp.iter().find(|(prefix, _)| function.starts_with(prefix)) {
        // Of generated functions those that build the graph run in forward.
        let is_forward = function.contains("VariableType");
        return (!is_forward).then_some((4, *class));
    }
    let file = frame.file.as_deref()?.replace('\\', "/");
    let is_in = |path: &str| file.ends_with(path) || file.contains(&format!("{path}/"));
    if file.ends_with("torch/utils/checkpoint.py") {
        // `checkpoint` itself is called in forward.
        let recomputes =
            matches!(function, "recompute_fn" | "unpack_hook" | "backward" | "_run_fn_with_dynamo_disabled");
        return recomputes.then_some((5, PhaseClass::Recompute));
    }
    let is_backward = (file.ends_with("torch/autograd/graph.py") && function == "_engine_run_backward")
        || (file.ends_with("torch/autograd/__init__.py") && matches!(function, "backward" | "grad"));
    if is_backward {
        return Some((4, PhaseClass::Backward));
    }
    if is_in("torch/optim") {
        let is_zeroing = function == "zero_grad";
        return Some((3, if is_zeroing { PhaseClass::ZeroGrad } else { PhaseClass::Optimizer }));
    }
    if function == "zero_grad" {
        return Some((3, PhaseClass::ZeroGrad));
    }
    let is_module_call = file.ends_with("torch/nn/modules/module.py")
        && matches!(function, "_call_impl" | "_wrapped_call_impl" | "__call__");
    // Modules of the user's own; the call in torch may be cut off where stacks were limited.
    (is_module_call || function == "forward").then_some((1, PhaseClass::Forward))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(frames: &[(&str, &str)]) -> Option<PhaseClass> {
        let frame = |(function, file): &(&str, &str)| Frame {
            function: (*function).to_owned(),
            file: Some((*file).to_owned()),
            line: 1,
        };
        let frames: Vec<Frame> = frames.iter().map(frame).collect();
        stack_class(&frames)
    }

    #[test]
    fn functions_of_torch_tell_the_phase() {
        const CALL: (&str, &str) = ("_call_impl", "/v/site-packages/torch/nn/modules/module.py");
        const MODEL: (&str, &str) = ("forward", r"D:\project\model.py");
        const MAIN: (&str, &str) = ("main", "/home/me/train.py");
        const ENGINE: (&str, &str) =
            ("_engine_run_backward", r"D:\v\Lib\site-packages\torch\autograd\graph.py");
        const NODE: (&str, &str) = ("torch::autograd::generated::MmBackward0::apply(variable_list&&)", "??");
        const RECOMPUTE: (&str, &str) = ("recompute_fn", "/v/site-packages/torch/utils/checkpoint.py");
        const CHECKPOINT: (&str, &str) = ("checkpoint", "/v/site-packages/torch/utils/checkpoint.py");
        const STEP: (&str, &str) = ("_init_group", "/v/site-packages/torch/optim/adamw.py");
        const ZERO: (&str, &str) = ("zero_grad", "/v/site-packages/torch/optim/optimizer.py");
        assert_eq!(class(&[CALL, MODEL, MAIN]), Some(PhaseClass::Forward));
        assert_eq!(class(&[MODEL, MAIN]), Some(PhaseClass::Forward));
        assert_eq!(class(&[CALL, CHECKPOINT, MODEL, MAIN]), Some(PhaseClass::Forward));
        assert_eq!(class(&[CALL, RECOMPUTE, ENGINE, MAIN]), Some(PhaseClass::Recompute));
        assert_eq!(class(&[NODE]), Some(PhaseClass::Backward));
        assert_eq!(class(&[ENGINE, MAIN]), Some(PhaseClass::Backward));
        assert_eq!(class(&[STEP, MAIN]), Some(PhaseClass::Optimizer));
        assert_eq!(class(&[CALL, MODEL, STEP, MAIN]), Some(PhaseClass::Optimizer));
        assert_eq!(class(&[ZERO, MAIN]), Some(PhaseClass::ZeroGrad));
        assert_eq!((class(&[MAIN]), class(&[])), (None, None));
    }
}
