//! `ban`, `unban`, `allow` and `disallow`.

use std::io::{BufRead, Read};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use stockade_core::judge::timespec::parse_seconds;

use super::client::{Client, harmless, list, number, text};
use super::term::{self, say};
use super::{Common, Exit};

pub(crate) const BAN_EXAMPLES: &str = "Examples:\n  \
    stockade ban 192.0.2.1                      until lifted, on all ports\n  \
    stockade ban 192.0.2.0/24 2001:db8::/32     networks\n  \
    stockade ban 192.0.2.1 --time 2h --jail sshd\n  \
    stockade ban - < addresses.txt              one a line; # begins a comment";

pub(crate) const UNBAN_EXAMPLES: &str = "Examples:\n  \
    stockade unban 192.0.2.1           in every jail; its history is forgotten too\n  \
    stockade unban 192.0.2.0/24        every ban inside the network\n  \
    stockade unban --all";

pub(crate) const ALLOW_EXAMPLES: &str = "Examples:\n  \
    stockade allow 192.0.2.1           never banned by any jail, until `disallow`\n  \
    stockade allow 2001:db8:1::/48     a whole network; kept over restarts";

pub(crate) const DISALLOW_EXAMPLES: &str = "Examples:\n  \
    stockade disallow 192.0.2.1        from now on its failures count again";

/// The longest list taken from standard input.
const STDIN_BYTES_MAX: u64 = 256 << 20;

/// How many addresses go into one request; well below the daemon's limit of 1 MiB.
const ADDRESSES_A_REQUEST: usize = 2_000;

