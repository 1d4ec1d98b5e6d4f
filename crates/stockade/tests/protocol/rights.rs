//! Who may do what: processes of other users and groups really connect.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_wire::Value;
use stockade_wire::pickle::Answer;

use crate::daemon::{Daemon, fresh};

/// Groups as the daemon of these tests sees them.
const GROUPS: &str = "root:x:0:\nwatch:x:4242:nobody\nothers:x:4243:\n";

/// Sends each request as that user and prints the answers: pickles by Python itself, our own words as JSON lines.
const GUEST: &str = "
import json, pickle, socket, sys
path, requests = sys.argv[1], json.loads(sys.stdin.read())
for request in requests:
    try:
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(20)
        stream.connect(path)
        if request[0] == 'stockade':
            stream.sendall(json.dumps(request).encode() + b'\\n')
            end = b'\\n'
        else:
            end = b'<F2B_END_COMMAND>'
            stream.sendall(pickle.dumps(request, 2) + end)
        data = b''
        while not data.endswith(end):
            part = stream.recv(65536)
            if not part:
                break
            data += part
        if request[0] == 'stockade':
            print(json.dumps(json.loads(data)))
        else:
            code, result = pickle.loads(data)
            print(json.dumps([code, [type(result).__name__, str(result)] if code else result]))
    except OSError as error:
        print(json.dumps(type(error).__name__))
";

/// Asks for a list and does not read it; a second connection of the same user comes and goes.
const PAIR: &str = "
import select, socket, sys
def connect():
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(20)
    stream.connect(sys.argv[1])
    return stream
asks = connect()
asks.sendall(b'[\"stockade\",\"banned\",{}]\\n')
select.select([asks], [], [], 20)
connect().close()
print('gone', flush=True)
sys.stdin.read()
";

