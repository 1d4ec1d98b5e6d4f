//! Recipes that people used for years to keep a plain list of bans, with real
//! iptables: what the original makes of them, and what we make of them.
//!
//! The transcripts are `docs/recipes.md`; `STOCKADE_WRITE=1` writes it anew.
#![expect(clippy::disallowed_methods, reason = "reads a page of the repository")]

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use stockade_original::{Installed, newest};

use super::stock::inside;
use super::theirs::{INSIDE, Stage};

const ME: &str = "daemon::actions::tests::recipes::recipes_that_double_and_lose_bans_do_neither_here";
const NOW: f64 = 1_795_358_700.0;
const LIST: &str = "/etc/fail2ban/ip.web.blacklist";

#[test]
fn recipes_that_double_and_lose_bans_do_neither_here() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let Some(Installed { version, root }) = newest("recipes_that_double_and_lose_bans_do_neither_here") else {
        return;
    };
    let stage = Stage::new(Some("curl"));
    let jobs = [own_chain("O", "-A", " 1"), own_chain("F", "-I", ""), edited_stock()];
    let jobs: Vec<Value> = jobs.into_iter().map(|(name, words, action)| job(name, words, &action)).collect();
    let (theirs, ours) = stage.both(&root, ME, &jobs);
    let mut page = String::from(HEAD);
    for ((job, theirs), ours) in jobs.iter().zip(&theirs).zip(&ours) {
        transcript(&mut page, version, job, theirs, ours);
        check(job, theirs, ours);
    }
    page.push_str(INSTEAD);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes.md");
    if std::env::var_os("STOCKADE_WRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        page,
        "STOCKADE_WRITE=1 writes docs/recipes.md anew"
    );
}

const HEAD: &str = "# Text blacklists by recipe\n\n\
    For years people kept one plain list of banned addresses per jail by editing\n\
    actions: `actionban` appends the address to a file, `actionstart` has a loop over\n\
    that file. This page shows what fail2ban and stockade make of three such trees,\n\
    recorded by a test with real iptables in a namespace of its own. Lines of the log\n\
    are those at NOTICE and above.\n\n\
    stockade runs the same commands, and: a command that ends well but wrote to\n\
    standard error is shown (`status`, and once in the log); commands that already ran\n\
    for a living ban are not run again at a restart. Restart means here: fail2ban stops\n\
    and starts; stockade ends by SIGTERM (as a restart of its service or `stockade\n\
    restart` does) and starts. A stop that lifts bans (`stop --lift`) undoes them, and the\n\
    next start runs all commands again, doubling included. What is recorded is each\n\
    program's own handling of actions, not its whole server.\n";

const INSTEAD: &str = "\n## What the recipe wanted\n\n\
    No edited action, one line in the jail:\n\n\
    ```ini\n[web]\nblacklist = /var/lib/stockade/ip.<name>.blacklist\n```\n\n\
    The file is whom the jail bans at present, one address or network a line, sorted by\n\
    bytes, readable by root only, replaced as a whole at most once a second. Beside it\n\
    `ip.web.blacklist.keep` is the operator's own: whoever stands there is banned for\n\
    good, and unbanned when the line goes. `stockade import ip.web.blacklist` takes an\n\
    old list over. More in [operating.md](operating.md#plain-lists-of-bans).\n";

/// A chain of its own, with a loop that adds the file's addresses in some way.
fn own_chain(name: &'static str, flag: &str, number: &str) -> (&'static str, &'static str, Value) {
    let words = match name {
        "O" => "A self-contained action; its loop says `-A chain 1`, which iptables refuses.",
        _ => "The same with `-I` in its loop.",
    };
    let chain = "fail2ban-<name>";
    let start = format!(
        "iptables -N {chain}\niptables -A {chain} -j RETURN\niptables -I INPUT -p tcp -m multiport --dports 80,443 -j {chain}\n\
         cat {LIST} | while read IP; do iptables {flag} {chain}{number} -s $IP -j DROP; done"
    );
    let action = json!({ "name": "blacklist", "properties": [
        ["name", "web"],
        ["actionstart", start],
        ["actionstop", format!("iptables -D INPUT -p tcp -m multiport --dports 80,443 -j {chain}\niptables -F {chain}\niptables -X {chain}")],
        ["actioncheck", format!("iptables -n -L INPUT | grep -q '{chain}[ \\t]'")],
        ["actionban", format!("iptables -I {chain} 1 -s <ip> -j DROP\necho <ip> >> {LIST}")],
        ["actionunban", format!("iptables -D {chain} -s <ip> -j DROP")],
    ] });
    (name, words, action)
}

