//! Losses, with the targets that they keep.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::model::Loss;
use super::super::tape::{Tape, Tensor, elements};

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Keeps what its derivative needs. Autocast computes losses in `float32`, on the CPU too.
    pub(crate) fn loss(&mut self, input: &Tensor, loss: Loss) -> Result<Tensor> {
        self.expect_width(input, "", None)?;
        let is_cast = self.training.autocast.is_some() && input.dtype.is_half();
        let input = if is_cast { self.cast(input, DataType::Float32)? } else { input.clone() };
        match loss {
            _ if !input.requires_grad => {}
            Loss::CrossEntropy => {
                // Logarithms of shares, the right classes, and how many there are.
                let logarithms = self.copy(&input)?;
                self.save(&logarithms)?;
                let samples = self.checked(elements(&input.with_width(1)))?;
                let classes = self.tensor(&[samples], DataType::Int64, false)?;
                self.save(&classes)?;
                let count = self.tensor(&[], input.dtype, false)?;
                self.save(&count)?;
            }
            Loss::Mse | Loss::BinaryCrossEntropy => {
                self.save(&input)?;
                let target = self.tensor(&input.shape, input.dtype, false)?;
                self.save(&target)?;
            }
            Loss::L1 => {
                let difference = self.copy(&input)?;
                self.save(&difference)?;
            }
        }
        self.tensor(&[], input.dtype, input.requires_grad)
    }
}
