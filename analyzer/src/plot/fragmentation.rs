//! The plot `fragmentation`.
