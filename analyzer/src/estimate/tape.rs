//! What one forward pass leaves behind: tensors by the storages that they lie in, and which of those autograd keeps.
//!
//! A storage counts once, with the layer that has it kept first, as `torch.autograd.graph.saved_tensors_hooks` sees it.
//! Nothing is computed but shapes.

use std::collections::HashMap;

use super::data_type::DataType;
use super::error::ModelError;
use super::figures::{EstimateRow, Figures};
use super::model::{Device, Training};

type Result<T> = std::result::Result<T, ModelError>;

/// Layers, with all copies of repeated ones.
const MOST_LAYERS: usize = 100_000;

/// A tensor: a storage seen with a shape.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    storage: usize,
    /// With the batch.
    pub(super) shape: Vec<i64>,
    pub(super) dtype: DataType,
    /// Backward goes through it.
    pub(super) requires_grad: bool,
}

impl Tensor {
    /// The last dimension; 1 of a number alone.
    pub(super) fn width(&self) -> i64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The same with another last dimension.
    pub(super) fn with_width(&self, width: i64) -> Vec<i64> {
        let outer = self.shape.len().saturating_sub(1);
        self.shape[..outer].iter().copied().chain([width]).collect()
    }
}

#[derive(Debug)]
struct Storage {
    bytes: i64,
    /// The row that it counts for, whoever has it kept.
    row: Option<usize>,
    is_held: bool,
    /// The segment in whose second forward it is made.
    made_again_in: Option<usize>,
}

/// A parameter: whether it is trained, and its copy in autocast's type once there is one.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    number: usize,
    shape: Vec<i64>,
    pub(super) is_trained: bool,
}

/// Records what layers do.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    pub(super) training: &'a Training,
    /// Where errors happen: the layer's path.
    pub(super) at: String,
    /// Parameters made from here on are not trained.
    pub(super) is_frozen: bool,
    pub(super) rows: Vec<EstimateRow>,
    by_path: HashMap<String, usize>,
    /// The layer's row and, within, its part's.
    current: Vec<usize>,
    storages: Vec<Storage>,
    parameters: Vec<Parameter>,
    casts: HashMap<usize, Tensor>,
    entered: usize,
    segment: Option<usize>,
    segment_input: Option<Tensor>,
    /// By segment: bytes of its input if nothing else keeps it, and what is made again within.
    pub(super) segments: Vec<(i64, i64)>,
    /// What is kept from forward to backward.
    pub(super) held_bytes: i64,
    pub(super) has_quantized: bool,
}

impl<'a> Tape<'a> {
    pub(super) fn new(training: &'a Training) -> Self {
        Self {
            training,
            at: "model".to_owned(),
            is_frozen: false,
            rows: Vec::new(),
            by_path: HashMap::new(),
            current: Vec::new(),
            storages: Vec::new(),
            parameters: Vec::new(),
            casts: HashMap::new(),
            entered: 0,
            segment: None,
            segment_input: None,
            segments: Vec::new(),
            held_bytes: 0,
            has_quantized: false,
        }
    }

    pub(super) fn is_cuda(&self) -> bool {
        self.training.device == Device::Cuda
    }

    pub(super) fn too_large(&self) -> ModelError {
        ModelError::TooLarge { at: self.at.clone() }
    }

    /// An error of shapes.
    pub(super) fn shape_error(&self, expected: impl Into<String>, found: impl Into<String>) -> ModelError {
        ModelError::Shape { at: self.at.clone(), expected: expected.into(), found: found.into() }
    }

    /// Checks a sum or product that may be beyond 63 bits.
    pub(super) fn checked(&self, number: Option<i64>) -> Result<i64> {
        number.ok_or_else(|| self.too_large())
    }

    /// Bytes of so many elements.
    pub(super) fn bytes(&self, shape: &[i64], dtype: DataType) -> Result<i64> {
        let elements = elements(shape).and_then(|elements| elements.checked_mul(dtype.size_bytes()));
        self.checked(elements)
    }

