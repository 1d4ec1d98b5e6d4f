//! The jails of our configuration, and `docs/filters.md`, which says what they are.

use std::collections::{BTreeMap, BTreeSet};

use stockade_config::{LoadOptions, TreeSource, load};
use stockade_wire::Value;

/// All names in brackets of our `jail.conf`.
fn jails() -> Vec<String> {
    let text = std::fs::read_to_string(crate::etc().join("jail.conf")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    names.filter(|name| *name != "DEFAULT").map(str::to_owned).collect()
}

#[test]
fn one_line_switches_a_jail_on() {
    let folder = std::env::temp_dir().join(format!("stockade-jails-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in jails() {
        std::fs::write(folder.join("jail.local"), format!("[{name}]\nenabled = true\n")).unwrap();
        let loaded = load(&TreeSource::of_folder(&folder), &LoadOptions::default());
        assert!(loaded.passes_test(), "{name}: {:?}", loaded.diagnostics);
        // The services themselves need not be there.
        let about_logs = |text: &str| text.starts_with("no file matches") || text.starts_with("none of its log files");
        let rest: Vec<_> = loaded.diagnostics.iter().filter(|found| !about_logs(&found.message)).collect();
        assert!(rest.is_empty(), "{name}: {rest:?}");
        assert!(loaded.jails.contains(&name), "{name}");
        let of_jail = |command: &&Vec<Value>| command.get(1).and_then(Value::as_str) == Some(name.as_str());
        let texts: Vec<String> = loaded.stream.iter().filter(of_jail).map(|c| format!("{c:?}")).collect();
        let has = |word: &str| texts.iter().any(|text| text.contains(word));
        assert!(name == "manual" || has("addfailregex"), "{name} looks for nothing");
        let rows = loaded.origin(&name).unwrap();
        assert!(name == "manual" || rows.iter().any(|row| row.option == "logpath"), "{name} has no log");
        // Tags of our own that nothing has filled in.
        for text in texts.iter().filter(|text| text.contains("failregex")) {
            for tag in ["<re-", "<more-", "<mode", "<client", "<says", "<block", "<program", "<modules"] {
                assert!(!text.contains(tag), "{name}: {tag} in {text}");
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What a configuration of one jail is told, but for logs that are not there.
fn told(text: &str) -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("stockade-jail-told-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("jail.local"), text).unwrap();
    let loaded = load(&TreeSource::of_folder(&folder), &LoadOptions::default());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.passes_test(), "{text}: {:?}", loaded.diagnostics);
    let about_logs = |text: &str| text.starts_with("no file matches") || text.starts_with("none of its log files");
    loaded.diagnostics.into_iter().map(|found| found.message).filter(|message| !about_logs(message)).collect()
}

#[test]
fn an_error_log_for_a_filter_of_access_logs_is_told() {
    for jail in ["nginx-http-auth", "nginx-limit-req", "nginx-botsearch", "nginx-forbidden", "nginx-bad-request"] {
        for (log, wrong) in [
            ("%(nginx_error_log)s", true),
            ("/var/log/nginx/error.log", true),
            ("/var/log/nginx/site-error.log", true),
            ("%(nginx_access_log)s", false),
            ("/var/log/nginx/site.log", false),
        ] {
            let told = told(&format!("[{jail}]\nenabled = true\nlogpath = {log}\n"));
            let expected = if wrong { 1 } else { 0 };
            assert_eq!(told.len(), expected, "{jail} {log}: {told:?}");
            assert!(told.iter().all(|told| told.contains("is an error log, and the filter reads access logs")));
        }
    }
    let on_purpose =
        "[nginx-http-auth]\nenabled = true\nfilter = nginx-http-auth[log=error]\nlogpath = %(nginx_error_log)s\n";
    assert_eq!(told(on_purpose), Vec::<String>::new());
}

#[test]
fn each_filter_has_a_jail() {
    let with: BTreeSet<String> = jails().into_iter().collect();
    let without: Vec<String> = crate::filters().into_iter().filter(|name| !with.contains(name)).collect();
    assert!(without.is_empty(), "{without:?}");
}

/// What a jail's section says, as it is written.
struct Section {
    name: String,
    /// Option, and its lines with their remarks (`path ; Debian`).
    options: BTreeMap<String, Vec<String>>,
}

/// The sections of `jail.conf`, in order; the first is `DEFAULT`.
fn sections() -> Vec<Section> {
    let text = std::fs::read_to_string(crate::etc().join("jail.conf")).unwrap();
    let mut sections: Vec<Section> = Vec::new();
    let mut option = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Section { name: name.to_owned(), options: BTreeMap::new() });
            continue;
        }
        let section = sections.last_mut().unwrap();
        let value = if line.starts_with(' ') {
            line.trim()
        } else {
            let (name, value) = line.split_once(" =").unwrap();
            option = name.to_owned();
            value.trim()
        };
        section.options.entry(option.clone()).or_default().push(value.to_owned());
    }
    sections
}

/// The logs of a jail: `path (Debian)`, one after another.
fn logs(jail: &Section, default: &Section) -> String {
    let mut logs = Vec::new();
    if jail.options.contains_key("journalmatch") {
        logs.push("the journal; else".to_owned());
    }
    for line in jail.options.get("logpath").into_iter().flatten() {
        let name = line.strip_prefix("%(").and_then(|line| line.strip_suffix(")s"));
        let lines = name.map_or(std::slice::from_ref(line), |name| default.options[name].as_slice());
        for line in lines {
            let (path, family) = line.split_once(" ; ").unwrap_or((line, ""));
            let family = family.trim();
            let family = if family.is_empty() || family == "all" { String::new() } else { format!(" ({family})") };
            logs.push(format!("`{}`{family}", path.trim()));
        }
    }
    logs.join("<br>")
}

/// What the first lines of a filter say: service, what it catches, options.
fn about(filter: &str) -> (String, String, String) {
    let text = std::fs::read_to_string(crate::etc().join(format!("filter.d/{filter}.conf"))).unwrap();
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let service = head[0].trim_start_matches("# ").trim_end_matches('.').to_owned();
    let catches = head.iter().find_map(|line| line.strip_prefix("# Catches: "));
    let catches = catches.unwrap_or_else(|| panic!("{filter}.conf does not say what it catches")).to_owned();
    let mut options = Vec::new();
    for (at, line) in head.iter().enumerate() {
        let Some((name, rest)) = line.trim_start_matches("# ").split_once(": ") else { continue };
        let is_option = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if is_option && text.contains(&format!("\n{name} =")) {
            let word = |line: &str| line.split_whitespace().next().unwrap_or("").to_owned();
            let mut values = vec![word(rest)];
            let more = head[at + 1..].iter().map_while(|line| line.strip_prefix("#       "));
            values.extend(more.filter(|line| !line.starts_with(' ')).map(word));
            let values = if name == "mode" { format!(": {}", values.join(", ")) } else { String::new() };
            options.push(format!("`{name}`{values}"));
        }
    }
    (service, catches, options.join("<br>"))
}

/// The whole page.
fn page() -> String {
    let sections = sections();
    let mut page = String::from(PREFACE);
    for jail in sections.iter().filter(|jail| jail.name != "DEFAULT" && jail.name != "manual") {
        let filter = jail.options.get("filter").map_or(jail.name.as_str(), |lines| lines[0].split('[').next().unwrap());
        let (service, catches, options) = about(filter);
        let port = jail.options.get("port").map_or("all", |lines| lines[0].as_str()).replace(',', ", ");
        let filter = match jail.options.get("filter") {
            Some(lines) => format!("<br>(filter `{}`)", lines[0]),
            None => String::new(),
        };
        let logs = logs(jail, &sections[0]);
        page.push_str(&format!("| `{}`{filter} | {service} | {catches} | {logs} | {port} | {options} |\n", jail.name));
    }
    page
}

const PREFACE: &str = "\
# Jails and filters

One line in `/etc/stockade/jail.local` switches a jail on:

```ini
[postfix]
enabled = true
```

`stockade scan --jail NAME LOGFILE` shows what a jail would find in a log. A log
that lies elsewhere: `logpath = /path/of/it` in the same section. Options of a
filter go behind its name: `filter = postfix[mode=aggressive]`.

Paths are those of the distributions named behind them; a path without a name is
the same everywhere. `sshd` is on from the start. Log paths of `jail.conf` have
names (`nginx_access_log`, `syslog_mail`, ...) that can be set once for all jails
in `[DEFAULT]`.

This page is made from `etc/jail.conf` and the first lines of the filters by
`STOCKADE_WRITE=1 cargo test -p stockade-config --test filters guide`.

| jail | service | catches | logs | ports | options |
|---|---|---|---|---|---|
";

#[test]
fn the_guide_says_what_the_files_say() {
    let path = crate::etc().join("../docs/filters.md");
    let page = page();
    if std::env::var_os("STOCKADE_WRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/filters.md is out of date; STOCKADE_WRITE=1 with this test writes it");
}

#[test]
fn the_original_reads_all_our_jails() {
    let folder = std::env::temp_dir().join(format!("stockade-all-jails-{}", std::process::id()));
    copy(&crate::etc(), &folder);
    let on: String = jails().iter().map(|name| format!("[{name}]\nenabled = true\nbackend = polling\n")).collect();
    std::fs::write(folder.join("jail.local"), on).unwrap();
    for mut original in crate::original::all("the_original_reads_all_our_jails") {
        let answer = original.load(&folder);
        assert_eq!(answer["good"], true, "{}: {} {}", original.version, answer["error"], answer["said"]);
        let said: Vec<&str> = answer["said"].as_array().unwrap().iter().filter_map(|said| said.as_str()).collect();
        assert!(!said.iter().any(|said| said.starts_with("ERROR")), "{}: {said:?}", original.version);
        let stream = answer["stream"].as_array().unwrap();
        let added = stream.iter().filter(|command| command[0] == "add").count();
        assert_eq!(added, jails().len(), "{}", original.version);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
