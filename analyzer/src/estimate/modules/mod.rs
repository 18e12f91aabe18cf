//! An estimate from the modules of a recorded run, beside what was measured.
//!
//! Parameters, buffers and gradients are as recorded; optimizer state follows from the shapes of parameters. Activations
//! are estimated from shapes alone: a module whose output has the shape of the next one's input is taken to feed it, so
//! that what is kept counts for the module that made it, as measured blocks do. What functions outside of modules
//! keep is not seen.

mod kept;
mod measured;
mod notes;
mod scaled;

use std::collections::HashMap;

pub use measured::MeasuredModule;

use self::kept::kept;
use self::measured::measure;
use self::scaled::{first_size, scaled};
use super::data_type::DataType;
use super::model::Device;
use super::optimizer::Optimizer;
use super::tape::elements;
use crate::error::Result;
use crate::load::Process;
use crate::load::{ModuleRow, module_rows};

/// What the user says about the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModuleOptions {
    /// Samples at once; the last step's otherwise.
    pub batch: Option<i64>,
    /// Element type of activations; that of the parameters otherwise.
    pub dtype: Option<DataType>,
    /// The optimizer; the recorded one otherwise.
    pub optimizer: Option<Optimizer>,
    /// Whose kernels; those of the device that was measured otherwise.
    pub device: Option<Device>,
    /// Whether the configuration says that activations are computed again in backward, of which shapes tell nothing.
    pub is_checkpointed: bool,
}

/// A module: recorded, estimated, measured. `None` is what is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFigures {
    /// Its path.
    pub module: String,
    /// Its class.
    pub class: Option<String>,
    /// Numbers in its own parameters.
    pub parameters: Option<i64>,
    /// Their size.
    pub parameter_bytes: Option<i64>,
    /// Numbers in its own buffers.
    pub buffers: Option<i64>,
    /// Their size.
    pub buffer_bytes: Option<i64>,
    /// Estimated: as many as parameters.
    pub gradient_bytes: Option<i64>,
    /// Estimated from the shapes of parameters.
    pub optimizer_bytes: Option<i64>,
    /// Estimated: what of its making is kept for backward.
    pub activation_bytes: Option<i64>,
    /// What comes out of it.
    pub output_bytes: Option<i64>,
    /// Blocks that bear its path.
    pub measured: MeasuredModule,
}

/// The modules of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleEstimate {
    /// In the order of their first calls, inner ones first.
    pub modules: Vec<ModuleFigures>,
    /// The sum of what is known; measured is everything, whatever its path.
    pub total: ModuleFigures,
    /// The step that was measured.
    pub step: Option<i64>,
    /// Samples that shapes are of.
    pub batch: Option<i64>,
    /// The optimizer's name, if that is known.
    pub optimizer: Option<String>,
    /// Classes of which it is not known what they keep.
    pub unknown_classes: Vec<String>,
    /// What to know before believing it.
    pub notes: Vec<String>,
}

