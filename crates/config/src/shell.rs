//! Findings about shell commands of actions. A reading by words, not a shell.

/// Programs whose failure must not go unseen.
const FIREWALLS: &[&str] = &["iptables", "ip6tables", "nft", "ipset", "ufw", "firewall-cmd", "pfctl", "ipfw"];

/// The words of a simple command, without variable assignments before it.
fn words(line: &str) -> Vec<&str> {
    let words = line.split_whitespace().skip_while(|w| w.contains('=') && !w.starts_with('-') && !w.starts_with('<'));
    words.collect()
}

fn program(line: &str) -> &str {
    let first = words(line).first().copied().unwrap_or("");
    first.rsplit('/').next().unwrap_or(first)
}

fn is_firewall(line: &str) -> bool {
    let name = program(line);
    FIREWALLS.contains(&name) || matches!(name, "<iptables>" | "<nftables>" | "<ipset>")
}

/// Names what is wrong with the command `text` of property `option`.
pub(crate) fn check(option: &str, text: &str, mut found: impl FnMut(String, &str)) {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    for line in &lines {
        let words = words(line);
        let names_chain = words.iter().position(|w| *w == "-A" || *w == "--append");
        if let Some(at) = names_chain
            && is_firewall(line)
            && words.get(at + 2).is_some_and(|w| w.chars().all(|c| c.is_ascii_digit()))
        {
            let number = words.get(at + 2).copied().unwrap_or("");
            found(
                format!("{option}: -A appends and takes no rule number, so '{number}' is an error"),
                "use -I CHAIN NUMBER",
            );
        }
    }
    if !matches!(option, "actionban" | "actionunban" | "actionstart" | "actioncheck") {
        return;
    }
    for (line, next) in lines.iter().zip(lines.iter().skip(1)) {
        let open = line.ends_with(['\\', ';', '{', '(', '|', '&']) || line.starts_with(['{', '}', '(']);
        let simple = is_firewall(line) && !open && !line.contains("||") && !line.contains("&&") && !line.contains(';');
        if simple && matches!(program(next), "echo" | "printf" | "logger" | "true" | ":" | "date" | "exit") {
            let what = program(next);
            found(
                format!("{option}: if '{}' fails, the success of '{what}' below hides it", program(line)),
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
        check(option, text, |message, _| all.push(message));
        assert_eq!(all.join("|"), expected, "{text}");
    }

    #[test]
    fn mistakes_in_firewall_commands_are_named() {
        finds(
            "actionban",
            "iptables -A INPUT 1 -s <ip> -j DROP",
            "actionban: -A appends and takes no rule number, so '1' is an error",
        );
        finds("actionban", "iptables -w -I INPUT 1 -s <ip> -j DROP", "");
        finds(
            "actionban",
            "nft add element inet t s { <ip> }\necho done >> /tmp/x",
            "actionban: if 'nft' fails, the success of 'echo' below hides it",
        );
        finds("actionban", "nft add element inet t s { <ip> } &&\necho done", "");
    }
}
