//! Python's regular expressions, exact and bounded.
#![forbid(unsafe_code)]
