//! The plot `blocks`.
