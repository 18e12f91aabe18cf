//! Tables that are looked up.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::tape::{Parameter, Tape, Tensor};
use super::linear::shown;

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Rows by index: keeps the indices.
    pub(crate) fn embedding(
        &mut self,
        input: &Tensor,
        num_embeddings: i64,
        embedding_dim: i64,
    ) -> Result<(Tensor, Parameter)> {
        if input.dtype.is_floating() {
            let expected = "indices (int64); give the input as {\"shape\": […], \"dtype\": \"int64\"}";
            return Err(self.shape_error(expected, input.dtype.as_str()));
        }
        let weight = self.parameter(&[num_embeddings, embedding_dim])?;
        if weight.is_trained {
            self.save(input)?;
        }
        let shape: Vec<i64> = input.shape.iter().copied().chain([embedding_dim]).collect();
        let output = self.tensor(&shape, self.training.dtype, weight.is_trained)?;
        Ok((output, weight))
    }

    /// Adds a row for each position. Looked up, the positions' indices are kept; cut from the table, nothing is.
    pub(crate) fn position_embedding(
        &mut self,
        input: &Tensor,
        num_embeddings: i64,
        embedding_dim: Option<i64>,
        is_sliced: bool,
    ) -> Result<Tensor> {
        let width = self.expect_width(input, "embedding_dim", embedding_dim)?;
        let [.., length, _] = *input.shape.as_slice() else {
            return Err(self.shape_error("[batch, sequence, width]", shown(&input.shape)));
        };
        if length > num_embeddings {
            let expected = format!("sequences of at most {num_embeddings} (num_embeddings)");
            return Err(self.shape_error(expected, length.to_string()));
        }
        let weight = self.parameter(&[num_embeddings, width])?;
        if weight.is_trained && !is_sliced {
            let positions = self.tensor(&[length], DataType::Int64, false)?;
            self.save(&positions)?;
        }
        let requires_grad = input.requires_grad || weight.is_trained;
        // A sum of two types is of the wider.
        let own = self.training.dtype;
        let dtype = if own.size_bytes() > input.dtype.size_bytes() { own } else { input.dtype };
        self.tensor(&input.shape, dtype, requires_grad)
    }
}
