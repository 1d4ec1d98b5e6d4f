//! Places at which a daemon of a test build can be made to die: the arrows of
//! the drawing in ARCHITECTURE.md. `STOCKADE_DIE_AT=ARROW:N` kills it the N-th
//! time it passes that one. A release build knows nothing of it.

/// Passes an arrow.
#[cfg(debug_assertions)]
pub(crate) fn pass(arrow: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static DEADLY: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let deadly = DEADLY.get_or_init(|| {
        let text = std::env::var("STOCKADE_DIE_AT").ok()?;
        let (arrow, pass) = text.rsplit_once(':')?;
        Some((arrow.to_owned(), pass.parse().ok()?))
    });
    let Some((deadly, count)) = deadly else { return };
    if deadly == arrow && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap_or_default();
        std::thread::park();
    }
}

/// Passes an arrow.
#[cfg(not(debug_assertions))]
pub(crate) fn pass(_: &str) {}
