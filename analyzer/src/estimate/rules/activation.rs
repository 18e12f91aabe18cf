//! Functions of each number, and dropout.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::function::{Function, Keeps};
use super::super::tape::{Tape, Tensor};

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// A function of each number.
    pub(crate) fn activation(
        &mut self,
        input: &Tensor,
        function: Function,
        is_in_place: bool,
    ) -> Result<Tensor> {
        self.expect_width(input, "", None)?;
        let input = if function.needs_float32 { self.cast_for_precision(input)? } else { input.clone() };
        let is_trained = if function.has_parameter { self.parameter(&[1])?.is_trained } else { false };
        let requires_grad = input.requires_grad || is_trained;
        let output = if function.halves {
            let width = input.width();
            if width % 2 != 0 {
                return Err(self.shape_error("an even last dimension", width.to_string()));
            }
            self.tensor(&input.with_width(width / 2), input.dtype, requires_grad)?
        } else if is_in_place && !function.has_parameter {
            let mut same = input.clone();
            same.requires_grad = requires_grad;
            same
        } else {
            self.tensor(&input.shape, input.dtype, requires_grad)?
        };
        if requires_grad {
            if matches!(function.keeps, Keeps::Input | Keeps::InputAndMore) {
                self.save(&input)?;
            }
            if function.keeps == Keeps::Result {
                self.save(&output)?;
            }
            if matches!(function.keeps, Keeps::InputAndMore | Keeps::More) {
                let more = self.copy(&input)?;
                self.save(&more)?;
            }
        }
        Ok(output)
    }

    /// Keeps its mask: a byte for each number on CUDA; on the CPU numbers to multiply with, which autograd keeps as they
    /// are.
    pub(crate) fn dropout(&mut self, input: &Tensor, share: f64) -> Result<Tensor> {
        self.expect_width(input, "", None)?;
        if share == 0.0 {
            return Ok(input.clone());
        }
        let dtype = if self.is_cuda() { DataType::Bool } else { input.dtype };
        if input.requires_grad {
            let mask = self.tensor(&input.shape, dtype, false)?;
            self.save(&mask)?;
        }
        self.copy(input)
    }
}