/// What a user gets for his requests.
fn guest(daemon: &Daemon, user: &str, group: &str, more: &str, requests: &Json) -> Vec<Json> {
    let mut child = start(daemon, user, group, more, GUEST);
    child.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Starts a script of a user with a pipe to and from it.
fn start(daemon: &Daemon, user: &str, group: &str, more: &str, script: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", group]);
    if more.is_empty() {
        command.arg("--clear-groups");
    } else {
        command.args(["--groups", more]);
    }
    command.args(["/usr/bin/python3", "-c", script]).arg(daemon.socket());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// A daemon with options of the server itself.
fn daemon(name: &str, options: &str) -> Daemon {
    let folder = fresh(name);
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/fail2ban.local"), format!("[Definition]\n{options}\n")).unwrap();
    std::fs::write(folder.join("group"), GROUPS).unwrap();
    Daemon::ours_with_groups(folder)
}

fn end(daemon: Daemon) {
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Can this test be another user?
fn can_become_another(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        stockade_original::skip(test, "only root can become another user");
    }
    root
}

fn words(list: &[&str]) -> Vec<Value> {
    list.iter().map(|word| Value::from(*word)).collect()
}

#[test]
fn readers_look_and_change_nothing_and_others_stay_outside() {
    if !can_become_another("readers_look_and_change_nothing_and_others_stay_outside") {
        return;
    }
    let daemon = daemon("readers", "stockade.readers = watch");
    assert_eq!(daemon.ask(&words(&["set", "web", "banip", "192.0.2.1"])), Answer::Result(1.into()));
    let looks = json!([
        ["status"],
        ["status", "web", "short"],
        ["banned"],
        ["get", "web", "bantime"],
        ["stockade", "status", {}],
        ["stockade", "banned", { "plain": true }],
    ]);
    let changes = json!([
        ["set", "web", "banip", "192.0.2.2"],
        ["unban", "--all"],
        ["set", "web", "bantime", "1"],
        ["set", "api", "action", "noop", "actionban", "true"],
        ["reload", "--all", [], []],
        ["stop"],
        ["flushlogs"],
        ["sleep", "1"],
        ["stockade", "unban", { "all": true }],
        ["stockade", "stop", {}],
        ["stockade", "reload", {}],
    ]);
    // By the group of the process, and by being a member of it.
    for (user, group, more) in [("1234", "4242", ""), ("65534", "65534", "4242")] {
        let seen = guest(&daemon, user, group, more, &looks);
        assert_eq!(seen[1][0], 0, "{seen:?}");
        assert_eq!(seen[2], json!([0, [{ "web": ["192.0.2.1"] }, { "api": [] }]]));
        assert_eq!(seen[3], json!([0, 3_600]));
        assert_eq!(seen[4]["ok"]["jails"][0]["banned_now"], 1, "{seen:?}");
        assert_eq!(seen[5]["ok"]["bans"], json!([{ "id": "192.0.2.1" }]));
        for (request, answer) in changes.as_array().unwrap().iter().zip(guest(&daemon, user, group, more, &changes)) {
            let refused = answer[0] == 1 && answer[1][0] == "PermissionError";
            let own = answer["error"].as_str().is_some_and(|text| text.contains("may not do that"));
            assert!(refused || own, "{user}: {request}: {answer}");
        }
    }
    // Who merely has the number of the group of another, or none of it, does not get in at all.
    for (user, group, more) in [("1234", "4243", ""), ("65534", "65534", "")] {
        let seen = guest(&daemon, user, group, more, &looks);
        assert!(seen.iter().all(|answer| *answer == "PermissionError"), "{seen:?}");
    }
    assert_eq!(daemon.ask(&words(&["get", "web", "banip"])), Answer::Result(Value::List(words(&["192.0.2.1"]))));
    assert_eq!(daemon.ask(&words(&["get", "web", "bantime"])), Answer::Result(3_600.into()));
    let log = daemon.words_with(|text| text.matches("refused").count() >= 22);
    for refused in ["refused 'unban' of process", "(user 1234)", "(user 65534)"] {
        assert!(log.contains(refused), "the log lacks {refused}: {log}");
    }
    end(daemon);
}

#[test]
fn without_readers_the_socket_is_for_root_alone() {
    if !can_become_another("without_readers_the_socket_is_for_root_alone") {
        return;
    }
    let daemon = daemon("alone", "");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(daemon.socket()).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    for group in ["4242", "0"] {
        assert_eq!(guest(&daemon, "1234", group, "", &json!([["ping"]])), [json!("PermissionError")]);
    }
    end(daemon);
}

/// While a reader's answer is under way, nobody waits for his other connections: one that hangs up is let go,
/// and does not wake the control thread again and again.
#[test]
fn a_readers_second_connection_that_hangs_up_is_let_go() {
    if !can_become_another("a_readers_second_connection_that_hangs_up_is_let_go") {
        return;
    }
    let daemon = daemon("pair", "stockade.readers = watch");
    let many: Vec<String> = (0..10_000_u32).map(|n| std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string()).collect();
    daemon.own("ban", &json!({ "addresses": many, "jail": "web" }));
    let sockets = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    let until = Instant::now() + Duration::from_secs(15);
    let settles = |count: usize| {
        while sockets() != count {
            assert!(Instant::now() < until, "{} sockets are open, not {count}", sockets());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let before = sockets();
    let mut pair = start(&daemon, "1234", "4242", "", PAIR);
    let mut said = String::new();
    BufReader::new(pair.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "gone\n");
    // Connections are taken in their order: what came before this one has been seen.
    assert_eq!(daemon.ask(&words(&["ping"])), Answer::Result("pong".into()));
    settles(before + 1);
    drop(pair.stdin.take());
    pair.wait().unwrap();
    settles(before);
    end(daemon);
}

/// `why` looks through logs for addresses only, and tells their lines to root only. What a service
/// puts in the place of its log holds nobody up.
#[test]
fn readers_dont_search_logs_and_no_pipe_is_waited_for() {
    if !can_become_another("readers_dont_search_logs_and_no_pipe_is_waited_for") {
        return;
    }
    let daemon = daemon("search", "stockade.readers = watch");
    std::fs::write(daemon.folder.join("web.log"), "somebody 192.0.2.77 said openSesame\n").unwrap();
    std::fs::remove_file(daemon.folder.join("api.log")).unwrap();
    let pipe = daemon.folder.join("api.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let why = |id: &str| daemon.own("why", &json!({ "id": id }))["ok"]["logs"].clone();
    let found = why("192.0.2.77");
    assert_eq!(found["found"][0]["last"], "somebody 192.0.2.77 said openSesame", "{found}");
    assert_eq!(why("openSesame"), Json::Null);
    let asked = json!([["stockade", "why", { "id": "192.0.2.77" }], ["stockade", "why", { "id": "openSesame" }]]);
    let answers = guest(&daemon, "1234", "4242", "", &asked);
    let logs = &answers[0]["ok"]["logs"];
    assert!(logs["found"][0]["lines"] == 1 && logs["found"][0].get("last").is_none(), "{answers:?}");
    assert!(!answers.iter().any(|answer| answer.to_string().contains("said")), "{answers:?}");
    assert_eq!(answers[1]["ok"]["logs"], Json::Null);
    end(daemon);
}

#[test]
fn commands_of_actions_stay_the_trees_where_that_is_wanted() {
    let daemon = daemon("fixed", "stockade.actioncommands = no");
    let stream = |change: &str| {
        let commands = [
            vec!["add", "web", "polling"],
            vec!["set", "web", "addfailregex", "^x <HOST>$"],
            vec!["add", "api", "polling"],
            vec!["set", "api", "addfailregex", "^x <HOST>$"],
            vec!["set", "api", "addaction", "noop"],
            vec!["set", "api", "action", "noop", "actionban", change],
            vec!["start", "web"],
            vec!["start", "api"],
        ];
        let commands = commands.iter().map(|command| Value::List(words(command))).collect();
        vec!["reload".into(), "--all".into(), Value::List(Vec::new()), Value::List(commands)]
    };
    let mark = daemon.folder.join("owned").display().to_string();
    let touch = format!("touch {mark}");
    let changes = [
        words(&["set", "api", "action", "noop", "actionban", &touch]),
        words(&["set", "api", "action", "noop", "executeCmd", &format!("{{\"realCmd\": \"{touch}\"}}")]),
        words(&["set", "api", "action", "noop", "start"]),
        words(&["set", "api", "addaction", "more"]),
        words(&["set", "api", "delaction", "noop"]),
        words(&["set", "api", "ignorecommand", &touch]),
        words(&["multi-set", "api", "ignorecommand", &touch]),
        stream(&touch),
    ];
    for change in changes {
        let answer = daemon.ask(&change);
        let Answer::Refused(why) = &answer else { panic!("{change:?} was taken: {answer:?}") };
        assert_eq!(why.class, "PermissionError", "{change:?}: {why}");
    }
    let ban = daemon.ask(&words(&["get", "api", "action", "noop", "actionban"]));
    assert_eq!(ban, Answer::Result("true <ip>".into()));
    // Everything else goes on as ever.
    assert_eq!(daemon.ask(&words(&["set", "api", "banip", "192.0.2.1"])), Answer::Result(1.into()));
    assert_eq!(daemon.ask(&words(&["set", "api", "maxretry", "9"])), Answer::Result(9.into()));
    assert!(!Path::new(&mark).exists());
    end(daemon);
}

#[test]
fn each_change_leaves_a_line_that_says_who_wanted_it() {
    let daemon = daemon("audit", "");
    let changes = [
        vec!["set", "web", "banip", "192.0.2.1"],
        vec!["set", "web", "unbanip", "192.0.2.1"],
        vec!["set", "web", "bantime", "2h"],
        vec!["set", "api", "action", "noop", "actionban", "true\nforged [sshd] Ban 192.0.2.66"],
        vec!["unban", "--all"],
        vec!["flushlogs"],
        vec!["stop", "api"],
    ];
    for change in &changes {
        assert!(matches!(daemon.ask(&words(change)), Answer::Result(_)), "{change:?}");
    }
    for look in [&["status"][..], &["banned"], &["get", "web", "bantime"], &["ping"]] {
        assert!(matches!(daemon.ask(&words(look)), Answer::Result(_)), "{look:?}");
    }
    daemon.own("ban", &json!({ "addresses": ["192.0.2.3"], "jail": "web" }));
    let who = format!(" by user 0, process {}", std::process::id());
    let log = daemon.words_with(|text| text.matches(&who).count() > changes.len());
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&who)).collect();
    assert_eq!(lines.len(), changes.len() + 1, "{lines:#?}");
    for (change, line) in changes.iter().zip(&lines) {
        let word = format!("'{}'", change[0]);
        assert!(line.contains("stockade.control") && line.contains(&word), "{line}");
    }
    assert!(lines.last().unwrap().contains("command 'ban'"), "{lines:#?}");
    assert!(!log.lines().any(|line| line.starts_with("forged")), "{log}");
    end(daemon);
}