/// Of a process whose modules were recorded; `None` if none were.
///
/// # Errors
/// If the trace cannot be read.
pub fn module_estimate(
    process: &Process,
    options: ModuleOptions,
    shows: impl Fn(i16) -> bool,
) -> Result<Option<ModuleEstimate>> {
    let batch = options.batch;
    let rows = module_rows(process, batch)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let measured = measure(process, shows)?;
    let recorded_batch = measured.batch_size.or_else(|| first_size(&rows));
    let mut batch = batch.or(measured.batch_size);
    let mut measured = measured;
    let mut notes = Vec::new();
    let rows = match (options.batch, recorded_batch) {
        (Some(asked), Some(recorded)) if first_size(&rows) != Some(asked) => {
            let (rows, has_any) = scaled(module_rows(process, Some(recorded))?, recorded, asked);
            batch = Some(if has_any { asked } else { recorded });
            notes.extend(has_any.then(|| {
                format!(
                    "Shapes whose first size is the recorded batch of {recorded} are scaled to {asked}; what activations \
                     were measured is of {recorded} and left out."
                )
            }));
            measured.forget_activations();
            rows
        }
        (Some(_), Some(_)) => rows,
        (Some(_), None) => {
            batch = None;
            rows
        }
        (None, _) => module_rows(process, batch)?,
    };
    let is_measured_on_accelerator = measured.device.is_some_and(|device| device >= 0);
    let recorded = if is_measured_on_accelerator { Device::Cuda } else { Device::Cpu };
    let device = options.device.unwrap_or(recorded);
    // One that keeps something for each parameter; SGD does with momentum only.
    let recorded = measured.optimizer.as_deref().map(|name| if name == "SGD" { "momentum" } else { name });
    let recorded = recorded.and_then(|name| Optimizer::named(name).ok());
    let optimizer = options.optimizer.or(recorded);
    let (activations, unknown_classes) = activations(&rows, options.dtype, device);
    let mut modules = Vec::with_capacity(rows.len());
    let mut dtype = DataType::Float32;
    for (at, row) in rows.iter().enumerate() {
        dtype = own_dtype(row).unwrap_or(dtype);
        let state = |optimizer: &Optimizer| {
            let states = row.shapes.iter().map(|shape| optimizer.state_bytes(shape, dtype));
            states.into_iter().try_fold(0i64, |sum, state| sum.checked_add(state?))
        };
        let output = row.outputs.iter().flatten().next();
        let activation_dtype = options.dtype.unwrap_or(dtype);
        modules.push(ModuleFigures {
            module: row.path.clone(),
            class: row.class.clone(),
            parameters: row.parameters,
            parameter_bytes: row.parameter_bytes,
            buffers: row.buffers,
            buffer_bytes: row.buffer_bytes,
            gradient_bytes: row.parameter_bytes,
            optimizer_bytes: optimizer.as_ref().and_then(state),
            activation_bytes: activations[at],
            output_bytes: output.and_then(|shape| bytes(shape, activation_dtype)),
            measured: measured.of_module(&row.path),
        });
    }
    let frozen = freeze(&mut modules);
    let total = total(&modules, measured.total);
    notes.extend(notes::of_frozen(&frozen));
    notes.extend(notes::of_figures(&total, optimizer.as_ref(), options.is_checkpointed));
    Ok(Some(ModuleEstimate {
        modules,
        total,
        step: measured.step,
        batch,
        optimizer: optimizer.map(|optimizer| optimizer.name().to_owned()).or(measured.optimizer),
        unknown_classes,
        notes,
    }))
}

/// Takes parameters for frozen of which no gradients were measured where others had some; the paths of their modules.
fn freeze(modules: &mut [ModuleFigures]) -> Vec<String> {
    let has_gradients = |of: &ModuleFigures| of.measured.gradient_bytes.is_some_and(|bytes| bytes > 0);
    if !modules.iter().any(has_gradients) {
        return Vec::new();
    }
    // A module that uses the parameters of one within it by itself has their gradients counted as its own.
    let has_more = |of: &&ModuleFigures| of.measured.gradient_bytes > of.parameter_bytes;
    let users: Vec<String> = modules.iter().filter(has_more).map(|of| format!("{}.", of.module)).collect();
    let is_frozen = |of: &&mut ModuleFigures| {
        of.parameters > Some(0)
            && of.measured.gradient_bytes == Some(0)
            && !users.iter().any(|user| of.module.starts_with(user.as_str()))
    };
    let mut paths = Vec::new();
    for of in modules.iter_mut().filter(is_frozen) {
        of.gradient_bytes = Some(0);
        of.optimizer_bytes = of.optimizer_bytes.map(|_| 0);
        paths.push(of.module.clone());
    }
    paths
}

fn bytes(shape: &[i64], dtype: DataType) -> Option<i64> {
    elements(shape)?.checked_mul(dtype.size_bytes())
}

fn own_dtype(row: &ModuleRow) -> Option<DataType> {
    row.dtypes.iter().filter_map(|name| DataType::named(name)).find(|dtype| dtype.is_floating())
}

