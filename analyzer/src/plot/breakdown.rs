//! The plot `breakdown`.
