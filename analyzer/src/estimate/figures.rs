//! The result of an estimate.

/// Numbers of a layer, or of all. Bytes of repeated layers are those of all copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Numbers in parameters.
    pub parameters: i64,
    /// Their size.
    pub parameter_bytes: i64,
    /// Numbers in buffers.
    pub buffers: i64,
    /// Their size.
    pub buffer_bytes: i64,
    /// Size of the gradients of what is trained.
    pub gradient_bytes: i64,
    /// Size of what the optimizer keeps.
    pub optimizer_bytes: i64,
    /// What is kept from forward to backward and was not kept by a layer before.
    pub activation_bytes: i64,
    /// What checkpointing makes again in backward.
    pub recomputed_bytes: i64,
    /// What goes in.
    pub input_bytes: i64,
    /// What comes out.
    pub output_bytes: i64,
    /// What is in between, of sketched layers: batch · rank for each term.
    pub intermediate_bytes: i64,
}

impl Figures {
    /// Parameters and buffers: what is there without training.
    #[must_use]
    pub const fn stored_bytes(&self) -> i64 {
        self.parameter_bytes.saturating_add(self.buffer_bytes)
    }

    /// Numbers in parameters and buffers.
    #[must_use]
    pub const fn stored_numbers(&self) -> i64 {
        self.parameters.saturating_add(self.buffers)
    }

    /// The sum; `None` beyond 63 bits.
    #[must_use]
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        Some(Self {
            parameters: self.parameters.checked_add(other.parameters)?,
            parameter_bytes: self.parameter_bytes.checked_add(other.parameter_bytes)?,
            buffers: self.buffers.checked_add(other.buffers)?,
            buffer_bytes: self.buffer_bytes.checked_add(other.buffer_bytes)?,
            gradient_bytes: self.gradient_bytes.checked_add(other.gradient_bytes)?,
            optimizer_bytes: self.optimizer_bytes.checked_add(other.optimizer_bytes)?,
            activation_bytes: self.activation_bytes.checked_add(other.activation_bytes)?,
            recomputed_bytes: self.recomputed_bytes.checked_add(other.recomputed_bytes)?,
            input_bytes: self.input_bytes.checked_add(other.input_bytes)?,
            output_bytes: self.output_bytes.checked_add(other.output_bytes)?,
            intermediate_bytes: self.intermediate_bytes.checked_add(other.intermediate_bytes)?,
        })
    }
}

/// The standard layer that another takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// Its type.
    pub type_name: &'static str,
    /// Its numbers, in the same model.
    pub figures: Figures,
}

/// A layer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstimateRow {
    /// Its path: names of layers, without the numbers of copies.
    pub layer: String,
    /// Its type.
    pub type_name: &'static str,
    /// How often it is there.
    pub copies: i64,
    /// What comes out, with the batch.
    pub output_shape: Vec<i64>,
    /// Its numbers.
    pub figures: Figures,
    /// It is a part of the layer before it, whose numbers contain its own.
    pub is_part: bool,
    /// Parts of it follow.
    pub has_parts: bool,
    /// What it takes the place of.
    pub standard: Option<Standard>,
}

impl EstimateRow {
    pub(super) fn new(path: &str, type_name: &'static str, is_part: bool) -> Self {
        Self {
            layer: path.to_owned(),
            type_name,
            copies: 0,
            output_shape: Vec::new(),
            figures: Figures::default(),
            is_part,
            has_parts: false,
            standard: None,
        }
    }
}

/// A model in training: what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// `input`, the layers, each followed by its parts, and the loss.
    pub rows: Vec<EstimateRow>,
    /// Sum of the layers.
    pub total: Figures,
    /// The batch, whether or not it is kept for backward.
    pub batch_bytes: i64,
    /// The most that is kept for backward at a time: as much as `total.activation_bytes`, or with checkpointing that
    /// and what one segment makes again.
    pub peak_activation_bytes: i64,
    /// The model with the standard layers in their places; `None` if no layer replaces another.
    pub standard: Option<Box<Estimate>>,
}

impl Estimate {
    /// Parameters, buffers, gradients, optimizer state, activations at their most, and the batch: a lower bound of what
    /// training needs. `None` beyond 63 bits.
    #[must_use]
    pub fn training_bytes(&self) -> Option<i64> {
        let batch_kept = self.rows.first().map_or(0, |row| row.figures.activation_bytes);
        [
            self.total.parameter_bytes,
            self.total.buffer_bytes,
            self.total.gradient_bytes,
            self.total.optimizer_bytes,
            self.peak_activation_bytes,
            self.batch_bytes - batch_kept,
        ]
        .into_iter()
        .try_fold(0i64, i64::checked_add)
    }
}
