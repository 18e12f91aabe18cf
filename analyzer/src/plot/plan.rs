//! The plot `plan`.
