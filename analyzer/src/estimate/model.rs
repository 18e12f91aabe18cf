//! A model as it is described, with what it is trained with.

use super::data_type::DataType;
use super::error::ModelError;
use super::layer::Layer;
use super::optimizer::Optimizer;

/// Whose kernels compute: some save other things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// NVIDIA's, and others that PyTorch treats alike.
    Cuda,
}

impl Device {
    /// As descriptions call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// What is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// `cross_entropy` over the last dimension, all others flattened.
    CrossEntropy,
    /// `mse_loss`.
    Mse,
    /// `l1_loss`.
    L1,
    /// `binary_cross_entropy_with_logits`.
    BinaryCrossEntropy,
}

impl Loss {
    /// As descriptions call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::BinaryCrossEntropy => "bce_with_logits",
        }
    }
}

/// A dimension of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// That many.
    Fixed(i64),
    /// As long as the sequence.
    Sequence,
}

/// What goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Without the batch.
    pub shape: Vec<Dimension>,
    /// `None`: the activations' own.
    pub dtype: Option<DataType>,
}

/// How it is trained. What the command line says comes before what the description says.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Samples at once.
    pub batch: i64,
    /// Length of a sequence.
    pub sequence: Option<i64>,
    /// Element type of parameters, gradients and activations.
    pub dtype: DataType,
    /// Element type that autocast computes products in.
    pub autocast: Option<DataType>,
    /// Whose kernels.
    pub device: Device,
    /// Which optimizer.
    pub optimizer: Optimizer,
    /// Parts of the model of which only the input is kept; the rest is computed again in backward.
    pub checkpoint_segments: Option<i64>,
}

/// What the command line says instead of the description.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides<'a> {
    /// Samples at once.
    pub batch: Option<i64>,
    /// Length of a sequence.
    pub sequence: Option<i64>,
    /// Element type.
    pub dtype: Option<&'a str>,
    /// Autocast's element type; `none` turns it off.
    pub autocast: Option<&'a str>,
    /// Optimizer.
    pub optimizer: Option<&'a str>,
    /// Whose kernels.
    pub device: Option<Device>,
    /// Checkpointed parts; 0 turns checkpointing off.
    pub checkpoint_segments: Option<i64>,
}

/// A model and how it is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What it is called.
    pub name: Option<String>,
    /// What goes in.
    pub input: Input,
    /// One after another.
    pub layers: Vec<Layer>,
    /// What is trained for; `None`: not counted.
    pub loss: Option<Loss>,
    /// How.
    pub training: Training,
    /// Nobody said how large the batch is.
    pub is_batch_assumed: bool,
}

impl Overrides<'_> {
    /// Puts them in the place of what `training` says.
    ///
    /// # Errors
    /// If a name means nothing.
    pub(super) fn apply(&self, training: &mut Training) -> Result<(), ModelError> {
        if let Some(name) = self.dtype {
            training.dtype = DataType::floating("--dtype", name)?;
        }
        match self.autocast {
            Some("none") => training.autocast = None,
            Some(name) => training.autocast = Some(DataType::floating("--autocast", name)?),
            None => {}
        }
        if let Some(name) = self.optimizer {
            let Optimizer { history_size, has_master_weights, .. } = training.optimizer;
            training.optimizer = Optimizer::named(name)?.set(history_size, has_master_weights);
        }
        training.batch = self.batch.unwrap_or(training.batch);
        training.sequence = self.sequence.or(training.sequence);
        training.device = self.device.unwrap_or(training.device);
        training.checkpoint_segments = match self.checkpoint_segments {
            None => training.checkpoint_segments,
            Some(segments) => Some(segments).filter(|segments| *segments > 0),
        };
        Ok(())
    }
}
