//! Servers from their start to their end, theirs and ours in the same way.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Said;
use crate::conversations::{plain, words_for};
use crate::original::{self, Original, PATIENCE, Server, all};
use crate::ours::Ours;
use crate::trees::good;

/// Runs fail2ban's client.
trait Client {
    fn says(&mut self, words: &[String]) -> Said;
}

impl Client for Original {
    fn says(&mut self, words: &[String]) -> Said {
        self.client(words)
    }
}

impl Client for Ours {
    fn says(&mut self, words: &[String]) -> Said {
        self.client(words)
    }
}

/// The original's client where it finds our server.
struct TheirsWithOurServer<'a>(&'a mut Original, PathBuf);

impl Client for TheirsWithOurServer<'_> {
    fn says(&mut self, words: &[String]) -> Said {
        self.0.client_in(&self.1, words)
    }
}

/// A tree whose server, wherever it went, is ended with this value.
struct Place {
    tree: PathBuf,
}

impl Place {
    fn new(name: &str) -> Place {
        Place { tree: good(name) }
    }

    fn run(&self, file: &str) -> PathBuf {
        self.tree.join("run").join(file)
    }

    fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.run("f2b.pid")).ok()?.trim().parse().ok()
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().expect("a server runs").to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn words(&self, line: &str) -> Vec<String> {
        words_for(&self.tree, line)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let mut kill = Command::new("kill");
            drop(kill.args(["-s", "KILL", &pid.to_string()]).stderr(Stdio::null()).status());
        }
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.tree).unwrap();
        }
    }
}

#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that the client says to the panel's script.
fn panel(client: &mut dyn Client, place: &Place) -> Vec<(char, String, Said)> {
    let lines =
        include_str!("panel.txt").lines().filter(|line| !line.starts_with("# `") && !line.starts_with("# What"));
    let said = lines.map(|line| {
        if let Some(shown) = line.strip_prefix("? ") {
            eventually(line, || client.says(&place.words("status web")).out.contains(shown));
            return ('?', line.to_owned(), Said { code: 0, out: String::new(), err: String::new() });
        }
        let said = plain(&client.says(&place.words(&line[2..])), &place.tree);
        (line.chars().next().unwrap(), line[2..].to_owned(), said)
    });
    said.collect()
}

/// How two runs of the panel's script differ.
fn differences(theirs: &[(char, String, Said)], ours: &[(char, String, Said)]) -> Vec<String> {
    let differs = |mark: char, theirs: &Said, ours: &Said| {
        theirs.code != ours.code
            || (mark != '#' && theirs.out != ours.out)
            || (mark == '=' && theirs.err != ours.err)
            || (mark == '~' && theirs.code != 0 && theirs.err.is_empty() != ours.err.is_empty())
    };
    // `!` is the known difference restart-keeps-counters.
    let wrong = |mark: char, theirs: &Said, ours: &Said| (mark == '!') != differs(mark, theirs, ours);
    let pairs = theirs.iter().zip(ours).filter(|((mark, _, theirs), (_, _, ours))| wrong(*mark, theirs, ours));
    pairs.map(|((_, line, theirs), (_, _, ours))| format!("{line}\n theirs {theirs:?}\n ours   {ours:?}")).collect()
}

#[test]
fn a_panels_script_behaves_the_same() {
    for mut original in all("a_panels_script_behaves_the_same") {
        let (theirs, ours) = (Place::new("panel-theirs"), Place::new("panel-ours"));
        let expected = panel(&mut original, &theirs);
        let mut program = Ours::new();
        let wrong = differences(&expected, &panel(&mut program, &ours));
        assert!(wrong.is_empty(), "our client, our server, {}: {}", original.version, wrong.join("\n"));
        let mixed = Place::new("panel-mixed");
        let folder = program.folder().to_owned();
        let said = panel(&mut TheirsWithOurServer(&mut original, folder), &mixed);
        let wrong = differences(&expected, &said);
        assert!(wrong.is_empty(), "their client, our server, {}: {}", original.version, wrong.join("\n"));
        println!("{}: {} invocations", original.version, expected.len());
    }
}

