//! Functions of each number, and what torch keeps of each for backward.

/// What torch keeps for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// What went in.
    Input,
    /// What came out.
    Result,
    /// What went in, and as much again.
    InputAndMore,
    /// As much as went in, which is neither that nor what came out.
    More,
}

/// A function of each number; torch's name and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Torch's name.
    pub name: &'static str,
    /// For backward.
    pub keeps: Keeps,
    /// Autocast on CUDA computes it in `float32`.
    pub needs_float32: bool,
    /// What comes out is half as wide as what goes in.
    pub halves: bool,
    /// It has a parameter.
    pub has_parameter: bool,
}

const fn function(name: &'static str, keeps: Keeps) -> Function {
    Function { name, keeps, needs_float32: false, halves: false, has_parameter: false }
}

/// All of them. `derivatives.yaml` of torch says what is kept; the tests look whether it is.
pub(super) const FUNCTIONS: [Function; 22] = [
    function("relu", Keeps::Result),
    function("gelu", Keeps::Input),
    function("silu", Keeps::Input),
    function("sigmoid", Keeps::Result),
    function("tanh", Keeps::Result),
    function("relu6", Keeps::Input),
    function("leaky_relu", Keeps::Input),
    function("elu", Keeps::Input),
    function("selu", Keeps::Input),
    function("celu", Keeps::Input),
    Function { needs_float32: true, ..function("softplus", Keeps::Input) },
    function("mish", Keeps::Input),
    function("hardswish", Keeps::Input),
    function("hardsigmoid", Keeps::Input),
    function("hardtanh", Keeps::Input),
    function("log_sigmoid", Keeps::InputAndMore),
    function("softsign", Keeps::InputAndMore),
    function("tanhshrink", Keeps::More),
    Function { halves: true, ..function("glu", Keeps::Input) },
    Function { has_parameter: true, ..function("prelu", Keeps::Input) },
    Function { needs_float32: true, ..function("softmax", Keeps::Result) },
    Function { needs_float32: true, ..function("log_softmax", Keeps::Result) },
];

impl Function {
    /// Of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "swish" { "silu" } else { name };
        FUNCTIONS.into_iter().find(|function| function.name == name)
    }

    /// Of the module of that class: `LeakyReLU` for `leaky_relu`.
    #[must_use]
    pub(super) fn of_module(class: &str) -> Option<Self> {
        let class = class.to_lowercase();
        let is_it = |function: &Function| function.name.replace('_', "") == class;
        FUNCTIONS.into_iter().find(is_it)
    }
}
