//! A `libnvidia-ml.so` without a driver: two devices that tests can break while they are watched.
//!
//! It exports the part of the NVML C ABI that the recorder asks for, with the types of `nvml-wrapper-sys`. What it
//! says stands in a text file that is read anew at each call: the one that `FAKE_NVML_STATE` names, else `LIBRARY.state`
//! beside the library itself, so that each copy of the library has its own. Its lines override those of
//! `default.state`, where the keys are listed. A value `!NAME` makes the call return that error.

#![allow(non_snake_case)] // The names are NVML's.

mod device;
mod exports;
mod processes;
mod state;
