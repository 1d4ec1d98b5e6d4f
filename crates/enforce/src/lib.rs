//! Makes the kernel and the action commands match the bans.
#![forbid(unsafe_code)]