/// What each module's making keeps alive, and the classes of which that is not known.
fn activations(
    rows: &[ModuleRow],
    said: Option<DataType>,
    device: Device,
) -> (Vec<Option<i64>>, Vec<String>) {
    let by_path: HashMap<&str, usize> = rows.iter().enumerate().map(|(at, row)| (&*row.path, at)).collect();
    let parent = |path: &str| by_path.get(path.rsplit_once('.')?.0).copied();
    let is_called = |row: &ModuleRow| row.inputs.is_some();
    let mut has_called_within = vec![false; rows.len()];
    for row in rows.iter().filter(|row| is_called(row)) {
        let mut path: &str = &row.path;
        while let Some((outer, _)) = path.rsplit_once('.') {
            if let Some(&at) = by_path.get(outer) {
                has_called_within[at] = true;
            }
            path = outer;
        }
    }
    let mut sums: Vec<Option<i64>> = rows.iter().map(|row| is_called(row).then_some(0)).collect();
    let mut unknown: Vec<String> = Vec::new();
    let add = |sums: &mut Vec<Option<i64>>, at: usize, more: Option<i64>| {
        sums[at] = sums[at].zip(more).and_then(|(sum, more)| sum.checked_add(more));
    };
    let mut dtype = DataType::Float32;
    // Who made what the last module gave, its shape, and whether that is counted.
    let mut before: Option<(usize, &[i64], bool)> = None;
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| is_called(row)) {
        dtype = own_dtype(row).unwrap_or(dtype);
        let activation_dtype = said.unwrap_or(dtype);
        if has_called_within[at] {
            continue;
        }
        let shape = |shapes: &Option<Vec<Vec<i64>>>| shapes.iter().flatten().next().cloned();
        let Some(kept) = kept(row, activation_dtype, device) else {
            sums[at] = None;
            unknown.extend(row.class.clone());
            before = None;
            continue;
        };
        let (input, output) = (shape(&row.inputs).unwrap_or_default(), &row.outputs);
        let output = output.as_ref().and_then(|shapes| shapes.first());
        let fed = before.filter(|(_, shape, _)| *shape == input);
        let input_bytes = bytes(&input, activation_dtype);
        match (fed, before) {
            (Some((maker, _, false)), _) if kept.keeps_input => add(&mut sums, maker, input_bytes),
            // What another one gave went to functions outside of modules, which mostly keep it; what went in here is
            // of their making.
            (None, Some((maker, shape, is_counted))) => {
                if !is_counted {
                    add(&mut sums, maker, bytes(shape, activation_dtype));
                }
                if let (true, Some(around)) = (kept.keeps_input, parent(&row.path)) {
                    add(&mut sums, around, input_bytes);
                }
            }
            _ => {}
        }
        add(&mut sums, at, Some(kept.more_bytes));
        let mut is_counted = kept.keeps_result;
        if kept.keeps_result {
            add(&mut sums, at, output.and_then(|shape| bytes(shape, activation_dtype)));
        }
        let mut maker = at;
        if let (true, Some((earlier, _, was_counted))) = (kept.is_view, fed) {
            (maker, is_counted) = (earlier, was_counted || kept.keeps_input);
        }
        before = output.map(|shape| (maker, shape.as_slice(), is_counted));
    }
    unknown.sort_unstable();
    unknown.dedup();
    (sums, unknown)
}

fn total(modules: &[ModuleFigures], measured: MeasuredModule) -> ModuleFigures {
    let sum = |of: fn(&ModuleFigures) -> Option<i64>| {
        let known: Vec<i64> = modules.iter().filter_map(of).collect();
        if known.is_empty() { None } else { known.into_iter().try_fold(0i64, i64::checked_add) }
    };
    ModuleFigures {
        module: "total".to_owned(),
        class: None,
        parameters: sum(|of| of.parameters),
        parameter_bytes: sum(|of| of.parameter_bytes),
        buffers: sum(|of| of.buffers),
        buffer_bytes: sum(|of| of.buffer_bytes),
        gradient_bytes: sum(|of| of.gradient_bytes),
        optimizer_bytes: sum(|of| of.optimizer_bytes),
        activation_bytes: sum(|of| of.activation_bytes),
        output_bytes: sum(|of| of.output_bytes),
        measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, parameter_bytes: i64, measured_gradient_bytes: i64) -> ModuleFigures {
        let known = Some(parameter_bytes);
        ModuleFigures {
            module: path.to_owned(),
            class: None,
            parameters: Some(parameter_bytes / 4),
            parameter_bytes: known,
            buffers: None,
            buffer_bytes: None,
            gradient_bytes: known,
            optimizer_bytes: known,
            activation_bytes: None,
            output_bytes: None,
            measured: MeasuredModule {
                gradient_bytes: Some(measured_gradient_bytes),
                ..MeasuredModule::default()
            },
        }
    }

    #[test]
    fn frozen_is_what_has_no_gradients_anywhere() {
        let mut modules = [
            module("net.frozen", 400, 0),
            module("net.attention.out", 80, 0),
            module("net.attention", 160, 240),
            module("net.trained", 40, 40),
            module("net", 0, 0),
        ];
        assert_eq!(freeze(&mut modules), ["net.frozen"], "attention uses what is in it by itself");
        let gradients: Vec<_> = modules.iter().map(|of| of.gradient_bytes).collect();
        assert_eq!(gradients, [Some(0), Some(80), Some(160), Some(40), Some(0)]);
        assert_eq!(modules[0].optimizer_bytes, Some(0));
        let mut unmeasured = [module("net.one", 400, 0)];
        assert!(freeze(&mut unmeasured).is_empty(), "nothing is known where nothing had any");
    }
}
