//! What a phase is for the life of a block, whatever the program calls it.

/// The part of a training loop that a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhaseClass {
    /// A batch is loaded, or brought to the device.
    Data,
    /// The model and its loss.
    Forward,
    /// A module's forward once more, within backward.
    Recompute,
    /// Gradients are computed.
    Backward,
    /// Parameters are updated.
    Optimizer,
    /// Gradients are set to zero or given up.
    ZeroGrad,
    /// The model without gradients.
    Evaluation,
    /// None of these.
    Other,
}

impl PhaseClass {
    /// Of a phase by its name; `None` for names that say nothing, which are parts of what they are in.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        Some(match name.as_str() {
            "data" | "data_to_gpu" | "data_to_device" | "h2d" | "data_loading" | "load_data" => Self::Data,
            "forward" | "forward_pass" | "fwd" | "loss" => Self::Forward,
            "recompute" => Self::Recompute,
            "backward" | "backward_pass" | "bwd" => Self::Backward,
            "optimizer" | "optimizer_step" | "optimizer.step" => Self::Optimizer,
            "zero_grad" => Self::ZeroGrad,
            "eval" | "evaluation" | "validation" | "validate" => Self::Evaluation,
            _ => return None,
        })
    }

    /// Whether the model is called in it.
    #[must_use]
    pub const fn calls_model(self) -> bool {
        matches!(self, Self::Forward | Self::Evaluation)
    }
}
