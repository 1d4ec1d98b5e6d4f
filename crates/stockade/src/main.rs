//! stockade
fn main() {}
