//! `logencoding`: a log of two bytes per character is followed like any other.

use crate::{Daemon, Encode};

fn little(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn big(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Bytes of a line that is there before the daemon's first ban: its characters hold the byte of a line feed.
fn noise() -> String {
    "\u{a41}\u{410a}\u{a0a} is no failure of 192.0.2.99\n".repeat(40)
}

#[test]
fn lines_of_two_bytes_per_character_are_followed() {
    let encodings: [(&str, Encode); 3] = [("utf-16le", little), ("utf-16be", big), ("utf-16", little)];
    for (name, encode) in encodings {
        let Some(daemon) = Daemon::start(name, &format!("logencoding = {name}")) else { return };
        let daemon = daemon.writing(encode);
        std::fs::write(daemon.path("app.log"), encode(&noise())).unwrap();
        daemon.until("192.0.2.1", "Ban");
        // Another file in its stead.
        std::fs::rename(daemon.path("app.log"), daemon.path("app.log.1")).unwrap();
        std::fs::write(daemon.path("app.log"), encode(&noise())).unwrap();
        daemon.until("192.0.2.2", "Ban");
    }
}
