//! How fast stockade is, measured so that a wrong answer can't win.
#![forbid(unsafe_code)]

pub mod logs;
pub mod pipeline;
pub mod stock;
