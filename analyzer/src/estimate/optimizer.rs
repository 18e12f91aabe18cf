//! How much an optimizer keeps for each parameter.
//!
//! Read from torch 2.15's `torch/optim/*.py`, and for 8 bits from bitsandbytes' `optim/optimizer.py`; torch's are tested
//! against the states of real optimizers.

use super::data_type::DataType;
use super::error::ModelError;
use super::fields::word_of;

/// Elements above which bitsandbytes keeps 8 bits, and how many share a scale.
const QUANTIZED_FROM: i64 = 4096;
const QUANTIZED_BLOCK: i64 = 256;
/// Two tables of 256 `float32` that turn 8 bits back into numbers, for all parameters.
const QUANTIZED_TABLES_BYTES: i64 = 2 * 256 * 4;
/// Torch counts steps in a `float32` for each parameter.
const STEP_BYTES: i64 = 4;
/// As torch has it unless it is told otherwise.
pub(super) const DEFAULT_HISTORY: i64 = 100;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many numbers for each of a parameter's, and so many scalars for each parameter.
    PerElement { copies: i64, scalars: i64 },
    /// Sums over rows and columns, for parameters of two dimensions and more.
    Factored,
    /// 8 bits.
    Quantized,
    /// The last updates of everything.
    History,
}

/// An optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Optimizer {
    name: &'static str,
    state: State,
    /// Updates that L-BFGS keeps.
    pub history_size: i64,
    /// Whether it keeps the parameters of half precision in `float32` besides.
    pub has_master_weights: bool,
}

/// Every optimizer that is known.
const KNOWN: [(&str, State); 24] = {
    const fn state(copies: i64, scalars: i64) -> State {
        State::PerElement { copies, scalars }
    }
    [
        ("adamw", state(2, 1)),
        ("adam", state(2, 1)),
        ("adamw-amsgrad", state(3, 1)),
        ("adam-amsgrad", state(3, 1)),
        ("sgd", state(0, 0)),
        ("momentum", state(1, 0)),
        ("sgd-momentum", state(1, 0)),
        ("none", state(0, 0)),
        ("adam8bit", State::Quantized),
        ("adamw8bit", State::Quantized),
        ("adafactor", State::Factored),
        ("lbfgs", State::History),
        ("rmsprop", state(1, 1)),
        ("rmsprop-momentum", state(2, 1)),
        ("rmsprop-centered", state(2, 1)),
        ("rmsprop-momentum-centered", state(3, 1)),
        ("adagrad", state(1, 1)),
        ("adadelta", state(2, 1)),
        ("adamax", state(2, 1)),
        ("nadam", state(2, 2)),
        ("radam", state(2, 1)),
        ("asgd", state(1, 3)),
        ("rprop", state(2, 1)),
        ("lion", state(1, 0)),
    ]
};

