//! Reads Tidegauge traces and says what they mean.
//!
//! load → replay → analysis → render. [`load`] gives rows, [`replay`] says what they did to memory, an analysis is a
//! pure function over that, and rendering draws or prints without computing anything. It runs on any machine: it
//! knows nothing of NVML, of the recorder or of Python.

pub mod analysis;
pub mod cli;
mod error;
pub mod estimate;
pub mod export;
pub mod foreign;
pub mod import;
pub mod load;
pub mod plot;
pub mod query;
pub mod render;
pub mod replay;
pub mod report;

pub use error::{Error, Result};