/// Only the two properties edited in an action of today, whose chain has another name.
fn edited_stock() -> (&'static str, &'static str, Value) {
    let words = "Only `actionban` and `actionstart` edited in an action of today, whose chain is called `f2b-web`, \
                 not `fail2ban-web`.";
    let action = json!({ "name": "multiport", "properties": [
        ["name", "web"],
        ["iptables", "iptables -w"],
        ["iptables?family=inet6", "ip6tables -w"],
        ["actionstart", format!("<iptables> -N f2b-<name>\n<iptables> -A f2b-<name> -j RETURN\n\
            <iptables> -I INPUT -p tcp -m multiport --dports 80,443 -j f2b-<name>\n\
            cat {LIST} | while read IP; do iptables -I fail2ban-<name> 1 -s $IP -j DROP; done")],
        ["actionstop", "<iptables> -D INPUT -p tcp -m multiport --dports 80,443 -j f2b-<name>\n<iptables> -F f2b-<name>\n<iptables> -X f2b-<name>"],
        ["actioncheck", "<iptables> -C INPUT -p tcp -m multiport --dports 80,443 -j f2b-<name>"],
        ["actionban", format!("iptables -I fail2ban-<name> 1 -s <ip> -j DROP\necho <ip> >> {LIST}")],
        ["actionunban", "iptables -D fail2ban-<name> -s <ip> -j DROP"],
    ] });
    ("L", words, action)
}

/// A life of that jail: two bans, a restart, an unban, an IPv6 ban, a restart.
fn job(name: &str, words: &str, action: &Value) -> Value {
    let show =
        format!("{{ iptables -S | grep -e DROP -e '-j f'; echo \"-- the file:\"; cat {LIST}; }} > /record 2>/dev/null");
    let mut steps: Vec<Value> = Vec::new();
    let mut step = |value: Value| {
        let mut value = value;
        value["time"] = json!(NOW + 10.0 * (steps.len() + 1) as f64);
        (value["data"], value["matches"], value["failures"]) = (json!({}), json!([]), json!(1));
        steps.push(value);
        steps.push(json!({ "op": "sh", "text": show }));
    };
    step(
        json!({ "op": "sh", "text": format!("mkdir -p /etc/fail2ban; rm -f {LIST}; iptables -F; iptables -X; ip6tables -F; ip6tables -X") }),
    );
    step(json!({ "op": "start" }));
    step(json!({ "op": "ban", "id": "192.0.2.1" }));
    step(json!({ "op": "ban", "id": "192.0.2.2" }));
    step(json!({ "op": "restart" }));
    step(json!({ "op": "unban", "id": "192.0.2.1" }));
    step(json!({ "op": "ban", "id": "2001:db8::1" }));
    step(json!({ "op": "restart" }));
    json!({ "name": name, "words": words, "jail": "web", "bantime": -1, "now": NOW, "actions": [action], "steps": steps })
}

/// The action as a file of `action.d`.
fn file_of(action: &Value) -> String {
    let properties = action["properties"].as_array().unwrap();
    let pairs: Vec<(&str, String)> = properties
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap().replace('\n', "\n    ")))
        .collect();
    let mut text = String::from("[Definition]\n");
    let mut section = |head: &str, wanted: &dyn Fn(&str) -> Option<String>| {
        let lines: String =
            pairs.iter().filter_map(|(name, value)| Some(format!("{} = {value}\n", wanted(name)?))).collect();
        text += &if lines.is_empty() { String::new() } else { format!("{head}{lines}") };
    };
    let is_command = |name: &str| name.starts_with("action");
    section("", &|name| is_command(name).then(|| name.to_owned()));
    section("[Init]\n", &|name| (!is_command(name) && !name.contains('?')).then(|| name.to_owned()));
    section("[Init?family=inet6]\n", &|name| Some(name.strip_suffix("?family=inet6")?.to_owned()));
    text
}

/// What is said about such a file, as `LINE: what (what to do)`.
fn findings(file: &str) -> Vec<String> {
    let tree = std::env::temp_dir().join(format!("stockade-recipe-{}", std::process::id()));
    std::fs::create_dir_all(tree.join("action.d")).unwrap();
    std::fs::write(tree.join("fail2ban.conf"), "[Definition]\n").unwrap();
    std::fs::write(tree.join("jail.conf"), "[web]\nenabled = true\nfilter =\naction = list\n").unwrap();
    std::fs::write(tree.join("action.d/list.conf"), file).unwrap();
    let source = stockade_config::TreeSource::Disk(tree.clone());
    let loaded = stockade_config::load(&source, &stockade_config::LoadOptions::default());
    std::fs::remove_dir_all(tree).unwrap();
    let found = loaded.diagnostics.iter().filter(|d| d.file.ends_with("list.conf"));
    let mut found: Vec<_> = found.map(|d| (d.line, d.message.replace("action 'list': ", ""), d.help.clone())).collect();
    found.sort();
    found.into_iter().map(|(line, message, help)| format!("line {line}: {message} ({help})")).collect()
}

