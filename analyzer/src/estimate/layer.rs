//! The layers that a model can be described with. What each saves for backward stands in `rules`.

use super::function::Function;

/// A layer and what stands beside its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name among its neighbours: the one it was given, or its number.
    pub name: String,
    /// Its type, as the description calls it.
    pub type_name: &'static str,
    /// What it is.
    pub kind: LayerKind,
    /// Its parameters are not trained: they have neither gradients nor optimizer state.
    pub is_frozen: bool,
    /// The standard layer whose place it takes.
    pub replaces: Option<Box<Layer>>,
}

/// What a layer is, with torch's words for its sizes.
#[derive(Debug, Clone, PartialEq)]
pub enum LayerKind {
    /// `nn.Linear`.
    Linear {
        /// `None`: whatever comes.
        in_features: Option<i64>,
        /// Numbers that come out.
        out_features: i64,
        /// With a bias.
        has_bias: bool,
        /// The layer whose weight it uses instead of one of its own.
        weight_of: Option<String>,
    },
    /// A linear layer of `terms` products of two thin matrices, one trained and one fixed (Panther's `SKLinear`).
    SketchedLinear {
        /// Numbers that go in.
        in_features: Option<i64>,
        /// Numbers that come out.
        out_features: i64,
        /// Rank of each term: the size of the sketch.
        rank: i64,
        /// Number of terms.
        terms: i64,
        /// With a bias.
        has_bias: bool,
        /// Backward makes the sketches again, as Panther's own does, so that only the input is saved.
        recomputes: bool,
    },
    /// `nn.Conv1d`, `nn.Conv2d`.
    Convolution(Convolution),
    /// `nn.Embedding`.
    Embedding {
        /// Rows of the table.
        num_embeddings: i64,
        /// Numbers in a row.
        embedding_dim: i64,
    },
    /// Adds a learned row for each position of a sequence.
    PositionEmbedding {
        /// Rows of the table.
        num_embeddings: i64,
        /// Numbers in a row; `None`: as many as come.
        embedding_dim: Option<i64>,
        /// Rows are cut from the table rather than looked up by an index.
        is_sliced: bool,
    },
    /// Normalization.
    Norm(Norm),
    /// A function of each number.
    Activation {
        /// Which.
        function: Function,
        /// It overwrites its input.
        is_in_place: bool,
    },
    /// `nn.Dropout`.
    Dropout {
        /// Share of what is dropped.
        share: f64,
    },
    /// Attention of a sequence to itself, with its projections.
    Attention(Attention),
    /// Attention and a perceptron with norms, each around a shortcut.
    TransformerBlock(TransformerBlock),
    /// Pooling.
    Pool(Pool),
    /// Repeats pixels.
    Upsample {
        /// How often, in each direction.
        scale: i64,
    },
    /// All dimensions from `start` on become one.
    Flatten {
        /// 0 is the batch.
        start: i64,
    },
    /// Another shape of the same numbers, without the batch; one may be −1.
    Reshape {
        /// The dimensions.
        shape: Vec<i64>,
    },
    /// The mean over a dimension, which goes.
    Mean {
        /// 0 is the batch; negative ones count from the end.
        dimension: i64,
    },
    /// Layers one after another.
    Sequential(Vec<Layer>),
    /// Its input, plus what its layers make of that.
    Residual(Vec<Layer>),
    /// Layers one after another, so many times, each time with parameters of their own.
    Repeat {
        /// How often.
        times: i64,
        /// What.
        layers: Vec<Layer>,
    },
}

/// `nn.Conv1d` or `nn.Conv2d`, by how many sizes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// `None`: whatever comes.
    pub in_channels: Option<i64>,
    /// Channels that come out.
    pub out_channels: i64,
    /// Size of the kernel.
    pub kernel: Vec<i64>,
    /// Steps.
    pub stride: Vec<i64>,
    /// `None`: `same`.
    pub padding: Option<Vec<i64>>,
    /// Distances of what the kernel looks at.
    pub dilation: Vec<i64>,
    /// Groups of channels.
    pub groups: i64,
    /// With a bias.
    pub has_bias: bool,
}

/// What is normalized over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `nn.LayerNorm` over the last dimension.
    Layer,
    /// `nn.RMSNorm` over the last dimension.
    Rms,
    /// `nn.BatchNorm1d`, `nn.BatchNorm2d`.
    Batch,
    /// `nn.GroupNorm`.
    Group,
}

/// A normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norm {
    /// Over what.
    pub kind: NormKind,
    /// Numbers, or channels; `None`: whatever comes.
    pub features: Option<i64>,
    /// With a weight.
    pub has_weight: bool,
    /// And a bias.
    pub has_bias: bool,
    /// Groups of channels.
    pub groups: i64,
    /// Keeps a running mean and variance.
    pub is_tracking: bool,
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Scores are never in memory: the fused kernels of `scaled_dot_product_attention`.
    Flash,
    /// `scaled_dot_product_attention` without a fused kernel.
    Math,
    /// Written out: a product, softmax, a product.
    Materialised,
}

/// Attention of a sequence to itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Numbers of a position; `None`: whatever comes.
    pub embed_dim: Option<i64>,
    /// Heads.
    pub num_heads: i64,
    /// Heads of keys and values, if fewer.
    pub kv_heads: Option<i64>,
    /// Projections have a bias.
    pub has_bias: bool,
    /// Share of the scores that is dropped.
    pub dropout: f64,
    /// How.
    pub scores: Scores,
    /// Written out with a mask over what comes later.
    pub is_causal: bool,
    /// As `nn.MultiheadAttention` does it, which copies queries, keys and values once.
    pub is_torch_module: bool,
    /// One projection for queries, keys and values.
    pub is_packed: bool,
}

/// Attention and a perceptron with norms, each around a shortcut.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerBlock {
    /// Attention.
    pub attention: Attention,
    /// Numbers between the two linear layers; `None`: four times as many as come.
    pub feedforward: Option<i64>,
    /// Between the two.
    pub function: Function,
    /// A third linear layer multiplies with a gate (SwiGLU and the like).
    pub is_gated: bool,
    /// Norms.
    pub norm: Norm,
    /// Norms stand before attention and perceptron, not after the shortcut.
    pub is_norm_first: bool,
    /// Share of what is dropped after attention and within the perceptron.
    pub dropout: f64,
    /// Also between the two linear layers, as `nn.TransformerEncoderLayer` does.
    pub drops_inside: bool,
    /// Norms and linear layers have a bias.
    pub has_bias: bool,
}

/// How pooling sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest.
    Max,
    /// The mean.
    Average,
}

/// Pooling, by kernel or to a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// How.
    pub kind: PoolKind,
    /// By what.
    pub extent: PoolExtent,
}

/// What pooling goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolExtent {
    /// A window.
    Kernel {
        /// Its size.
        kernel: Vec<i64>,
        /// Its steps.
        stride: Vec<i64>,
        /// Around the input.
        padding: Vec<i64>,
    },
    /// Whatever gives this size.
    Adaptive {
        /// The size.
        output: Vec<i64>,
    },
}
