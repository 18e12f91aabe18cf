//! stub
/// stub
pub fn markdown() -> String { String::new() }
