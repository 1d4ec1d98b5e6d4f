//! Reading files with a bound, as the rest of the workspace does.

use std::{fs::File, io::Read, path::Path};

/// The most that is read of one file: 64 MiB, more than any log of a story.
const BYTES_MAX: u64 = 64 << 20;

/// The text of `path`, at most 64 MiB of it, with invalid UTF-8 replaced; empty if there is no such file.
#[must_use]
pub fn read_bounded(path: &Path) -> String {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => match file.take(BYTES_MAX).read_to_end(&mut bytes) {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        },
        Err(_) => String::new(),
    }
}
