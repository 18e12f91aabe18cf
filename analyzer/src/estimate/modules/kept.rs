//! What a module of torch keeps for backward, from its class and the shapes that were recorded.

use super::super::data_type::DataType;
use super::super::function::{Function, Keeps};
use super::super::model::Device;
use super::super::tape::elements;
use crate::load::ModuleRow;

/// What a module without modules in it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// What went in.
    pub(super) keeps_input: bool,
    /// What came out.
    pub(super) keeps_result: bool,
    /// What came out is what went in.
    pub(super) is_view: bool,
    /// What it makes besides.
    pub(super) more_bytes: i64,
}

impl Kept {
    const NOTHING: Self = Self { keeps_input: false, keeps_result: false, is_view: false, more_bytes: 0 };
    const INPUT: Self = Self { keeps_input: true, ..Self::NOTHING };
    const VIEW: Self = Self { is_view: true, ..Self::NOTHING };

    fn with(self, more_bytes: i64) -> Self {
        Self { more_bytes, ..self }
    }
}

/// By the class's name; `None` for one that is not known, shapes that make no sense, or sizes beyond 63 bits.
pub(super) fn kept(row: &ModuleRow, dtype: DataType, device: Device) -> Option<Kept> {
    let class = row.class.as_deref()?;
    let input = row.inputs.as_ref()?.first()?;
    let output = row.outputs.as_ref()?.first()?;
    let bytes = |shape: &[i64], dtype: DataType| elements(shape)?.checked_mul(dtype.size_bytes());
    let sizes = |shape: &[i64]| bytes(shape, dtype);
    // Statistics of halves are kept in `float32` on CUDA.
    let precise = if dtype.is_half() && device == Device::Cuda { DataType::Float32 } else { dtype };
    let outer = &input[..input.len().saturating_sub(1)];
    let channels = input.get(1..2).unwrap_or_default();
    if let Some(function) = Function::of_module(class) {
        let more = matches!(function.keeps, Keeps::More | Keeps::InputAndMore);
        return Some(Kept {
            keeps_input: matches!(function.keeps, Keeps::Input | Keeps::InputAndMore),
            keeps_result: function.keeps == Keeps::Result,
            is_view: false,
            more_bytes: if more { sizes(input)? } else { 0 },
        });
    }
    Some(match class {
        "Linear"
        | "NonDynamicallyQuantizableLinear"
        | "Conv1d"
        | "Conv2d"
        | "Conv3d"
        | "ConvTranspose1d"
        | "ConvTranspose2d"
        | "AvgPool1d"
        | "AvgPool2d"
        | "AvgPool3d"
        | "Conv1D" => Kept::INPUT,
        // Its indices were made by no module.
        "Embedding" | "Upsample" | "AdaptiveAvgPool1d" | "AdaptiveAvgPool2d" => Kept::NOTHING,
        "Identity" | "Flatten" | "Unflatten" => Kept::VIEW,
        "LayerNorm" => Kept::INPUT.with(bytes(outer, precise)?.checked_mul(2)?),
        "RMSNorm" if device == Device::Cuda => Kept::INPUT.with(bytes(outer, precise)?),
        "RMSNorm" => Kept::INPUT.with(bytes(outer, precise)?.checked_add(sizes(input)?)?),
        "BatchNorm1d" | "BatchNorm2d" | "BatchNorm3d" => {
            Kept::INPUT.with(bytes(channels, precise)?.checked_mul(2)?)
        }
        "Dropout" if device == Device::Cuda => Kept::NOTHING.with(bytes(input, DataType::Bool)?),
        "Dropout" => Kept::NOTHING.with(sizes(input)?),
        "MaxPool1d" | "MaxPool2d" | "MaxPool3d" | "AdaptiveMaxPool2d" => {
            Kept::INPUT.with(bytes(output, DataType::Int64)?)
        }
        // Its first parameter is [terms, in, rank]: as many sketches of each sample.
        "SKLinear" | "SketchedLinear" => {
            let [terms, _, rank] = **row.shapes.first()? else { return None };
            let sketches: Vec<i64> = outer.iter().copied().chain([terms, rank]).collect();
            Kept::INPUT.with(sizes(&sketches)?)
        }
        _ => return None,
    })
}
