//! Journal of decisions and the original's database.
#![forbid(unsafe_code)]