impl Optimizer {
    /// Of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self, ModelError> {
        let state = word_of("model", "optimizer", &name.to_lowercase(), &KNOWN)?;
        let name =
            KNOWN.iter().find(|(known, _)| *known == name.to_lowercase()).map_or("", |(known, _)| known);
        Ok(Self { name, state, history_size: DEFAULT_HISTORY, has_master_weights: false })
    }

    /// The same, set otherwise.
    #[must_use]
    pub(super) const fn set(self, history_size: i64, has_master_weights: bool) -> Self {
        Self { history_size, has_master_weights, ..self }
    }

    /// Its name, without what it was set to.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it keeps for one parameter of that shape; `None` if that is beyond 63 bits.
    #[must_use]
    pub fn state_bytes(&self, shape: &[i64], dtype: DataType) -> Option<i64> {
        let product = |dimensions: &[i64]| {
            dimensions.iter().try_fold(1i64, |product, dimension| product.checked_mul(*dimension))
        };
        let elements = product(shape)?;
        let size_bytes = dtype.size_bytes();
        // Whoever keeps `float32` copies of half parameters works on those.
        let is_copied = self.has_master_weights && dtype.is_half();
        let size_bytes = if is_copied { DataType::Float32.size_bytes() } else { size_bytes };
        let master_bytes = if is_copied { elements.checked_mul(size_bytes)? } else { 0 };
        let state_bytes = match (self.state, shape) {
            (State::PerElement { copies, scalars }, _) => {
                elements.checked_mul(copies)?.checked_mul(size_bytes)?.checked_add(scalars * STEP_BYTES)?
            }
            (State::Factored, [outer @ .., rows, columns]) => {
                let outer = product(outer)?;
                let sums = outer.checked_mul(rows.checked_add(*columns)?)?;
                sums.checked_mul(size_bytes)?.checked_add(STEP_BYTES)?
            }
            (State::Factored, _) => elements.checked_mul(size_bytes)?.checked_add(STEP_BYTES)?,
            (State::Quantized, _) if elements < QUANTIZED_FROM => elements.checked_mul(8)?,
            (State::Quantized, _) => {
                let scales = elements.checked_add(QUANTIZED_BLOCK - 1)? / QUANTIZED_BLOCK;
                elements.checked_mul(2)?.checked_add(scales.checked_mul(8)?)?
            }
            // Directions and steps, besides them the last direction and gradient.
            (State::History, _) => {
                let kept = self.history_size.checked_mul(2)?.checked_add(2)?;
                elements.checked_mul(kept)?.checked_mul(size_bytes)?
            }
        };
        state_bytes.checked_add(master_bytes)
    }

    /// What it keeps once, whatever the parameters; `None` if that is beyond 63 bits.
    #[must_use]
    pub fn shared_bytes(&self, dtype: DataType, has_large: bool) -> Option<i64> {
        match self.state {
            // Two coefficients for each update, and one for all.
            State::History => {
                self.history_size.checked_mul(2)?.checked_add(1)?.checked_mul(dtype.size_bytes())
            }
            State::Quantized if has_large => Some(QUANTIZED_TABLES_BYTES),
            _ => Some(0),
        }
    }

    /// Whether a parameter of so many elements is kept in 8 bits.
    #[must_use]
    pub fn quantizes(&self, elements: i64) -> bool {
        self.state == State::Quantized && elements >= QUANTIZED_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch 2.15: the states after one step on a Linear(8, 12), an Embedding(3, 4) and a LayerNorm(12).
    #[test]
    fn states_are_those_of_torch() {
        let shapes: [&[i64]; 5] = [&[12, 8], &[12], &[3, 4], &[12], &[12]];
        let cases = [
            ("sgd", 0),
            ("momentum", 576),
            ("adam", 20 + 1152),
            ("adamw-amsgrad", 20 + 1728),
            ("rmsprop", 20 + 576),
            ("rmsprop-momentum", 20 + 1152),
            ("rmsprop-momentum-centered", 20 + 1728),
            ("adagrad", 20 + 576),
            ("adadelta", 20 + 1152),
            ("adamax", 20 + 1152),
            ("nadam", 40 + 1152),
            ("radam", 20 + 1152),
            ("adafactor", 20 + 60 + 48 + 144),
            ("asgd", 60 + 576),
            ("rprop", 20 + 1152),
        ];
        for (name, expected) in cases {
            let optimizer = Optimizer::named(name).unwrap();
            let of = |shape: &&[i64]| optimizer.state_bytes(shape, DataType::Float32).unwrap();
            assert_eq!(shapes.iter().map(of).sum::<i64>(), expected, "{name}");
        }
        // A Linear(8, 3) with a history of three: old_dirs, old_stps, d, prev_flat_grad; al, ro, H_diag.
        let lbfgs = Optimizer { history_size: 3, ..Optimizer::named("LBFGS").unwrap() };
        let of = |shape: &[i64]| lbfgs.state_bytes(shape, DataType::Float32).unwrap();
        assert_eq!(of(&[3, 8]) + of(&[3]), 324 + 324 + 108 + 108);
        assert_eq!(lbfgs.shared_bytes(DataType::Float32, true), Some(12 + 12 + 4));
    }

    #[test]
    fn eight_bits_are_for_large_parameters_and_masters_for_halves() {
        let adam8bit = Optimizer::named("adam8bit").unwrap();
        assert_eq!(adam8bit.state_bytes(&[4095], DataType::Float32), Some(4095 * 8));
        assert_eq!(adam8bit.state_bytes(&[64, 65], DataType::Float32), Some(4160 * 2 + 17 * 8));
        let masters = Optimizer { has_master_weights: true, ..Optimizer::named("adamw").unwrap() };
        assert_eq!(masters.state_bytes(&[10], DataType::BFloat16), Some(10 * 12 + 4));
        assert_eq!(masters.state_bytes(&[10], DataType::Float32), Some(10 * 8 + 4));
    }

    #[test]
    fn what_is_unknown_or_too_large_is_no_number() {
        let error = Optimizer::named("adm").unwrap_err().to_string();
        assert!(error.starts_with("model: unknown optimizer `adm`; known: adamw, adam,"), "{error}");
        assert_eq!(Optimizer::named("adam").unwrap().state_bytes(&[i64::MAX / 8], DataType::Float64), None);
    }
}