    /// Opens the row of a layer, or of a part of one, runs `inside`, closes it.
    pub(super) fn within<T>(
        &mut self,
        path: &str,
        type_name: &'static str,
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.entered += 1;
        if self.entered > MOST_LAYERS {
            return Err(ModelError::TooMany { at: self.at.clone(), most: MOST_LAYERS });
        }
        let number = match self.by_path.get(path) {
            Some(number) => *number,
            None => {
                let is_part = !self.current.is_empty();
                for &around in &self.current {
                    self.rows[around].has_parts = true;
                }
                self.rows.push(EstimateRow::new(path, type_name, is_part));
                self.by_path.insert(path.to_owned(), self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        self.rows[number].copies += 1;
        self.current.push(number);
        let outer = std::mem::replace(&mut self.at, path.to_owned());
        if let Some(input) = self.segment_input.take() {
            self.hold_segment_input(&input)?;
        }
        let result = inside(self)?;
        self.at = outer;
        self.current.pop();
        Ok(result)
    }

    /// Adds to a figure of the layer and of its part.
    pub(super) fn add(&mut self, figure: fn(&mut Figures) -> &mut i64, number: i64) -> Result<()> {
        for at in 0..self.current.len() {
            let row = self.current[at];
            self.add_to(row, figure, number)?;
        }
        Ok(())
    }

    fn add_to(&mut self, row: usize, figure: fn(&mut Figures) -> &mut i64, number: i64) -> Result<()> {
        let value = figure(&mut self.rows[row].figures);
        match value.checked_add(number) {
            Some(sum) => *value = sum,
            None => return Err(self.too_large()),
        }
        Ok(())
    }

    /// Says what goes into and comes out of the layer, or part, that is open.
    pub(super) fn note_shapes(&mut self, input: &Tensor, output: &Tensor) -> Result<()> {
        let Some(&row) = self.current.last() else { return Ok(()) };
        let (input_bytes, output_bytes) =
            (self.bytes(&input.shape, input.dtype)?, self.bytes(&output.shape, output.dtype)?);
        self.add_to(row, |figures| &mut figures.input_bytes, input_bytes)?;
        self.add_to(row, |figures| &mut figures.output_bytes, output_bytes)?;
        self.rows[row].output_shape.clone_from(&output.shape);
        Ok(())
    }

    /// A trained parameter of the layer, unless that is frozen.
    pub(super) fn parameter(&mut self, shape: &[i64]) -> Result<Parameter> {
        let dtype = self.training.dtype;
        let optimizer = self.training.optimizer;
        let elements = self.checked(elements(shape))?;
        let bytes = self.bytes(shape, dtype)?;
        self.add(|figures| &mut figures.parameters, elements)?;
        self.add(|figures| &mut figures.parameter_bytes, bytes)?;
        let is_trained = !self.is_frozen;
        if is_trained {
            self.add(|figures| &mut figures.gradient_bytes, bytes)?;
            let state_bytes = self.checked(optimizer.state_bytes(shape, dtype))?;
            self.add(|figures| &mut figures.optimizer_bytes, state_bytes)?;
            self.has_quantized |= optimizer.quantizes(elements);
        }
        let parameter = Parameter { number: self.parameters.len(), shape: shape.to_vec(), is_trained };
        self.parameters.push(parameter.clone());
        Ok(parameter)
    }

    /// A buffer of the layer.
    pub(super) fn buffer(&mut self, shape: &[i64], dtype: DataType) -> Result<()> {
        let (elements, bytes) = (self.checked(elements(shape))?, self.bytes(shape, dtype)?);
        self.add(|figures| &mut figures.buffers, elements)?;
        self.add(|figures| &mut figures.buffer_bytes, bytes)
    }

    /// A tensor in a storage of its own.
    pub(super) fn tensor(&mut self, shape: &[i64], dtype: DataType, requires_grad: bool) -> Result<Tensor> {
        let bytes = self.bytes(shape, dtype)?;
        self.storages.push(Storage { bytes, row: None, is_held: false, made_again_in: None });
        Ok(Tensor { storage: self.storages.len() - 1, shape: shape.to_vec(), dtype, requires_grad })
    }

    /// The batch; what is kept of it counts for the row that is open.
    pub(super) fn input(&mut self, shape: &[i64], dtype: DataType) -> Result<Tensor> {
        let tensor = self.tensor(shape, dtype, false)?;
        self.storages[tensor.storage].row = self.current.first().copied();
        Ok(tensor)
    }

    /// The same numbers in another shape.
    pub(super) fn view(&self, tensor: &Tensor, shape: &[i64]) -> Tensor {
        Tensor { shape: shape.to_vec(), ..tensor.clone() }
    }

    /// A copy.
    pub(super) fn copy(&mut self, tensor: &Tensor) -> Result<Tensor> {
        self.tensor(&tensor.shape, tensor.dtype, tensor.requires_grad)
    }

    /// In another element type: itself, if it is of that already.
    pub(super) fn cast(&mut self, tensor: &Tensor, dtype: DataType) -> Result<Tensor> {
        if tensor.dtype == dtype || !tensor.dtype.is_floating() {
            return Ok(tensor.clone());
        }
        self.tensor(&tensor.shape, dtype, tensor.requires_grad)
    }

    /// As autocast has it before a product.
    pub(super) fn cast_for_product(&mut self, tensor: &Tensor) -> Result<Tensor> {
        match self.training.autocast {
            // What is of 64 bits stays.
            Some(dtype) if tensor.dtype != DataType::Float64 => self.cast(tensor, dtype),
            _ => Ok(tensor.clone()),
        }
    }

    /// As autocast on CUDA has it before what needs precision.
    pub(super) fn cast_for_precision(&mut self, tensor: &Tensor) -> Result<Tensor> {
        let is_cast = self.training.autocast.is_some() && self.is_cuda() && tensor.dtype.is_half();
        if is_cast { self.cast(tensor, DataType::Float32) } else { Ok(tensor.clone()) }
    }

    /// Keeps the copy of a parameter that autocast has made for a product. Without one it is the parameter that is
    /// kept, which costs nothing.
    pub(super) fn save_cast_of(&mut self, parameter: &Parameter) -> Result<()> {
        let own = self.training.dtype;
        let Some(dtype) = self.training.autocast.filter(|dtype| *dtype != own && own != DataType::Float64)
        else {
            return Ok(());
        };
        let known = self.casts.get(&parameter.number).cloned();
        let tensor = match known {
            Some(known) => known,
            None => {
                let made = self.tensor(&parameter.shape, dtype, parameter.is_trained)?;
                // Autocast caches casts of leaves that are trained, and no others.
                if parameter.is_trained {
                    self.casts.insert(parameter.number, made.clone());
                }
                made
            }
        };
        self.save(&tensor)
    }

    /// Keeps it for backward.
    pub(super) fn save(&mut self, tensor: &Tensor) -> Result<()> {
        let (storage, segment) = (tensor.storage, self.segment);
        let &Storage { bytes, row, is_held, made_again_in } = &self.storages[storage];
        if is_held {
            return Ok(());
        }
        let Some(segment) = segment else {
            self.storages[storage].is_held = true;
            self.held_bytes = self.checked(self.held_bytes.checked_add(bytes))?;
            return match row {
                Some(row) => self.add_to(row, |figures| &mut figures.activation_bytes, bytes),
                None => self.add(|figures| &mut figures.activation_bytes, bytes),
            };
        };
        if made_again_in != Some(segment) {
            self.storages[storage].made_again_in = Some(segment);
            let made_again = self.segments[segment].1.checked_add(bytes);
            self.segments[segment].1 = self.checked(made_again)?;
            self.add(|figures| &mut figures.recomputed_bytes, bytes)?;
        }
        Ok(())
    }

    /// From here on layers are of a segment of which only the input is kept.
    pub(super) fn begin_segment(&mut self, input: &Tensor) {
        self.segments.push((0, 0));
        self.segment = None;
        self.segment_input = Some(input.clone());
    }

    /// No more segments.
    pub(super) fn end_segments(&mut self) {
        (self.segment, self.segment_input) = (None, None);
    }

    fn hold_segment_input(&mut self, input: &Tensor) -> Result<()> {
        let before = self.held_bytes;
        self.save(input)?;
        if let Some(last) = self.segments.len().checked_sub(1) {
            self.segments[last].0 = self.held_bytes - before;
            self.segment = Some(last);
        }
        Ok(())
    }
}

/// The product; `None` beyond 63 bits.
pub(super) fn elements(shape: &[i64]) -> Option<i64> {
    shape.iter().try_fold(1i64, |product, dimension| product.checked_mul(*dimension))
}
