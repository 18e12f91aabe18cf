//! What the example programs are made of: data that they make themselves, and a model.

pub mod burgers;
pub mod unet;
