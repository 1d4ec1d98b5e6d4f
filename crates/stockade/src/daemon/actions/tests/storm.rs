//! Many bans at once, actions that hang, values that want to be commands, and
//! restarts: with real shells, on files of the test's own.
#![expect(clippy::disallowed_methods, reason = "reads what it wrote itself")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_core::judge::{Command, Event, JailChange};
use stockade_core::{BanTime, FailureId, JailName, Origin, Span, Timestamp};
use stockade_enforce::actions::ActionSpec;

use super::super::How;
use super::court::Court;

const NOW: Timestamp = Timestamp::from_secs(1_795_358_700);
const HOUR: BanTime = BanTime::For(Span::from_secs(3_600));

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn action(jail: &str, name: &str, properties: &[(&str, String)]) -> ActionSpec {
    let properties = properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    ActionSpec { jail: jail.into(), name: name.into(), properties, python: None }
}

fn court(folder: &Folder) -> Court {
    Court::new(NOW, &folder.path("log"), Some(folder.path("db.actions")))
}

/// Changes a file by writing a new one and moving it there, as editors of
/// `/etc/hosts.deny` do: two at once lose what the other wrote.
fn rewriting(jail: &str, file: &Path) -> ActionSpec {
    let file = file.display();
    let ban =
        format!("cp {file} {file}.<jail>.new; echo 'deny <ip>' >> {file}.<jail>.new; mv {file}.<jail>.new {file}");
    let unban = format!("grep -v 'deny <ip>$' {file} > {file}.<jail>.new; mv {file}.<jail>.new {file}");
    action(jail, "hostsdeny", &[("actionban", ban), ("actionunban", unban), ("jail", jail.to_owned())])
}

#[test]
fn two_jails_that_edit_one_file_lose_no_ban() {
    let folder = Folder::new("hostsdeny");
    let file = folder.path("hosts.deny");
    fs::write(&file, "# mine\n").unwrap();
    let mut court = court(&folder);
    let jails: Vec<_> = ["a", "b"].map(|jail| (jail, HOUR, vec![rewriting(jail, &file)])).into();
    court.jails(&jails);
    let (mut ids, mut expected) = (Vec::new(), BTreeSet::from(["# mine".to_owned()]));
    for n in 0..150 {
        for (jail, net) in [("a", "192.0.2"), ("b", "198.51.100")] {
            ids.push((jail, FailureId::parse(&format!("{net}.{n}"))));
            expected.insert(format!("deny {net}.{n}"));
        }
    }
    for (jail, id) in &ids {
        let (jail, ids) = (JailName::new(jail), vec![id.clone()]);
        court.command(Command::Ban { jail, ids, bantime: None, force: false, origin: Origin::Manual });
    }
    court.settle();
    let lines: Vec<String> = folder.read("hosts.deny").lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 301);
    assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), expected);
    court.command(Command::UnbanAll { jail: None });
    court.settle();
    assert_eq!(folder.read("hosts.deny"), "# mine\n");
    court.actions.close(false);
}

