//! The tree that is part of the program.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use stockade_config::{LoadOptions, Loaded, Profile, Severity, TreeSource, load};
use stockade_wire::value::command_repr;

fn commands(loaded: &Loaded) -> Vec<String> {
    loaded.stream.iter().map(|c| command_repr(c)).collect()
}

#[test]
fn alone_it_switches_sshd_on_with_our_own_action() {
    let loaded = load(&TreeSource::Embedded, &LoadOptions { journal: true, ..LoadOptions::default() });
    assert!(loaded.passes_test(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.profile, Some(Profile::Own));
    assert_eq!(loaded.jails, ["sshd", "manual"]);
    assert_eq!(loaded.daemon.socket, "/run/stockade/stockade.sock");
    let all = commands(&loaded);
    for wanted in [
        "['add', 'sshd', 'systemd']",
        "['set', 'sshd', 'usedns', 'no']",
        "['set', 'sshd', 'addaction', 'stockade']",
        "['set', 'sshd', 'stockade.guard', 'refuse']",
        "['set', 'sshd', 'stockade.logpath', '/var/log/auth.log', 'head']",
    ] {
        assert!(all.iter().any(|c| c == wanted), "{wanted} is not in {all:#?}");
    }
    assert_eq!(all.last().map(String::as_str), Some("['start', 'manual']"));
    assert!(loaded.original().all(|c| !command_repr(c).contains("'stockade.")));
}

#[test]
fn without_a_journal_it_waits_for_the_files() {
    let loaded = load(&TreeSource::Embedded, &LoadOptions::default());
    assert!(commands(&loaded).contains(&"['add', 'sshd', 'auto']".to_owned()));
    assert!(loaded.diagnostics.iter().all(|d| d.severity < Severity::Error), "{:?}", loaded.diagnostics);
}

#[test]
fn three_lines_of_jail_local_are_a_whole_configuration() {
    let folder = std::env::temp_dir().join(format!("stockade-overlay-{}", std::process::id()));
    fs::create_dir_all(folder.join("filter.d")).unwrap();
    fs::write(folder.join("jail.local"), "[web]\nenabled = true\nlogpath = /nowhere/*.log tail\n").unwrap();
    fs::write(folder.join("filter.d/web.conf"), "[Definition]\nfailregex = ^denied <ADDR>$\n").unwrap();
    fs::write(folder.join("filter.d/sshd.local"), "[Definition]\nmode = ddos\n[Init]\nmaxlines = 2\n").unwrap();
    fs::write(folder.join("fail2ban.conf"), "[Definition]\nloglevel = DEBUG\n").unwrap();
    let source = TreeSource::of_folder(&folder);
    assert_eq!(source, TreeSource::Overlay(folder.clone()));
    let loaded = load(&source, &LoadOptions::default());
    fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.passes_test(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.jails, ["sshd", "manual", "web"]);
    assert_eq!(loaded.daemon.loglevel, "DEBUG");
    assert_eq!(loaded.daemon.socket, "/run/stockade/stockade.sock");
    let all = commands(&loaded);
    assert!(all.contains(&"['set', 'web', 'addfailregex', '^denied <ADDR>$']".to_owned()), "{all:#?}");
    assert!(all.contains(&"['set', 'sshd', 'maxlines', 2]".to_owned()), "{all:#?}");
    let web = format!("['set', 'web', 'stockade.origin', 'failregex', '{}/filter.d/web.conf:2']", folder.display());
    assert!(all.contains(&web), "{all:#?}");
    let origin = loaded.origin("sshd").unwrap();
    let row =
        |name: &str| origin.iter().find(|row| row.option == name).map(|row| (row.file.as_str(), row.line)).unwrap();
    assert_eq!(row("failregex").0, "builtin:/filter.d/sshd.conf");
    assert_eq!(row("maxretry"), ("builtin:/jail.conf", 7));
}

#[test]
fn every_file_of_etc_is_embedded_and_loads() {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc");
    let mut names = BTreeSet::new();
    for folder in ["filter.d", "action.d"] {
        for entry in fs::read_dir(etc.join(folder)).unwrap() {
            names.insert(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    let listed: BTreeSet<String> = stockade_config::embedded_files().map(str::to_owned).collect();
    let missing: Vec<_> = names.iter().filter(|n| n.ends_with(".conf") && !listed.contains(*n)).collect();
    assert!(missing.is_empty(), "not embedded: {missing:?}");
    let from_disk =
        load(&TreeSource::Disk(etc), &LoadOptions { profile: Some(Profile::Own), ..LoadOptions::default() });
    let embedded = load(&TreeSource::Embedded, &LoadOptions::default());
    // All but where it stands.
    let plain = |loaded| commands(loaded).into_iter().filter(|c| !c.contains("'stockade.origin'")).collect::<Vec<_>>();
    assert_eq!(plain(&from_disk), plain(&embedded));
}

#[test]
fn in_our_own_profile_one_broken_jail_is_off_and_the_others_run() {
    let folder = std::env::temp_dir().join(format!("stockade-broken-{}", std::process::id()));
    fs::create_dir_all(folder.join("filter.d")).unwrap();
    let jails = "[a]\nenabled = true\nbantime = 10 minuts\nfilter = sshd\n[b]\nenabled = true\nbantime = %(nothing)s\n[c]\nenabled = true\nfilter = broken\n[d]\nenabled = true\nmaxretry = x\nfilter = sshd\n";
    fs::write(folder.join("jail.local"), jails).unwrap();
    fs::write(folder.join("filter.d/broken.conf"), "[Definition]\nfailregex\n").unwrap();
    let loaded = load(&TreeSource::of_folder(&folder), &LoadOptions::default());
    let strict = load(&TreeSource::of_folder(&folder), &LoadOptions { strict: Some(true), ..LoadOptions::default() });
    let one = load(&TreeSource::of_folder(&folder), &LoadOptions { only: Some("sshd"), ..LoadOptions::default() });
    let none = load(&TreeSource::of_folder(&folder), &LoadOptions { only: Some("shd"), ..LoadOptions::default() });
    fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.is_startable() && !loaded.passes_test() && loaded.has_errors());
    assert_eq!(loaded.jails, ["sshd", "manual"]);
    assert_eq!(loaded.skipped, ["a", "b", "c", "d"]);
    let errors = loaded.original().filter(|c| command_repr(c).starts_with("['config-error', \"Jail '")).count();
    assert_eq!(errors, 4);
    assert!(strict.refused && strict.stream.is_empty());
    assert_eq!(one.jails, ["sshd"]);
    assert!(one.passes_test() && !one.has_errors(), "{:?}", one.diagnostics);
    assert!(none.refused && none.diagnostics.iter().any(|d| d.help == "did you mean sshd?"));
}
