//! Bounds on the work that a tree may cause, so that a hostile or mistaken one
//! ends in a message and not in a full memory.

use std::cell::Cell;

use crate::diagnostic::Problem;

/// Longest value after all substitutions, in bytes.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// Bytes handled by all substitutions of one run.
const MAX_WORK: u64 = 512 << 20;

/// Counts the work of one run.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    work: Cell<u64>,
}

impl Budget {
    /// Notes `bytes` of work (and a little for the step itself).
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Problem> {
        let work = self.work.get().saturating_add(bytes as u64 + 16);
        self.work.set(work);
        if work > MAX_WORK {
            return Err(Problem::new("the substitutions of this configuration never seem to end")
                .help("look for options that mention each other many times over"));
        }
        Ok(())
    }

    /// Refuses values that have grown too long.
    pub(crate) fn check_length(&self, length: usize) -> Result<(), Problem> {
        if length > MAX_VALUE {
            return Err(Problem::new(format!("the value grows beyond {MAX_VALUE} bytes"))
                .help("look for options that mention each other many times over"));
        }
        Ok(())
    }
}
