//! Log files, the journal and streams as blocks of whole lines.
#![forbid(unsafe_code)]
