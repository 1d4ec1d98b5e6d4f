//! `import`: bans from fail2ban's database, plain lists and our own export.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use stockade_core::judge::timespec::parse_seconds;
use stockade_core::{BanTime, FailureId};

use super::client::{Client, number};
use super::term::{self, Usage, note, say};
use super::{Common, Exit};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade import /var/lib/fail2ban/fail2ban.sqlite3     what fail2ban has banned\n  \
    stockade import ip.sshd.blacklist                      an old list, into the jail sshd\n  \
    stockade import --jail manual --time 30d list.txt      one address or network a line\n  \
    stockade import - < bans.json                          what `stockade export` wrote\n\n\
    Needs the running daemon. Whoever is banned already stays banned; importing the\n\
    same twice changes nothing. Bans that are over by now are left out.";

/// How many bytes of bans go into one request; the daemon takes up to 1 MiB.
const REQUEST_BYTES: usize = 512 << 10;

/// The longest line of a list that is looked at.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How many bad lines are shown; the rest is counted.
const BAD_LINES_SHOWN: u64 = 20;

/// How much of a bad line is shown.
const WORD_CHARS_SHOWN: usize = 60;

/// How each SQLite database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Words of `import`.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Databases of fail2ban, text lists, or files of `export`; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Jail for all bans [default: the one that is named; for lists the X of ip.X.blacklist, else manual]
    #[arg(long)]
    jail: Option<String>,
    /// How long addresses of a plain list are banned, from now on
    #[arg(long, default_value = "-1", allow_hyphen_values = true)]
    time: String,
    #[command(flatten)]
    common: Common,
}

/// Everything under way to the daemon.
struct Carrier {
    client: Client,
    waiting: Vec<Value>,
    bytes: usize,
    /// What became of the bans so far, as the daemon counts.
    sums: [i64; 4],
    unknown: std::collections::BTreeMap<String, i64>,
    bad_lines: u64,
    given: u64,
    progress: bool,
}

const SUMS: [&str; 4] = ["new", "already", "over", "withheld"];

/// Imports.
pub(crate) fn import(args: &ImportArgs) -> Result<Exit> {
    let secs = parse_seconds(&args.time)
        .map_err(|_| Usage(format!("--time '{}' is not a time; write 30m, 2h, 1d, or -1 for ever", args.time)))?;
    let mut carrier = Carrier {
        client: Client::connect(&args.common)?,
        waiting: Vec::new(),
        bytes: 0,
        sums: [0; 4],
        unknown: std::collections::BTreeMap::new(),
        bad_lines: 0,
        given: 0,
        progress: std::io::stderr().is_terminal(),
    };
    for file in &args.files {
        one(&mut carrier, file, args.jail.as_deref(), BanTime::from_secs_f64(secs))
            .with_context(|| format!("import of {file}"))?;
    }
    carrier.send()?;
    carrier.tell(&args.common)
}

fn one(carrier: &mut Carrier, file: &str, jail: Option<&str>, time: BanTime) -> Result<()> {
    if file == "-" {
        return lines(carrier, BufReader::new(std::io::stdin().lock()), file, jail, time);
    }
    let mut reader = BufReader::new(File::open(file)?);
    if reader.fill_buf()?.starts_with(SQLITE) {
        return database(carrier, Path::new(file), jail);
    }
    let named = Path::new(file).file_name().and_then(|name| name.to_str()).and_then(jail_of_list);
    lines(carrier, reader, file, jail.or(named), time)
}

/// The jail in the name of a list as people have kept them: `ip.sshd.blacklist`.
fn jail_of_list(name: &str) -> Option<&str> {
    name.strip_prefix("ip.")?.strip_suffix(".blacklist").filter(|jail| !jail.is_empty())
}

fn database(carrier: &mut Carrier, path: &Path, jail: Option<&str>) -> Result<()> {
    let mut trouble = None;
    stockade_store::import(path, |ban| {
        if trouble.is_some() {
            return;
        }
        let evidence = ban.evidence();
        let row = json!({
            "jail": jail.unwrap_or(ban.jail.as_str()), "id": ban.id.to_string(),
            "ip": evidence.ip.map(|ip| ip.to_string()), "time": ban.time.as_secs_f64(),
            "bantime": ban.bantime.map(BanTime::secs), "count": ban.count,
            "failures": evidence.failures, "matches": evidence.matches,
        });
        trouble = carrier.put(row).err();
    })?;
    trouble.map_or(Ok(()), Err)
}

