//! `-i`: commands from a prompt.

use std::io::{BufRead, Write};

use super::client::Client;
use super::usage;
use super::voice::Level;
use crate::cli::term::say;

/// The longest line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Takes commands until `exit`, `quit` or the end of the input; false if the
/// command that was given with `-i` failed or the input just ended.
pub(super) fn converse(client: &mut Client, first: &[String], caller: &str) -> bool {
    if !first.is_empty() && !done(client, first) {
        return false;
    }
    usage::greeting();
    let mut input = std::io::stdin().lock();
    loop {
        let mut out = std::io::stdout().lock();
        drop(out.write_all(b"fail2ban> ").and_then(|()| out.flush()));
        drop(out);
        let mut line = String::new();
        match std::io::Read::take(&mut input, LINE_BYTES_MAX).read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => {
                say("");
                client.voice.say(Level::Error, "EOF when reading a line");
                return false;
            }
        }
        let line = line.trim_end_matches(['\n', '\r']);
        match line {
            "exit" | "quit" => return true,
            "help" => usage::usage(caller),
            "" => {}
            line => match stockade_config::shell_words(line) {
                Ok(words) if words.is_empty() => {}
                Ok(words) => drop(done(client, &words)),
                Err(why) => client.voice.say(Level::Error, why),
            },
        }
    }
}

fn done(client: &mut Client, words: &[String]) -> bool {
    client.process(words).unwrap_or_else(|failed| {
        client.voice.say(Level::Error, failed.0);
        false
    })
}