/// One recipe, side by side.
fn transcript(page: &mut String, version: &str, job: &Value, theirs: &Value, ours: &Value) {
    let file = file_of(&job["actions"][0]);
    writeln!(page, "\n## ({}) {}\n", job["name"].as_str().unwrap(), job["words"].as_str().unwrap()).unwrap();
    write!(page, "```ini\n{file}```\n\nWhat `-t`, `doctor` and the log say of it, by lines of this file:\n\n").unwrap();
    for finding in findings(&file) {
        writeln!(page, "- {finding}").unwrap();
    }
    for (n, step) in job["steps"].as_array().unwrap().iter().enumerate().skip(2).step_by(2) {
        let what = match (step["op"].as_str().unwrap(), step["id"].as_str()) {
            (op, Some(id)) => format!("{op} {id}"),
            (op, None) => op.to_owned(),
        };
        writeln!(page, "\n### {what}\n").unwrap();
        for (who, side) in [(format!("fail2ban {version}"), theirs), ("stockade".to_owned(), ours)] {
            writeln!(page, "{who}:\n\n```text").unwrap();
            for line in side["steps"][n]["said"].as_array().unwrap() {
                let text = line[2].as_str().unwrap();
                // Numbers of commands are chance; what is said about a command is enough.
                let text = text.split_once(" -- ").map_or(text, |(_, text)| text);
                let text = match (text.split_once(" info '"), text.rsplit_once("': ")) {
                    (Some((head, _)), Some((_, tail))) => format!("{head}: {tail}"),
                    _ => text.to_owned(),
                };
                if !text.starts_with("exec: ")
                    && !text.contains("] Ban ")
                    && !text.contains("] Unban ")
                    && !text.contains("] Restore Ban ")
                {
                    writeln!(page, "{} {text}", line[0].as_str().unwrap()).unwrap();
                }
            }
            writeln!(page, "{}\n```\n", shown(side, n).trim_end()).unwrap();
        }
        while page.ends_with("\n\n") {
            page.pop();
        }
    }
}

/// Rules and file after a step.
fn shown(side: &Value, step: usize) -> &str {
    side["steps"][step + 1]["record"].as_str().unwrap()
}

/// What must be so, whatever the page says.
fn check(job: &Value, theirs: &Value, ours: &Value) {
    let count = |text: &str, what: &str| text.lines().filter(|line| line.contains(what)).count();
    let (restart, unban) = (8, 10);
    let name = job["name"].as_str().unwrap();
    let before = shown(ours, restart - 2);
    assert_eq!(shown(ours, restart), before, "({name}): a restart of ours changes neither rules nor file");
    let said = findings(&file_of(&job["actions"][0])).join("\n");
    let wanted: &[&str] = match name {
        "O" => &[
            "takes no rule number",
            "hides it",
            "rules and lines double",
            "removes nothing",
            "refuses addresses of IPv6",
        ],
        "F" => &["hides it", "rules and lines double", "removes nothing", "refuses addresses of IPv6"],
        _ => &["nobody is blocked", "rules and lines double", "removes nothing", "refuses addresses of IPv6"],
    };
    for words in wanted {
        assert!(said.contains(words), "({name}): {words} is missing in {said}");
    }
    match name {
        "O" => assert!(theirs["steps"][restart]["said"].to_string().contains("Failed to start"), "{theirs}"),
        "F" => {
            assert!(count(shown(theirs, restart), "192.0.2.2") > count(before, "192.0.2.2"), "the original doubles");
            assert_eq!(count(shown(theirs, unban), "-s 192.0.2.1/32"), 1, "the original's unban leaves a rule");
        }
        _ => {
            assert_eq!(count(before, "DROP"), 0, "nobody is blocked");
            let said = ours["steps"][restart - 4]["said"].to_string();
            assert!(said.contains("ended well but wrote to standard error"), "{said}");
        }
    }
    assert_eq!(count(shown(ours, unban), "-s 192.0.2.1/32"), 0, "({name}): an unban of ours unbans");
}
