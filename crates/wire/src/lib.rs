//! Every format that another program reads.
#![forbid(unsafe_code)]

pub mod pickle;
pub mod value;

pub use value::{Command, Value};
