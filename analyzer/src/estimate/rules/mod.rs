//! What each layer does to a tape: its parameters, what comes out, what is kept for backward.
//!
//! The rules follow torch 2.15's `derivatives.yaml` and the Python of `torch.nn`. Tests compare them with what
//! `saved_tensors_hooks` sees of modules that are really built.

mod activation;
mod attention;
mod convolution;
mod embedding;
mod linear;
mod loss;
mod norm;
mod pool;
mod transformer;

pub(super) use linear::shown;
