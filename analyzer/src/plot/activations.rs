//! The plot `activations`.