/// Words of `ban`.
#[derive(Args)]
pub(crate) struct BanArgs {
    /// Addresses or networks; `-` reads them from standard input
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Jail to ban in [default: manual]
    #[arg(long)]
    jail: Option<String>,
    /// How long, such as 30m, 2h or 1d; -1 is for ever [default: the jail's bantime]
    #[arg(long, allow_hyphen_values = true)]
    time: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Words of `unban`.
#[derive(Args)]
pub(crate) struct UnbanArgs {
    /// Addresses or networks; `-` reads them from standard input
    #[arg(required_unless_present = "all", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Only in this jail [default: in all]
    #[arg(long)]
    jail: Option<String>,
    /// Lift every ban
    #[arg(long, conflicts_with = "addresses")]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// Words of `allow` and `disallow`.
#[derive(Args)]
pub(crate) struct AllowArgs {
    /// Addresses or networks; `-` reads them from standard input
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Bans.
pub(crate) fn ban(args: &BanArgs) -> Result<Exit> {
    let addresses = expand(&args.addresses, true)?;
    if let Some(time) = &args.time {
        let secs = parse_seconds(time)
            .map_err(|_| term::Usage(format!("--time '{time}' is not a time; write 30m, 2h, 1d, or -1 for ever")))?;
        if secs == 0.0 || (secs < 0.0 && secs != -1.0) {
            return Err(
                term::Usage(format!("--time '{time}' would ban nobody; write 30m, 2h, 1d, or -1 for ever")).into()
            );
        }
    }
    let request = json!({ "jail": args.jail, "time": args.time });
    let answer = ask_in_parts(&args.common, "ban", &request, &addresses)?;
    tell(&answer, &args.common, "banned")
}

/// Unbans.
pub(crate) fn unban(args: &UnbanArgs) -> Result<Exit> {
    let request = json!({ "jail": args.jail, "all": args.all });
    if args.all {
        let answer = Client::connect(&args.common)?.ask("unban", &request)?;
        let lifted = format!("{} lifted", term::count(number(&answer, "changed"), "ban"));
        if args.common.json {
            say(answer.to_string());
            return Ok(Exit::Done);
        }
        say(format!("{lifted}{}", not_saved(&answer)));
        for kept in list(&harmless(answer), "kept") {
            let (number, file) = (number(kept, "number"), text(kept, "file"));
            say(term::warn(&format!(
                "{number} are kept by {file} and are banned again: remove their lines, or `stockade lift` lets them in \
                 for now"
            )));
        }
        return Ok(Exit::Done);
    }
    let answer = ask_in_parts(&args.common, "unban", &request, &expand(&args.addresses, false)?)?;
    tell(&answer, &args.common, "unbanned")
}

/// Allows or takes that back.
pub(crate) fn allow(args: &AllowArgs, on: bool) -> Result<Exit> {
    let word = if on { "allow" } else { "disallow" };
    let answer = ask_in_parts(&args.common, word, &json!({}), &expand(&args.addresses, true)?)?;
    tell(&answer, &args.common, if on { "allowed" } else { "disallowed" })
}

/// Asks for many addresses in requests of a size that the daemon accepts, and
/// adds the answers up.
fn ask_in_parts(common: &Common, word: &str, request: &Value, addresses: &[String]) -> Result<Value> {
    let mut client = Client::connect(common)?;
    let (mut changed, mut results, mut unsaved) = (0, Vec::new(), String::new());
    for part in addresses.chunks(ADDRESSES_A_REQUEST) {
        let mut request = request.clone();
        if let Some(fields) = request.as_object_mut() {
            fields.insert("addresses".to_owned(), json!(part));
        }
        let answer = client.ask(word, &request)?;
        changed += number(&answer, "changed");
        results.extend_from_slice(list(&answer, "results"));
        // That of the last part is true for all before it: what waits is saved in order.
        text(&answer, "not_saved").clone_into(&mut unsaved);
    }
    Ok(json!({ "changed": changed, "results": results, "not_saved": unsaved }))
}

/// The words for what holds now, but would not survive the daemon.
fn not_saved(answer: &Value) -> String {
    match text(answer, "not_saved") {
        "" => String::new(),
        why => term::warn(&format!(" (not saved, so a crash undoes it: {why})")),
    }
}

/// Shows per address what became of it; refused if nothing changed at all.
fn tell(answer: &Value, common: &Common, done: &str) -> Result<Exit> {
    let changed = number(answer, "changed");
    if common.json {
        say(answer.to_string());
    } else {
        let results = harmless(json!(list(answer, "results").iter().take(20).collect::<Vec<_>>()));
        let all = list(answer, "results").len();
        for one in results.as_array().into_iter().flatten() {
            let (id, jail, why) = (text(one, "id"), text(one, "jail"), text(one, "why"));
            let place = if jail.is_empty() { String::new() } else { format!(" in {jail}") };
            if one.get("done") == Some(&Value::Bool(true)) {
                let tail = if why.is_empty() || why.starts_with(';') { why.to_owned() } else { format!(" {why}") };
                say(format!("{id}: {done}{place}{tail}{}", not_saved(answer)));
            } else {
                say(term::warn(&format!("{id}: not {done}{place}: {why}")));
            }
        }
        if all > 20 {
            say(format!("... {all} addresses in all, {changed} {done}"));
        }
    }
    Ok(if changed > 0 { Exit::Done } else { Exit::Refused })
}

/// Replaces `-` by the words of standard input. With `nets` every word must be
/// an address or network; one that is not refuses all, before anything is done.
fn expand(words: &[String], nets: bool) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for word in words {
        if word != "-" {
            if nets {
                term::net(word)?;
            }
            all.push(word.clone());
            continue;
        }
        for (number, line) in std::io::stdin().lock().take(STDIN_BYTES_MAX).lines().enumerate() {
            let line = line.context("standard input is not text")?;
            let line = line.split('#').next().unwrap_or_default();
            for word in line.split([' ', '\t', ',', '\r']).filter(|w| !w.is_empty()) {
                if let Some(wrong) = term::net(word).err().filter(|_| nets) {
                    return Err(term::Usage(format!("line {}: {wrong}; nothing was done", number + 1)).into());
                }
                all.push(word.to_owned());
            }
        }
        if all.is_empty() {
            bail!("standard input holds no address");
        }
    }
    Ok(all)
}