/// A list or an export, told apart line by line.
fn lines(carrier: &mut Carrier, mut reader: impl BufRead, name: &str, jail: Option<&str>, time: BanTime) -> Result<()> {
    let now = crate::daemon::now();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.starts_with('{') {
            match serde_json::from_str::<Value>(text) {
                Ok(Value::Object(mut row)) if row.contains_key("id") && row.contains_key("jail") => {
                    if let Some(jail) = jail {
                        row.insert("jail".to_owned(), json!(jail));
                    }
                    carrier.put(Value::Object(row))?;
                }
                _ => carrier.bad(name, number, "is no ban as `export` writes them"),
            }
            continue;
        }
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match FailureId::parse(text) {
            FailureId::Net(net) => carrier.put(json!({
                "jail": jail.unwrap_or("manual"), "id": net.to_string(),
                "time": now.as_secs_f64(), "bantime": time.secs(), "count": 1, "failures": 0,
            }))?,
            FailureId::Text(_) => carrier.bad(name, number, &format!("{} is no address or network", shown(text))),
        }
    }
    Ok(())
}

/// The beginning of a word from a file, in quotes, with nothing that a terminal would obey.
fn shown(word: &str) -> String {
    let mut text = String::new();
    stockade_core::text::push_escaped(&mut text, &word.chars().take(WORD_CHARS_SHOWN).collect::<String>());
    let more = if word.chars().nth(WORD_CHARS_SHOWN).is_some() { " ..." } else { "" };
    format!("'{text}{more}'")
}

impl Carrier {
    fn put(&mut self, row: Value) -> Result<()> {
        self.bytes += row.to_string().len() + 1;
        self.given += 1;
        self.waiting.push(row);
        if self.bytes >= REQUEST_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn bad(&mut self, file: &str, line: u64, why: &str) {
        self.bad_lines += 1;
        if self.bad_lines <= BAD_LINES_SHOWN {
            note(format!("stockade: {file}:{line}: {why}; the line is left out"));
        }
    }

    fn send(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let bans = std::mem::take(&mut self.waiting);
        let answer = self.client.ask("import", &json!({ "bans": bans }))?;
        for (sum, name) in self.sums.iter_mut().zip(SUMS) {
            *sum += number(&answer, name);
        }
        for (jail, count) in answer.get("unknown").and_then(Value::as_object).into_iter().flatten() {
            *self.unknown.entry(jail.clone()).or_default() += count.as_i64().unwrap_or_default();
        }
        if self.progress {
            eprint_progress(&format!("{} bans handed over ...", self.given));
        }
        Ok(())
    }

    fn tell(self, common: &Common) -> Result<Exit> {
        if self.progress {
            eprint_progress("");
        }
        let [new, already, over, withheld] = self.sums;
        if common.json {
            say(json!({
                "new": new, "already": already, "over": over, "withheld": withheld,
                "unknown": self.unknown, "bad_lines": self.bad_lines,
            })
            .to_string());
        } else {
            if self.bad_lines > BAD_LINES_SHOWN {
                note(format!("stockade: {} lines left out in all", self.bad_lines));
            }
            say(format!("{new} bans imported, {already} stood already, {over} are over"));
            if withheld > 0 {
                say(term::warn(&format!(
                    "{withheld} withheld: they would lock somebody out who is logged in or trusted"
                )));
            }
            for (jail, count) in &self.unknown {
                let mut shown = String::new();
                stockade_core::text::push_escaped(&mut shown, jail);
                say(term::warn(&format!("{count} left out: there is no jail '{shown}' here (choose one with --jail)")));
            }
        }
        let bad = self.bad_lines > 0 || !self.unknown.is_empty();
        Ok(if bad && new + already == 0 { Exit::Refused } else { Exit::Done })
    }
}

/// Replaces the last line on the terminal.
fn eprint_progress(text: &str) {
    use std::io::Write as _;
    drop(write!(std::io::stderr().lock(), "\r\x1b[K{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_old_list_names_its_jail() {
        assert_eq!(jail_of_list("ip.sshd.blacklist"), Some("sshd"));
        assert_eq!(jail_of_list("ip..blacklist"), None);
        assert_eq!(jail_of_list("list.txt"), None);
    }
}
