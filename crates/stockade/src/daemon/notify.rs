//! Telling the service manager how we are (`sd_notify`).
//!
//! Source: systemd's `sd_notify(3)`: datagrams of `KEY=value` lines to the
//! socket named by `NOTIFY_SOCKET`; a leading `@` is the abstract name space.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::judge::{JudgeControl, JudgeInbox};

/// Sends `state`, such as `READY=1`, if somebody wants to know. Errors are
/// nobody's affair: without a manager nothing waits for it.
pub(crate) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Some(path) = path.to_str() else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    };
    if let Ok(address) = address {
        drop(socket.send_to_addr(state.as_bytes(), &address));
    }
}

/// How often the service manager wants to hear from this process (`WatchdogSec`); `None` if never.
fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|usec| for_us && *usec > 0).map(Duration::from_micros)
}

/// From now on the service manager hears that we live as long as the judge does: it is the judge who sends the word.
/// A judge that hangs goes silent, and the service manager starts us anew; bans stay in the kernel meanwhile.
///
/// # Errors
/// When no thread can be started.
pub(super) fn keep_watchdog(judge: Arc<JudgeInbox>) -> std::io::Result<()> {
    let Some(interval) = watchdog() else { return Ok(()) };
    // Three times within each interval, so that one lost datagram does no harm.
    let pause = (interval / 3).clamp(Duration::from_millis(10), Duration::from_secs(20));
    let beat = move || {
        loop {
            judge.control(JudgeControl::Look(Box::new(|_, _| notify("WATCHDOG=1"))));
            std::thread::sleep(pause);
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(beat).map(drop)
}
