//! Actions that people edited to keep a list: each mistake is named with file
//! and line; the originals' own actions have none of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use stockade_config::{Diagnostic, LoadOptions, TreeSource, load};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stockade-recipes-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(folder.join("action.d")).unwrap();
    fs::write(folder.join("fail2ban.conf"), "[Definition]\n").unwrap();
    folder
}

fn findings(tree: &Path) -> Vec<Diagnostic> {
    load(&TreeSource::Disk(tree.to_owned()), &LoadOptions::default()).diagnostics
}

/// What is found in an action, as `LINE: words`, each once.
#[track_caller]
fn finds(name: &str, action: &str, expected: &[&str]) {
    let tree = folder(name);
    fs::write(tree.join("jail.conf"), "[web]\nenabled = true\nfilter =\naction = list[name=web]\n").unwrap();
    fs::write(tree.join("action.d/list.conf"), action).unwrap();
    let found = findings(&tree);
    let found = found.iter().filter(|d| d.file.ends_with("action.d/list.conf"));
    let found: Vec<String> = found.map(|d| format!("{}: {}", d.line, d.message)).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let (line, words) = expected.split_once(": ").unwrap();
        assert!(found.starts_with(&format!("{line}: ")) && found.contains(words), "{found} instead of {expected}");
    }
    fs::remove_dir_all(tree).unwrap();
}

/// (O) and (F) differ in how the loop adds a rule.
fn own_chain(adds: &str) -> String {
    format!(
        "[Definition]\n\
         actionstart = iptables -N fail2ban-<name>\n             iptables -A fail2ban-<name> -j RETURN\n             \
         iptables -I INPUT -p tcp -m multiport --dports <port> -j fail2ban-<name>\n             \
         cat /etc/fail2ban/ip.<name>.blacklist | while read IP; do iptables {adds} -s $IP -j DROP; done\n\
         actionstop = iptables -D INPUT -p tcp -m multiport --dports <port> -j fail2ban-<name>\n             \
         iptables -F fail2ban-<name>\n             iptables -X fail2ban-<name>\n\
         actioncheck = iptables -n -L INPUT | grep -q fail2ban-<name>\n\
         actionban = iptables -I fail2ban-<name> 1 -s <ip> -j DROP\n            \
         echo <ip> >> /etc/fail2ban/ip.<name>.blacklist\n\
         actionunban = iptables -D fail2ban-<name> -s <ip> -j DROP\n\
         [Init]\nname = default\nport = 80,443\n"
    )
}

#[test]
fn the_recipes_are_named_with_file_and_line() {
    let common = [
        "10: if 'iptables' fails, the success of 'echo' below hides it",
        "5: rules and lines double",
        "11: actionunban removes nothing",
        "10: iptables refuses addresses of IPv6",
    ];
    let loop_with_number = "5: -A appends and takes no rule number, so '1' is an error";
    let mut o = vec![loop_with_number];
    o.extend(common);
    finds("O", &own_chain("-A fail2ban-<name> 1"), &o);
    finds("F", &own_chain("-I fail2ban-<name>"), &common);
    let edited = "[Definition]\n\
        actionstart = <iptables> -N f2b-<name>\n             <iptables> -I INPUT -p tcp -j f2b-<name>\n             \
        cat /etc/fail2ban/ip.<name>.blacklist | while read IP; do iptables -I fail2ban-<name> 1 -s $IP -j DROP; done\n\
        actionban = iptables -I fail2ban-<name> 1 -s <ip> -j DROP\n            \
        echo <ip> >> /etc/fail2ban/ip.<name>.blacklist\n\
        actionunban = <iptables> -D f2b-<name> -s <ip> -j DROP\n\
        [Init]\nname = default\niptables = iptables\n[Init?family=inet6]\niptables = ip6tables\n";
    finds(
        "L",
        edited,
        &[
            "5: if 'iptables' fails, the success of 'echo' below hides it",
            "4: actionstart: it works on chain fail2ban-web, but actionstart makes chain f2b-web: nobody is blocked",
            "5: actionban: it works on chain fail2ban-web, but actionstart makes chain f2b-web: nobody is blocked",
            "4: rules and lines double",
            "6: actionunban removes nothing",
            "5: iptables refuses addresses of IPv6",
        ],
    );
}

#[test]
fn the_originals_actions_have_no_such_mistakes() {
    let mut seen = 0;
    for original in stockade_original::both("the_originals_actions_have_no_such_mistakes") {
        let version = original.version;
        let stock = original.tree().join("action.d");
        let tree = folder(version);
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&stock).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, tree.join("action.d").join(path.file_name().unwrap())).unwrap();
            names.extend(path.file_name().unwrap().to_str().unwrap().strip_suffix(".conf").map(str::to_owned));
        }
        let jails = names.iter().map(|n| format!("[j-{n}]\nenabled = true\nfilter =\naction = {n}\n"));
        fs::write(tree.join("jail.conf"), jails.collect::<String>()).unwrap();
        let words = ["is an error", "hides it", "nobody is blocked", "double", "removes nothing", "refuses addresses"];
        let found = findings(&tree);
        let found: Vec<String> =
            found.iter().filter(|d| words.iter().any(|w| d.message.contains(w))).map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new(), "{version}");
        seen += names.len();
        fs::remove_dir_all(tree).unwrap();
    }
    println!("{seen} actions looked at");
}

#[test]
fn a_blacklist_that_is_no_path_is_told_with_its_line() {
    let tree = folder("path");
    let jail = "[web]\nenabled = true\nfilter =\naction =\nblacklist = lists/<name>\n[api]\nenabled = true\nfilter =\n\
                blacklist = /x/<name>\n";
    fs::write(tree.join("jail.conf"), jail).unwrap();
    let loaded = load(&TreeSource::Disk(tree.clone()), &LoadOptions::default());
    let found: Vec<String> =
        loaded.diagnostics.iter().filter(|d| d.message.contains("blacklist")).map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].contains("jail.conf:5:"), "{found:?}");
    let value = |jail: &str| {
        let wanted = |c: &&Vec<stockade_wire::Value>| {
            c.get(1).and_then(|v| v.as_str()) == Some(jail)
                && c.get(2).and_then(|v| v.as_str()) == Some("stockade.blacklist")
        };
        loaded.stream.iter().find(wanted).and_then(|c| c.get(3)?.as_str()).map(str::to_owned)
    };
    assert_eq!((value("web").as_deref(), value("api").as_deref()), (Some(""), Some("/x/<name>")));
    // The original would not know it.
    assert!(!loaded.original().any(|c| format!("{c:?}").contains("blacklist")));
    fs::remove_dir_all(tree).unwrap();
}
