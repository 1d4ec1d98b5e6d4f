//! Telling the service manager how we are (`sd_notify`).
//!
//! Source: systemd's `sd_notify(3)`: datagrams of `KEY=value` lines to the
//! socket named by `NOTIFY_SOCKET`; a leading `@` is the abstract name space.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