#[test]
fn a_container_starts_the_same() {
    let originals = all("a_container_starts_the_same");
    let ours = Ours::new();
    for mut original in originals {
        for signal in ["TERM", "INT"] {
            let mut seen = Vec::new();
            for theirs in [true, false] {
                let place = Place::new("container");
                // Options as container images edit them.
                let main = place.tree.join("fail2ban.conf");
                let text = std::fs::read_to_string(&main).unwrap();
                let text =
                    text.replace("dbpurgeage = 1d", "dbpurgeage = 2d").replace("loglevel = INFO", "loglevel = DEBUG");
                std::fs::write(&main, text).unwrap();
                let words = ["-c", place.tree.to_str().unwrap(), "-f", "-x", "-v", "start"].map(str::to_owned);
                let mut command =
                    if theirs { original.command("server", &words) } else { ours.command("server", &words) };
                let out = place.run("out");
                let child = command
                    .stdin(Stdio::null())
                    .stdout(std::fs::File::create(&out).unwrap())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                let mut server = Server::when_it_answers(child, &place.run("f2b.sock"));
                let client: &mut dyn Client = if theirs { &mut original } else { &mut Ours::new() };
                eventually("two jails", || client.says(&place.words("status")).out.contains("api, web"));
                eventually("the server is ready", || std::fs::read_to_string(&out).unwrap().contains("ready"));
                let said = ["ping", "get loglevel", "get dbpurgeage", "status web"]
                    .map(|line| plain(&client.says(&place.words(line)), &place.tree));
                let inside = place.pid().is_some();
                server.signal(signal);
                let code = server.ended();
                let left = (place.run("f2b.sock").exists(), place.run("f2b.pid").exists());
                seen.push((said, inside, code, left, std::fs::read_to_string(&out).unwrap()));
            }
            assert_eq!(seen[0], seen[1], "{} {signal}", original.version);
            assert_eq!((seen[1].2, seen[1].3), (Some(0), (false, false)));
        }
    }
}

/// Makes a socket as a service manager does, with a second one before it, and becomes the program that it is for.
const MANAGER: &str = "
import os, socket, sys
other = socket.socket(socket.AF_UNIX)
other.bind(sys.argv[1] + '.other')
ours = socket.socket(socket.AF_UNIX)
ours.bind(sys.argv[1])
for s in (other, ours):
    s.listen(16)
a, b = os.dup(other.fileno()), os.dup(ours.fileno())
os.dup2(a, 3); os.dup2(b, 4)
os.set_inheritable(3, True); os.set_inheritable(4, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='other:fail2ban')
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_service_managers_socket_is_used_and_left_in_its_place() {
    if original::none("a_service_managers_socket_is_used_and_left_in_its_place") {
        return;
    }
    let ours = Ours::new();
    let place = Place::new("handed-over");
    let socket = place.run("f2b.sock");
    let program = ours.folder().join("fail2ban-server");
    let mut command = Command::new("unshare");
    command.args(["--net", "python3", "-c", MANAGER]).arg(&socket).arg(program);
    command.arg("-c").arg(&place.tree).args(["-f", "start"]).stdout(Stdio::null());
    let mut server = Server::when_it_answers(command.spawn().unwrap(), &socket);
    let status = ours.client(&place.words("status"));
    assert!(status.out.contains("api, web"), "{status:?}");
    assert_eq!(ours.client(&place.words("stop")).out, "Shutdown successful\n");
    assert_eq!(server.ended(), Some(0));
    assert!(socket.exists() && !place.run("f2b.pid").exists());
}

/// What happens to whoever is in the way, and to signals in the background.
fn mishaps(client: &mut dyn Client, place: &Place) -> Vec<String> {
    let mut seen = Vec::new();
    let mut note = |what: &str, said: &Said| {
        println!("{what}: {said:?}");
        seen.push(format!("{what}: {} {:?}", said.code, said.out));
    };
    note("first start", &client.says(&place.words("start")));
    note("second start", &client.says(&place.words("start")));
    place.signal("HUP");
    note("after a hang-up", &client.says(&place.words("ping")));
    std::fs::rename(place.run("f2b.log"), place.run("old.log")).unwrap();
    place.signal("USR1");
    eventually("a new log after USR1", || place.run("f2b.log").exists());
    place.signal("KILL");
    eventually("nobody answers", || client.says(&place.words("ping")).code != 0);
    assert!(place.run("f2b.sock").exists() && place.run("f2b.pid").exists());
    note("start over the dead", &client.says(&place.words("start")));
    note("start over the dead with -x", &client.says(&place.words("-x start")));
    note("then", &client.says(&place.words("ping")));
    place.signal("TERM");
    eventually("the socket is gone", || !place.run("f2b.sock").exists() && !place.run("f2b.pid").exists());
    note("after TERM", &client.says(&place.words("ping")));
    crate::trees::write(&place.tree, "filter.d/web.local", "[Definition]\nfailregex = ^bad <HOST>(\n");
    note("start with a bad regex", &client.says(&place.words("start")));
    seen
}

#[test]
fn mishaps_end_the_same() {
    for mut original in all("mishaps_end_the_same") {
        let (theirs, ours) = (Place::new("mishap-theirs"), Place::new("mishap-ours"));
        let expected = mishaps(&mut original, &theirs);
        let mut program = Ours::new();
        let seen = mishaps(&mut program, &ours);
        let last = expected.len() - 1;
        assert_eq!(expected[..last], seen[..last], "{}", original.version);
        // DIVERGENCE: failed-start-ends. Theirs says that it is ready, and stays without jails.
        assert_eq!(
            (expected[last].as_str(), seen[last].as_str()),
            ("start with a bad regex: 255 \"Server ready\\n\"", "start with a bad regex: 255 \"\"")
        );
        let mixed = Place::new("mishap-mixed");
        let seen = mishaps(&mut TheirsWithOurServer(&mut original, program.folder().to_owned()), &mixed);
        assert_eq!(expected, seen, "{}: their client, our server", original.version);
    }
}

