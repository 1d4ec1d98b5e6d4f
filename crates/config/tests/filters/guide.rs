//! The jails of our configuration, and `docs/filters.md`, which says what they are.

use std::collections::BTreeSet;

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

#[test]
fn each_filter_has_a_jail() {
    let with: BTreeSet<String> = jails().into_iter().collect();
    let without: Vec<String> = crate::filters().into_iter().filter(|name| !with.contains(name)).collect();
    assert!(without.is_empty(), "{without:?}");
}