#[test]
fn an_action_that_hangs_or_fails_delays_no_other() {
    let folder = Folder::new("hangs");
    let out = folder.path("out");
    let mut court = court(&folder);
    let hang = |jail: &str| {
        let wait = format!("echo begin >> {}; sleep 100", folder.path("slow").display());
        action(jail, "slow", &[("actionban", wait), ("timeout", "60".to_owned())])
    };
    let write = |jail: &str| action(jail, "write", &[("actionban", format!("echo {jail} <ip> >> {}", out.display()))]);
    let fail = |jail: &str| action(jail, "fail", &[("actionban", "exit 3".to_owned())]);
    // In strict order "write" of jail a waits for "slow" of the same ban; jail b has no part in that.
    court.jails(&[("a", HOUR, vec![hang("a"), write("a")]), ("b", HOUR, vec![fail("b"), write("b")])]);
    let begin = Instant::now();
    court.fail("a", "192.0.2.1", NOW, &[], &[]);
    for n in 1..=20 {
        court.fail("b", &format!("198.51.100.{n}"), NOW, &[], &[]);
    }
    let until = Instant::now() + Duration::from_secs(50);
    while folder.read("out").lines().count() < 20 {
        assert!(Instant::now() < until, "jail b waits for jail a: {:?}", court.actions.view());
        court.look();
    }
    assert!(begin.elapsed() < Duration::from_secs(50));
    assert!(folder.read("out").lines().all(|line| line.starts_with("b ")));
    let view = court.actions.view();
    let of = |jail: &str, name: &str| view.iter().find(|v| v.jail == jail && v.name == name).unwrap().clone();
    // The first one may have been tried once more by now.
    assert!(of("b", "fail").failures >= 20, "{:?}", of("b", "fail"));
    assert!(of("b", "fail").trouble.contains("Error banning 198.51.100."), "{:?}", of("b", "fail"));
    assert_eq!((of("a", "write").commands, of("a", "slow").bans), (0, 0));
    assert!(of("b", "fail").trouble.ends_with("(exit 3)"), "{:?}", of("b", "fail"));
    // A stop that keeps bans does not wait for it for long.
    let begin = Instant::now();
    court.actions.close(false);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
fn a_restart_repeats_nothing_and_undoes_what_is_over() {
    let folder = Folder::new("restart");
    let out = folder.path("out").display().to_string();
    let properties = |check: &str| {
        [
            ("actionstart", format!("echo start >> {out}")),
            ("actionstop", format!("echo stop >> {out}")),
            ("actionban", format!("echo ban <ip> <restored> >> {out}")),
            ("actionunban", format!("echo unban <ip> >> {out}")),
            ("actioncheck", check.to_owned()),
        ]
    };
    let jails = |check: &str| [("a", HOUR, vec![action("a", "write", &properties(check))])];
    let good = jails("true");
    let mut first = court(&folder);
    first.jails(&good);
    for id in ["192.0.2.1", "192.0.2.2"] {
        first.fail("a", id, NOW, &[], &[]);
    }
    first.settle();
    assert_eq!(folder.read("out"), "start\nban 192.0.2.1 0\nban 192.0.2.2 0\n");
    first.actions.close(false);

    // The second ban is over when the next process begins; a third one is in the database only.
    fs::write(folder.path("out"), "").unwrap();
    let mut second = court(&folder);
    second.jails(&good);
    second.restore("a", "192.0.2.1", NOW, HOUR, 1);
    second.restore("a", "192.0.2.3", NOW, HOUR, 1);
    second.actions.settle();
    second.settle();
    let said = folder.read("out");
    assert_eq!(said.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["ban 192.0.2.3 1", "unban 192.0.2.2"]), "{said}");
    second.actions.close(false);

    // The check says that all is gone: everything runs again.
    fs::write(folder.path("out"), "").unwrap();
    let gone = jails(&format!("test -s {out}"));
    let mut effects = fs::read_to_string(folder.path("db.actions")).unwrap();
    effects = effects.replace("actioncheck\ttrue", &format!("actioncheck\ttest -s {out}"));
    fs::write(folder.path("db.actions"), effects).unwrap();
    let mut third = court(&folder);
    third.jails(&gone);
    third.restore("a", "192.0.2.1", NOW, HOUR, 1);
    third.actions.settle();
    third.settle();
    assert_eq!(folder.read("out"), "start\nban 192.0.2.1 1\n");

    // The action is another one now: what the old one did is undone by the old text.
    third.actions.close(false);
    fs::write(folder.path("out"), "").unwrap();
    let mut fourth = court(&folder);
    let other = [("a", HOUR, vec![action("a", "write", &[("actionban", format!("echo new <ip> >> {out}"))])])];
    fourth.jails(&other);
    fourth.restore("a", "192.0.2.1", NOW, HOUR, 1);
    fourth.actions.settle();
    fourth.settle();
    assert_eq!(folder.read("out"), "unban 192.0.2.1\nstop\nnew 192.0.2.1\n");

    // An action that is new in a reload bans who is banned; one that is gone lets go.
    fs::write(folder.path("out"), "").unwrap();
    let more = [("a", HOUR, vec![action("a", "more", &properties("true"))])];
    fourth.stage(&more, How::Tree);
    fourth.settle();
    let said = folder.read("out");
    assert_eq!(said, "start\nban 192.0.2.1 1\n", "{said}");
    fourth.step(Event::Config(vec![JailChange::Remove(JailName::new("a"))]));
    fourth.settle();
    assert_eq!(folder.read("out"), "start\nban 192.0.2.1 1\nunban 192.0.2.1\nstop\n");
    fourth.actions.close(false);
}

