//! Starting, stopping, and what is said of the run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Map, Value};
use tidegauge_recorder::{Alert, Existing, RaisedAlert, RecorderBuilder, binding};
use tidegauge_schemas::process::DeviceInfo;

use crate::error::raised;

fn object(json: &str) -> PyResult<Map<String, Value>> {
    serde_json::from_str(json).map_err(|error| PyValueError::new_err(format!("not a JSON object: {error}")))
}

/// Starts recording into the folder `run`; the folder that it became.
#[pyfunction]
#[pyo3(signature = (run, *, config = "{}", interval = None, rank = None, join = false, ring = None, windows = None,
                    alerts = Vec::new(), counters = "fresh", journal_cap_bytes = None, on_alert = None,
                    environment = true))]
#[allow(clippy::too_many_arguments)] // keywords in Python
pub(crate) fn start(
    py: Python<'_>,
    run: PathBuf,
    config: &str,
    interval: Option<f64>,
    rank: Option<u32>,
    join: bool,
    ring: Option<u64>,
    windows: Option<(u64, u64)>,
    alerts: Vec<String>,
    counters: &str,
    journal_cap_bytes: Option<u64>,
    on_alert: Option<Py<PyAny>>,
    environment: bool,
) -> PyResult<OsString> {
    let mut builder = binding::builder(run, environment);
    for (key, value) in object(config)? {
        builder = builder.config(&key, value);
    }
    if let Some(seconds) = interval {
        let interval = Duration::try_from_secs_f64(seconds).ok().filter(|interval| !interval.is_zero());
        let wrong =
            || PyValueError::new_err(format!("interval must be a time in seconds above 0, not {seconds}"));
        builder = builder.interval(interval.ok_or_else(wrong)?);
    }
    builder = match counters {
        "fresh" => builder.counters_at_checkpoints(true),
        "sampled" => builder.counters_at_checkpoints(false),
        other => {
            let text = format!("counters must be \"fresh\" or \"sampled\", not {other:?}");
            return Err(PyValueError::new_err(text));
        }
    };
    if let Some(rank) = rank {
        builder = builder.rank(rank);
    }
    if join {
        builder = builder.existing(Existing::Join);
    }
    builder = retention(builder, ring, windows)?;
    for alert in alerts {
        builder =
            builder.alert(alert.parse::<Alert>().map_err(|error| PyValueError::new_err(error.to_string()))?);
    }
    if let Some(bytes) = journal_cap_bytes {
        builder = builder.journal_cap_bytes(bytes);
    }
    if let Some(callback) = on_alert {
        builder = builder.on_alert(move |alert| tell(&callback, alert));
    }
    py.detach(|| binding::start(builder)).map(PathBuf::into_os_string).map_err(raised)
}

fn retention(
    builder: RecorderBuilder,
    ring: Option<u64>,
    windows: Option<(u64, u64)>,
) -> PyResult<RecorderBuilder> {
    match (ring, windows) {
        (Some(_), Some(_)) => Err(PyValueError::new_err("ring and windows exclude each other")),
        (Some(0), None) => Err(PyValueError::new_err("ring must be a number of records above 0")),
        (Some(records), None) => Ok(builder.ring(records)),
        (None, Some((0, 0))) => Err(PyValueError::new_err("windows of (0, 0) would keep no step at all")),
        (None, Some((first, every))) => Ok(builder.windows(first, every)),
        (None, None) => Ok(builder),
    }
}

/// On the recorder's own thread. What the callback raises is printed; an interpreter that ends is not told.
fn tell(callback: &Py<PyAny>, alert: &RaisedAlert) {
    Python::try_attach(|py| {
        let call = || -> PyResult<()> {
            let told = PyDict::new(py);
            told.set_item("rule", &alert.rule)?;
            told.set_item("value", alert.value)?;
            told.set_item("line", &alert.line)?;
            callback.call1(py, (told,)).map(drop)
        };
        if let Err(error) = call() {
            error.write_unraisable(py, Some(callback.bind(py)));
        }
    });
}

/// Stops recording and seals everything; the trace folder, or `None` if nothing was on.
#[pyfunction]
pub(crate) fn stop(py: Python<'_>) -> PyResult<Option<OsString>> {
    let stopped = py.detach(binding::stop).map_err(raised)?;
    Ok(stopped.map(PathBuf::into_os_string))
}

/// Whether what this process does now is recorded.
#[pyfunction]
pub(crate) fn is_on() -> bool {
    binding::is_on()
}

/// The folder that is recorded into, or was last.
#[pyfunction]
pub(crate) fn run_path() -> Option<OsString> {
    binding::run_path().map(PathBuf::into_os_string)
}

/// Id of the run that is recorded, by which other processes of the same job join it.
#[pyfunction]
pub(crate) fn run_id() -> Option<String> {
    binding::run_id()
}

/// Records dropped so far.
#[pyfunction]
pub(crate) fn dropped_records() -> u64 {
    binding::dropped_records()
}

/// Has what a ring keeps written, and without a ring what is recorded so far, in the background.
#[pyfunction]
pub(crate) fn dump() {
    tidegauge_recorder::dump();
}

/// Resident memory of this process, read now; `None` where it cannot be read.
#[pyfunction]
pub(crate) fn rss_bytes() -> Option<u64> {
    binding::rss_bytes()
}

/// A row of the table `modules`: a JSON object whose keys are its columns.
#[pyfunction]
pub(crate) fn module(row: &str) {
    binding::module(row);
}

/// Adds a line to what could not be recorded as wished. What fails is left out: it is said while training.
#[pyfunction]
pub(crate) fn note(py: Python<'_>, line: &str) {
    let _ = py.detach(|| binding::note(line));
}

/// Says which versions are at work: a JSON object of texts.
#[pyfunction]
pub(crate) fn versions(py: Python<'_>, json: &str) -> PyResult<()> {
    let versions =
        object(json)?.into_iter().filter_map(|(name, text)| Some((name, text.as_str()?.to_owned())));
    let _ = py.detach(|| binding::set_versions(versions));
    Ok(())
}

/// Says which accelerators the process can see: a JSON array of `index`, `uuid`, `name`, `total_bytes`, `pci_bus_id`.
#[pyfunction]
pub(crate) fn devices(py: Python<'_>, json: &str) -> PyResult<()> {
    let devices: Vec<DeviceInfo> =
        serde_json::from_str(json).map_err(|error| PyValueError::new_err(format!("not devices: {error}")))?;
    let _ = py.detach(|| binding::set_devices(devices));
    Ok(())
}

/// Adds to the run's configuration while recording: a JSON object.
#[pyfunction]
pub(crate) fn config(py: Python<'_>, json: &str) -> PyResult<()> {
    let config = object(json)?;
    py.detach(|| binding::add_config(config)).map_err(raised)
}

/// Seals what killed processes left in a trace; how many records that were.
#[pyfunction]
pub(crate) fn recover(py: Python<'_>, run: PathBuf) -> PyResult<u64> {
    let recovered = py.detach(|| tidegauge_recorder::recover(&run)).map_err(raised)?;
    Ok(recovered.iter().map(|process| process.records).sum())
}
