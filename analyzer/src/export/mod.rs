//! Exports: results and rows in the forms that other tools open.
//!
//! Each form is a module that writes to whatever it is given; files and their names are the command line's.

pub mod pytorch_snapshot;
pub mod tables;

mod pickle;
mod row_file;
mod site_stacks;
mod stream_column;
mod typed_table;