#[test]
fn hostile_values_are_never_commands() {
    let folder = Folder::new("hostile");
    let out = folder.path("out");
    let mut court = court(&folder);
    let pwned = folder.path("pwned").display().to_string();
    let ban = format!("printf '%s\\0' \"$(:)\"<matches> <F-USER> <fid> >> {}", out.display());
    court.jails(&[("a", HOUR, vec![action("a", "write", &[("actionban", ban)])])]);
    let mut values: Vec<String> = (1..=255_u8).map(|b| format!("x{}y", char::from(b))).collect();
    values.extend([
        format!("$(touch {pwned})"),
        format!("`touch {pwned}`"),
        format!("'; touch {pwned}; '"),
        format!("\"; touch {pwned}; \""),
        format!("\n touch {pwned} \n"),
        format!("| touch {pwned} &"),
        "~!touch x".to_owned(),
        "%s%n${IFS}$0$1".to_owned(),
        "<ip><F-USER>".to_owned(),
        "a\0b;c".to_owned(),
        format!("{};", "long".repeat(1 << 18)),
    ]);
    for (n, value) in values.iter().enumerate() {
        let id = format!("user-{n}");
        court.fail("a", &id, NOW, &[value], &[("user", value)]);
    }
    court.settle();
    let view = court.actions.view();
    assert_eq!((view[0].failures, view[0].bans), (0, values.len()), "{:?}", view[0]);
    assert!(!folder.path("pwned").exists());
    let bytes = fs::read(&out).unwrap();
    let mut words = bytes.split(|b| *b == 0).map(String::from_utf8_lossy);
    // A value with a character that means something to a shell arrives as it is, once per use.
    for value in values.iter().filter(|value| value.contains(|c| "\\#&;`|*?~<>^()[]{}$'\"\n\r".contains(c))) {
        let mut sent = value.replace('\0', "");
        sent.truncate(64 << 10);
        // Outside of quotes a shell cuts a variable at blanks; the value is in the words all the same.
        let first = sent.split([' ', '\t', '\n']).find(|word| !word.is_empty()).unwrap_or_default().to_owned();
        if first.contains(['*', '?', '[']) {
            continue;
        }
        assert!(words.any(|word| word == first), "{value:?} did not arrive as {first:?}");
    }
    court.actions.close(false);
}

#[test]
fn an_ignore_command_is_asked_once_per_failure_and_may_say_no() {
    let folder = Folder::new("ignore");
    let mut court = court(&folder);
    court.ignorecommand(
        "a",
        &format!("echo <ip> '<F-USER>' >> {}; test <ip> = 192.0.2.1", folder.path("asked").display()),
    );
    for id in ["192.0.2.1", "192.0.2.2"] {
        court.fail("a", id, NOW, &["line"], &[("user", "bob")]);
    }
    court.settle();
    assert_eq!(folder.read("asked"), "192.0.2.1 bob\n192.0.2.2 bob\n");
    assert_eq!(court.banned("a"), ["192.0.2.2"]);
    court.actions.close(false);
}
