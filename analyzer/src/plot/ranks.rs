//! The plot `ranks`.
