//! What a model holds in training, from its description, without running it.
//!
//! [`Model::read`] reads MODEL.json, [`estimate`] walks through its layers once, forward: shapes go along, each layer
//! tells a tape which tensors autograd keeps. Parameters, buffers, gradients and optimizer state are exact; what is kept
//! for backward follows torch's own rules. Not counted are gradients of activations, temporaries, workspaces of
//! libraries and what the allocator rounds up. [`module_estimate`] does it from the modules of a recorded run, beside
//! which stands what was measured.

mod data_type;
mod error;
mod fields;
mod figures;
mod forward;
mod function;
mod layer;
mod layer_file;
mod model;
mod model_file;
mod modules;
mod optimizer;
mod rules;
mod tape;

pub use data_type::DataType;
pub use error::ModelError;
pub use figures::{Estimate, EstimateRow, Figures, Standard};
pub use forward::estimate;
pub use function::{Function, Keeps};
pub use layer::{
    Attention, Convolution, Layer, LayerKind, Norm, NormKind, Pool, PoolExtent, PoolKind, Scores,
    TransformerBlock,
};
pub use model::{Device, Dimension, Input, Loss, Model, Overrides, Training};
pub use model_file::{MOST_BYTES, device_named, is_model_description};
pub use modules::{MeasuredModule, ModuleEstimate, ModuleFigures, ModuleOptions, module_estimate};
pub use optimizer::Optimizer;

#[cfg(test)]
mod tests;
