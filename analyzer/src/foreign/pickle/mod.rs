//! A reader of pickles that knows containers and scalars, and runs nothing.
//!
//! A PyTorch memory snapshot is a pickle of dicts: a million of one shape, and a few hundred thousand that share their
//! stacks. Python's own reader makes an object of each; this one hands every dict, as soon as it is complete, to a
//! [`Fold`], which keeps what it needs of it in a few bytes. Opcodes that name classes, call or build are refused.
//! Nothing here recurses, and what is kept is counted against the size of the file.

mod bytes;
mod error;
mod heap;
mod machine;
mod memo;
mod opcode;
#[cfg(test)]
mod tests;

pub(super) use error::PickleError;
pub(super) use heap::{Folded, Heap, TextId, Value};
pub(super) use machine::{Fold, read};
