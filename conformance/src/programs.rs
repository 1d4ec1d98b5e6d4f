//! The programs that a machine finds under `/run/stage`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

/// A folder with the programs under test, made once per run and shown to every machine.
///
/// It holds `stagehand` (our helper inside machines) and, when it was built, `stockade`.
#[derive(Debug)]
pub struct Programs {
    place: PathBuf,
    machines: AtomicU32,
}

impl Programs {
    /// Gathers the programs in a fresh folder below `scratch`.
    ///
    /// `stagehand` is taken from beside the running program, `stockade` from where the variable `STOCKADE_BIN` says,
    /// else from `target/release` beside `scratch`.
    ///
    /// # Errors
    /// When `stagehand` was not built or the folder cannot be made.
    pub fn gather(scratch: &Path) -> Result<Self> {
        sweep(scratch);
        let place = scratch.join(format!("programs-{}", process::id()));
        fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        let own = env::current_exe().context("find the running program")?;
        let stagehand = own.with_file_name("stagehand");
        fs::copy(&stagehand, place.join("stagehand")).with_context(|| format!("copy {}", stagehand.display()))?;
        let stockade = env::var_os("STOCKADE_BIN")
            .map_or_else(|| scratch.with_file_name("release").join("stockade"), PathBuf::from);
        if stockade.is_file() {
            fs::copy(&stockade, place.join("stockade")).with_context(|| format!("copy {}", stockade.display()))?;
        }
        Ok(Self { place, machines: AtomicU32::new(0) })
    }

    /// The folder itself.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// An empty folder for the next machine.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn next_place(&self) -> Result<PathBuf> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let name = format!("machine-{}-{number}", process::id());
        let place = self.place.with_file_name(name);
        fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        Ok(place)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.place));
    }
}

/// Removes what earlier runs that were killed have left: folders named after a process that is gone.
fn sweep(scratch: &Path) {
    let Ok(entries) = fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split('-').nth(1).and_then(|part| part.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
