//! The plot `leaks`.
