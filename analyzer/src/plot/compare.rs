//! The plot `compare`.
