//! A ban that does not hold is shown as such, and so is a rule that can't match.

use std::path::PathBuf;

use crate::{Guard, eventually, skipped};

/// The actions of the newest original; none where there is none.
pub(crate) fn actions(test: &str) -> Option<PathBuf> {
    if skipped(test) {
        return None;
    }
    Some(stockade_original::newest(test)?.tree().join("action.d"))
}

#[test]
fn a_ban_that_does_not_hold_is_shown() {
    let Some(actions) = actions("a_ban_that_does_not_hold_is_shown") else { return };
    let guard = Guard::start_with_actions("action = iptables-ipset-proto6[name=web, port=80]\n", Some(&actions));
    guard.says("ban --jail web 192.0.2.1");
    eventually("it holds", || guard.holds("192.0.2.1"));
    assert!(guard.says("status web").out.contains("holds") && guard.doctor("cant-match").is_empty());

    // Somebody takes the element out of the set.
    assert_eq!(guard.inside("ipset del f2b-web 192.0.2.1").code, 0);
    let status = guard.says("status web");
    assert!(status.out.contains("does NOT hold: the kernel has lost it"), "{status:?}");
    let why = guard.says("why 192.0.2.1");
    assert!(why.out.contains("state     does NOT hold") && why.out.contains("is NOT in"), "{why:?}");
    eventually("it is put back", || guard.holds("192.0.2.1"));

    // Somebody lets packets in before the rule is looked at.
    guard.inside("iptables -I INPUT -p tcp --dport 80 -j ACCEPT");
    let found = guard.doctor("cant-match");
    assert!(found.len() == 1 && found[0].contains("accepts packets before the bans are looked at"), "{found:?}");
    let why = guard.says("why 192.0.2.1");
    assert!(why.out.contains("BUT iptables-ipset-proto6") && why.out.contains("accepts packets before"), "{why:?}");
    guard.inside("iptables -D INPUT -p tcp --dport 80 -j ACCEPT");
    assert!(guard.doctor("cant-match").is_empty());
}

#[test]
fn living_bans_go_along_when_a_jail_changes_how_it_blocks() {
    let Some(actions) = actions("living_bans_go_along_when_a_jail_changes_how_it_blocks") else { return };
    let stock = "iptables-multiport[name=web, port=80]";
    let guard = Guard::start_with_actions("action =\n", Some(&actions));
    guard.says("ban --jail web 192.0.2.1 2001:db8::1");
    let rules = |guard: &Guard| guard.inside("iptables-save; ip6tables-save").out.matches("-j REJECT").count();
    assert_eq!(rules(&guard), 0, "it only counts");
    let reload = |action: &str| {
        guard.jail(&format!("action = {action}\n"));
        let said = guard.says("reload");
        assert_eq!(said.code, 0, "{said:?}");
    };
    // Counting, a firewall action, a shell, the firewall action, our own table, counting.
    reload(stock);
    eventually("both in the kernel", || rules(&guard) == 2);
    let list = guard.home.join("told");
    std::fs::remove_file(guard.home.join("etc/action.d")).unwrap();
    std::fs::create_dir(guard.home.join("etc/action.d")).unwrap();
    for file in std::fs::read_dir(&actions).unwrap() {
        let file = file.unwrap();
        std::os::unix::fs::symlink(file.path(), guard.home.join("etc/action.d").join(file.file_name())).unwrap();
    }
    guard.write(
        "etc/action.d/echo.conf",
        &format!("[Definition]\nactionban = echo + <ip> >> {0}\nactionunban = echo - <ip> >> {0}\n", list.display()),
    );
    reload("echo[name=web]");
    eventually("the shell is told of both", || guard.read("told").lines().count() == 2);
    assert_eq!(rules(&guard), 0);
    reload(stock);
    eventually("both in the kernel again", || rules(&guard) == 2);
    eventually("the shell's work is undone", || guard.read("told").lines().filter(|l| l.starts_with('-')).count() == 2);
    reload("stockade[name=web]");
    eventually("both in our table", || guard.holds("192.0.2.1") && guard.holds("2001:db8::1"));
    assert_eq!(rules(&guard), 0);
    reload(stock);
    eventually("both in the kernel", || rules(&guard) == 2);
    // All at once, as a flush does it.
    assert!(guard.says("unban --all").out.contains("2 bans lifted"));
    assert_eq!(rules(&guard), 0);
    guard.says("ban --jail web 192.0.2.3");
    assert!(guard.holds("192.0.2.3") && rules(&guard) == 1);
}
