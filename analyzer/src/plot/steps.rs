//! The plot `steps`.
