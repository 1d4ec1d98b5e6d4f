//! Every format that another program reads.
#![forbid(unsafe_code)]