/// The same command where the tests themselves run under `nohup`.
fn that_hears_hang_ups(command: &Command) -> Command {
    let mut hears = Command::new("env");
    hears.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => hears.env(name, value),
            None => hears.env_remove(name),
        };
    }
    hears
}

#[test]
fn a_hang_up_in_the_foreground_ends_in_order() {
    let mut met = std::collections::BTreeSet::new();
    for mut original in all("a_hang_up_in_the_foreground_ends_in_order") {
        let ours = Ours::new();
        let ends = [true, false].map(|theirs| {
            let place = Place::new("hang-up");
            let words = ["-c", place.tree.to_str().unwrap(), "-f", "-x", "start"].map(str::to_owned);
            let command = if theirs { original.command("server", &words) } else { ours.command("server", &words) };
            let mut command = that_hears_hang_ups(&command);
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut server = Server::when_it_answers(child, &place.run("f2b.sock"));
            let client: &mut dyn Client = if theirs { &mut original } else { &mut Ours::new() };
            eventually("two jails", || client.says(&place.words("status")).out.contains("api, web"));
            server.signal("HUP");
            (server.ended(), place.run("f2b.sock").exists(), place.run("f2b.pid").exists())
        });
        println!("{}: {ends:?}", original.version);
        // DIVERGENCE: hang-up-in-order. Theirs dies of it and leaves everything behind.
        assert_eq!(ends[0], (None, true, true), "{}", original.version);
        assert_eq!(ends[1], (Some(129), false, false));
        met.insert("hang-up-in-order".to_owned());
    }
    crate::listed(&met);
}

#[test]
fn a_restart_with_a_mistake_in_the_tree_leaves_the_server_as_it_is() {
    let mut met = std::collections::BTreeSet::new();
    for mut original in all("a_restart_with_a_mistake_in_the_tree_leaves_the_server_as_it_is") {
        let mut program = Ours::new();
        let mut ends = Vec::new();
        for theirs in [true, false] {
            let place = Place::new("restart");
            let client: &mut dyn Client = if theirs { &mut original } else { &mut program };
            assert_eq!(client.says(&place.words("start")).out, "Server ready\n");
            assert_eq!(client.says(&place.words("set web banip 198.51.100.7")).out, "1\n");
            // Good: the ban is taken up again, and there is another server.
            let before = place.pid();
            let said = client.says(&place.words("restart"));
            assert_eq!((said.code, said.out.as_str()), (0, "Shutdown successful\nServer ready\n"));
            assert_ne!(before, place.pid());
            eventually("the ban is there", || client.says(&place.words("status web")).out.contains("198.51.100.7"));
            crate::trees::write(&place.tree, "jail.local", "this is no section\n");
            let said = client.says(&place.words("restart"));
            ends.push((said.code, client.says(&place.words("ping")).code));
        }
        println!("{}: {ends:?}", original.version);
        // DIVERGENCE: restart-without-gap. Theirs has stopped, and nothing is protected.
        assert_eq!(ends, [(255, 255), (255, 0)], "{}", original.version);
        met.insert("restart-without-gap".to_owned());
    }
    crate::listed(&met);
}

#[test]
fn the_prompt_answers_the_same() {
    for mut original in all("the_prompt_answers_the_same") {
        let mut seen = Vec::new();
        let program = Ours::new();
        for theirs in [true, false] {
            let place = Place::new("prompt");
            let _server = original.server(&place.tree);
            let typed = "ping\n\nstatus\nstatus 'web'\necho 'a b' c\nnonsense\nget web \"bantime\nget nope bantime\nquit\nping\n";
            let words = place.words("-i ping");
            let said =
                if theirs { original.run("client", &words, typed) } else { program.run("client", &words, typed) };
            let said = plain(&said, &place.tree);
            // The greeting and the complaint about a quotation are our own words.
            let out: Vec<String> =
                said.out.lines().skip_while(|line| !line.starts_with("fail2ban> ")).map(str::to_owned).collect();
            seen.push((said.code, out, said.out.starts_with("Server replied: pong\n"), said.err.lines().count()));
            let ended = place.words("-i");
            let said =
                if theirs { original.run("client", &ended, "ping\n") } else { program.run("client", &ended, "ping\n") };
            seen.push((said.code, Vec::new(), said.out.ends_with('\n'), said.err.lines().count()));
        }
        assert_eq!((&seen[0], &seen[1]), (&seen[2], &seen[3]), "{}", original.version);
        assert!(seen[0].1.len() > 10 && seen[1].0 == 255, "{seen:?}");
    }
}
