//! Reads a configuration tree into the command stream.
#![forbid(unsafe_code)]
