//! Mistakes of actions that people edited to keep a list of bans in a file: what
//! only shows when the commands of one action are read together.
//!
//! As in [`crate::shell`] this is a reading by words, not a shell.

use std::collections::BTreeSet;

use crate::shell::{Command, commands, is_redirect};

/// Chains that every machine has.
const BUILT_IN: [&str; 8] =
    ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING", "DOCKER-USER", "DOCKER-INGRESS", "DOCKER"];

/// The commands of an action that are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Texts<'a> {
    pub(crate) start: &'a str,
    pub(crate) stop: &'a str,
    pub(crate) ban: &'a str,
    pub(crate) unban: &'a str,
    /// Has the action a form of its own for IPv6, or nothing to do with it?
    pub(crate) one_family: bool,
}

/// Where something is wrong: the option, and the line of its value from 0.
pub(crate) type Place = (&'static str, usize);

/// Names what is wrong with commands that belong together.
pub(crate) fn check(texts: &Texts<'_>, mut found: impl FnMut(Place, String, &str)) {
    let of = |name: &'static str, text| -> Vec<(&'static str, Command<'_>)> {
        commands(text).map(|command| (name, command)).collect()
    };
    let start = of("actionstart", texts.start);
    let ban = of("actionban", texts.ban);
    let unban = of("actionunban", texts.unban);
    let others: Vec<_> = start.iter().chain(&ban).chain(&unban).cloned().collect();
    chains(&start, &others, &mut found);
    lists(texts, &start, &ban, &mut found);
    if !texts.one_family {
        families(&ban, &mut found);
    }
}

type Found<'f> = dyn FnMut(Place, String, &str) + 'f;

/// The chain that a command of iptables names, with the option before it.
fn chain_of<'a>(command: &Command<'a>, options: &[&str]) -> Option<&'a str> {
    let program = command.program();
    if !program.starts_with("iptables") && !program.starts_with("ip6tables") && program != "<iptables>" {
        return None;
    }
    let at = command.words.iter().position(|word| options.contains(word))?;
    command.words.get(at.checked_add(1)?).copied()
}

/// Rules in a chain that the action doesn't make, while it makes another one.
fn chains(start: &[(&str, Command<'_>)], all: &[(&'static str, Command<'_>)], found: &mut Found<'_>) {
    let made: BTreeSet<&str> = start.iter().filter_map(|(_, c)| chain_of(c, &["-N", "--new-chain"])).collect();
    let Some(first) = made.iter().next() else { return };
    let mut told = BTreeSet::new();
    for (option, command) in all {
        let Some(chain) = chain_of(command, &["-I", "-A", "-D", "--insert", "--append", "--delete"]) else { continue };
        // What a tag stands for is not known here.
        let is_known = chain.starts_with('<') || chain.starts_with('$') || BUILT_IN.contains(&chain);
        if !is_known && !made.contains(chain) && told.insert((*option, chain)) {
            found(
                (option, command.line),
                format!("{option}: it works on chain {chain}, but actionstart makes chain {first}: nobody is blocked"),
                "use the name that actionstart makes",
            );
        }
    }
}

/// A file that each ban appends to and each start reads.
fn lists(
    texts: &Texts<'_>,
    start: &[(&'static str, Command<'_>)],
    ban: &[(&'static str, Command<'_>)],
    found: &mut Found<'_>,
) {
    for (option, command) in ban {
        let Some(file) = appended(command) else { continue };
        let emptied = |text: &str| commands(text).any(|command| empties(&command, file));
        let read = start.iter().find(|(_, c)| c.words.iter().any(|word| word.trim_matches(QUOTES) == file));
        let adds = start
            .iter()
            .any(|(_, c)| c.is_firewall() && c.words.iter().any(|word| word.trim_matches(QUOTES).starts_with('$')));
        let Some((start_option, reader)) = read.filter(|_| adds && !emptied(texts.start) && !emptied(texts.stop))
        else {
            continue;
        };
        found(
            (start_option, reader.line),
            format!(
                "{start_option}: it blocks everybody in {file} again, to which {option} appends: at each start of fail2ban \
                 rules and lines double"
            ),
            "remove the loop: whoever is banned is banned again at start anyway; a plain list is kept by \
             blacklist = PATH in the jail",
        );
        if !texts.unban.contains(file) {
            found(
                (option, command.line),
                format!(
                    "{option}: it adds to {file}, and actionunban removes nothing: who is unbanned is blocked again at the next start"
                ),
                "let blacklist = PATH in the jail keep that list",
            );
        }
    }
}

const QUOTES: [char; 5] = ['"', '\'', '<', '`', ')'];

/// The file that a command appends to.
fn appended<'a>(command: &Command<'a>) -> Option<&'a str> {
    let words = &command.words;
    let at = words.iter().position(|word| word.starts_with(">>"))?;
    let file = match words.get(at)?.strip_prefix(">>")? {
        "" => words.get(at.checked_add(1)?)?,
        file => file,
    };
    let file = file.trim_matches(QUOTES);
    (file.contains('/') && !file.starts_with("/dev/")).then_some(file)
}

