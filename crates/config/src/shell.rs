//! Findings about shell commands of actions. A reading by words, not a shell.

/// Programs whose failure must not go unseen.
const FIREWALLS: &[&str] = &["iptables", "ip6tables", "nft", "ipset", "ufw", "firewall-cmd", "pfctl", "ipfw"];

/// One simple command of a text.
#[derive(Clone, Debug)]
pub(crate) struct Command<'a> {
    /// Its line, from 0.
    pub(crate) line: usize,
    /// Its words, without variable assignments before it and words of the shell.
    pub(crate) words: Vec<&'a str>,
}

/// Words of the shell that another command may follow.
const KEYWORDS: [&str; 8] = ["do", "then", "else", "elif", "if", "while", "until", "!"];

impl<'a> Command<'a> {
    /// The program's name, without its folder.
    pub(crate) fn program(&self) -> &'a str {
        let first = self.words.first().copied().unwrap_or("");
        first.rsplit('/').next().unwrap_or(first)
    }

    pub(crate) fn is_firewall(&self) -> bool {
        let name = self.program();
        FIREWALLS.contains(&name) || matches!(name, "<iptables>" | "<nftables>" | "<ipset>")
    }
}

/// Is it `>FILE`, `2>FILE` or the like?
pub(crate) fn is_redirect(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('>')
}

/// The simple commands of a text in their order; quoting is not looked at, comments are left out.
pub(crate) fn commands(text: &str) -> impl Iterator<Item = Command<'_>> {
    let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines
        .flat_map(|(line, text)| {
            let parts = text.split([';', '|', '&', '{', '}', '(', ')']);
            parts.map(move |part| {
                let is_before = |word: &&str| {
                    KEYWORDS.contains(word) || (word.contains('=') && !word.starts_with('-') && !word.starts_with('<'))
                };
                Command { line, words: part.split_whitespace().skip_while(is_before).collect() }
            })
        })
        .filter(|command| !command.words.is_empty())
}

/// The first command of a line.
fn first(line: &str) -> Option<Command<'_>> {
    commands(line).next()
}

/// Names what is wrong with the command `text` of property `option`, with the line from 0.
pub(crate) fn check(option: &str, text: &str, mut found: impl FnMut(usize, String, &str)) {
    for command in commands(text).filter(Command::is_firewall) {
        let names_chain = command.words.iter().position(|w| *w == "-A" || *w == "--append");
        let number = names_chain.and_then(|at| command.words.get(at.checked_add(2)?));
        if let Some(number) = number.filter(|w| w.chars().all(|c| c.is_ascii_digit())) {
            found(
                command.line,
                format!("{option}: -A appends and takes no rule number, so '{number}' is an error"),
                "use -I CHAIN NUMBER",
            );
        }
    }
    if !matches!(option, "actionban" | "actionunban" | "actionstart" | "actioncheck") {
        return;
    }
    let lines = || text.split('\n').map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    for ((number, line), (_, next)) in lines().zip(lines().skip(1)) {
        let open = line.ends_with(['\\', ';', '{', '(', '|', '&']) || line.starts_with(['{', '}', '(']);
        let Some(command) = first(line).filter(Command::is_firewall) else { continue };
        let simple = !open && !line.contains("||") && !line.contains("&&") && !line.contains(';');
        let hides = first(next).map_or("", |command| command.program());
        if simple && matches!(hides, "echo" | "printf" | "logger" | "true" | ":" | "date" | "exit") {
            found(
                number,
                format!("{option}: if '{}' fails, the success of '{hides}' below hides it", command.program()),
                "join the two lines with &&, or put the firewall command last",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(option: &str, text: &str, expected: &str) {
        let mut all = Vec::new();
        check(option, text, |_, message, _| all.push(message));
        assert_eq!(all.join("|"), expected, "{text}");
    }

    #[test]
    fn mistakes_in_firewall_commands_are_named() {
        finds(
            "actionban",
            "iptables -A INPUT 1 -s <ip> -j DROP",
            "actionban: -A appends and takes no rule number, so '1' is an error",
        );
        let inside = "cat x | while read IP; do iptables -A c 1 -s $IP -j DROP; done";
        finds("actionstart", inside, "actionstart: -A appends and takes no rule number, so '1' is an error");
        finds("actionban", "iptables -w -I INPUT 1 -s <ip> -j DROP", "");
        finds(
            "actionban",
            "nft add element inet t s { <ip> }\necho done >> /tmp/x",
            "actionban: if 'nft' fails, the success of 'echo' below hides it",
        );
        finds("actionban", "nft add element inet t s { <ip> } &&\necho done", "");
    }
}
