//! Lines to failures.