fn empties(command: &Command<'_>, file: &str) -> bool {
    let names = |word: &str| word.trim_matches(QUOTES) == file;
    let rewrites =
        matches!(command.program(), "rm" | "truncate" | "sed" | "mv") && command.words.iter().any(|w| names(w));
    let mut pairs = command.words.iter().zip(command.words.iter().skip(1));
    rewrites
        || pairs.any(|(sign, word)| *sign == ">" && names(word))
        || command
            .words
            .iter()
            .any(|w| !w.starts_with(">>") && is_redirect(w) && w.strip_prefix('>').is_some_and(names))
}

/// Addresses of IPv6 given to iptables.
fn families(ban: &[(&'static str, Command<'_>)], found: &mut Found<'_>) {
    let by_four = ban.iter().find(|(_, command)| {
        let four = matches!(command.program(), "iptables" | "iptables-legacy" | "iptables-nft");
        four && command
            .words
            .iter()
            .any(|word| word.trim_matches(QUOTES) == "ip>" || *word == "<ip>" || *word == "\"<ip>\"")
    });
    if let Some((option, command)) = by_four {
        found(
            (option, command.line),
            format!("{option}: iptables refuses addresses of IPv6, which are logged as banned and not blocked"),
            "write <iptables>, with iptables = ip6tables in a section [Init?family=inet6], as the stock actions have it",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(texts: Texts<'_>, expected: &[(&str, usize, &str)]) {
        let mut all = Vec::new();
        check(&texts, |(option, line), message, _| all.push((option, line, message)));
        assert_eq!(all.len(), expected.len(), "{all:#?}");
        for ((option, line, message), (o, l, words)) in all.iter().zip(expected) {
            assert!((option, line) == (o, l) && message.contains(words), "{option} {line} {message}");
        }
    }

    const LOOP: &str =
        "iptables -N f\niptables -I INPUT -j f\ncat /x/list | while read IP; do iptables -I f -s $IP -j DROP; done";

    #[test]
    fn a_list_that_doubles_is_found() {
        let ban = "iptables -I f 1 -s <ip> -j DROP\necho <ip> >> /x/list";
        let texts =
            Texts { start: LOOP, ban, unban: "iptables -D f -s <ip> -j DROP", one_family: true, ..Texts::default() };
        finds(texts, &[("actionstart", 2, "rules and lines double"), ("actionban", 1, "removes nothing")]);
        finds(Texts { unban: "sed -i /<ip>/d /x/list", ..texts }, &[("actionstart", 2, "double")]);
        finds(Texts { stop: "rm -f /x/list", ..texts }, &[]);
        finds(Texts { ban: "echo <ip> >>/x/other", ..texts }, &[]);
        let each = "iptables -N f\nfor i in $(cat /x/list); do iptables -A f -s $i -j DROP; done";
        finds(Texts { start: each, unban: "x /x/list", ..texts }, &[("actionstart", 1, "double")]);
        let from = "iptables -N f\nwhile read i; do iptables -A f -s $i -j DROP; done < \"/x/list\"";
        finds(Texts { start: from, unban: "x /x/list", ..texts }, &[("actionstart", 1, "double")]);
    }

    #[test]
    fn a_chain_that_nobody_made_is_found() {
        let start = "<iptables> -N f2b-<name>\n<iptables> -I <chain> -j f2b-<name>";
        let ban = "iptables -w -I fail2ban-<name> 1 -s <ip> -j DROP";
        let texts = Texts { start, ban, one_family: true, ..Texts::default() };
        finds(texts, &[("actionban", 0, "works on chain fail2ban-<name>, but actionstart makes chain f2b-<name>")]);
        finds(Texts { ban: "<iptables> -I f2b-<name> 1 -s <ip> -j DROP", ..texts }, &[]);
        finds(Texts { ban: "<iptables> -I INPUT -s <ip> -j DROP", ..texts }, &[]);
    }

    #[test]
    fn ipv6_through_iptables_is_found() {
        let ban = "ip6tables -I f 1 -s <ip> -j DROP\niptables -I f 1 -s <ip> -j DROP";
        finds(Texts { ban, ..Texts::default() }, &[("actionban", 1, "refuses addresses of IPv6")]);
        finds(Texts { ban, one_family: true, ..Texts::default() }, &[]);
        finds(Texts { ban: "iptables -I f -m set --match-set x src", ..Texts::default() }, &[]);
    }
}
