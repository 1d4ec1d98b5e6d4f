//! What an enemy at the socket may try: refused or bounded, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, END, answer, fresh};

/// How much the daemon may grow under any of this.
const GROWTH_KIB_MAX: u64 = 2_048;

const PING: &[u8] = b"\x80\x04]\x8c\x04pinga.";

/// How much longer than the short form a run is.
fn long() -> usize {
    std::env::var("STOCKADE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A line of the daemon's `/proc/PID/status`, in KiB.
fn kib(daemon: &Daemon, name: &str) -> u64 {
    let mut text = String::new();
    std::fs::File::open(format!("/proc/{}/status", daemon.pid())).unwrap().read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs an attack; others are answered meanwhile and after, and memory stays.
fn attack(name: &str, attack: impl FnOnce(&Daemon)) {
    let daemon = Daemon::ours(fresh(&format!("hostile-{name}")));
    // What every daemon needs once is there before the attack.
    for _ in 0..50 {
        assert!(daemon.try_ask(PING).unwrap().starts_with(b"\x80\x04K\0"));
    }
    let before = kib(&daemon, "VmRSS:");
    attack(&daemon);
    let began = Instant::now();
    assert!(daemon.try_ask(PING).unwrap().starts_with(b"\x80\x04K\0"));
    let took = began.elapsed();
    let peak = kib(&daemon, "VmHWM:").saturating_sub(before);
    println!("{name}: at most {peak} KiB more, a ping afterwards took {took:?}");
    assert!(peak < GROWTH_KIB_MAX, "{name}: grew by {peak} KiB");
    assert!(took < Duration::from_secs(1), "{name}: a ping took {took:?}");
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Sends until the other side has enough; how many bytes it took.
fn flood(stream: &mut UnixStream, begin: &[u8], part: &[u8], bytes: usize) -> usize {
    let mut sent = begin.len();
    if stream.write_all(begin).is_err() {
        return 0;
    }
    while sent < bytes {
        match stream.write(part) {
            Ok(n) => sent += n,
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(e) => panic!("the daemon neither reads nor hangs up: {e}"),
        }
    }
    sent
}

#[test]
fn pickles_that_run_commands_are_refused() {
    attack("commands", |daemon| {
        let mark = daemon.folder.join("owned");
        let line = format!("touch {}", mark.display());
        let text = |text: &str| [&[0x8c, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let old = [b"\x80\x02cos\nsystem\n(".to_vec(), text(&line), b"tR.".to_vec()].concat();
        let new = [b"\x80\x04".to_vec(), text("os"), text("system"), b"\x93(".to_vec(), text(&line), b"tR.".to_vec()];
        let inst = [b"(".to_vec(), text(&line), b"ios\nsystem\n.".to_vec()].concat();
        for pickle in [old, new.concat(), inst] {
            let answer = daemon.try_ask(&pickle).unwrap();
            assert!(memchr::memmem::find(&answer, b"ERROR: opcode").is_some(), "{answer:?}");
        }
        assert!(!mark.exists());
        let until = Instant::now() + Duration::from_secs(10);
        while daemon.words().matches("refused a request of process").count() < 3 {
            assert!(Instant::now() < until, "the log does not name the peer: {}", daemon.words());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_request_without_end_costs_nothing() {
    attack("endless", |daemon| {
        let bytes = (64 << 20) * long().min(16);
        let rubbish = vec![b'x'; 65_536];
        let texts = b"\x8c\x04ping".repeat(8_192);
        let numbers = b"K\x01".repeat(32_768);
        let frames = b"\x95\0\0\0\0\0\0\0\0".repeat(4_096);
        let begins: [(&[u8], &[u8]); 7] = [
            (b"", &rubbish),
            (b"\x80\x05", &rubbish),
            (b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", &rubbish),
            (b"\x80\x05X\xff\xff\xff\x3f", &rubbish),
            (b"\x80\x05](", &texts),
            (b"\x80\x05](", &numbers),
            (b"\x80\x05", &frames),
        ];
        for (begin, part) in begins {
            let sent = flood(&mut daemon.connect(), begin, part, bytes);
            assert!(sent < 8 << 20, "{sent} bytes were taken after {begin:?}");
        }
    });
}

#[test]
fn bombs_are_refused() {
    attack("bombs", |daemon| {
        let deep = [b"\x80\x04".to_vec(), b"]".repeat(10_000), b"a".repeat(9_999), b".".to_vec()].concat();
        let itself = b"\x80\x04]\x94h\0a.".to_vec();
        let mut doubled = b"\x80\x04]\x94".to_vec();
        for n in 0..60_u8 {
            doubled.extend([b']', 0x94, b'(', b'h', n, b'h', n, b'e']);
        }
        doubled.push(b'.');
        let memo = b"\x80\x04Nr\xff\xff\xff\x7f.".to_vec();
        for bomb in [deep, itself, doubled, memo] {
            let answer = daemon.try_ask(&bomb).unwrap();
            assert!(memchr::memmem::find(&answer, b"ERROR: ").is_some(), "{answer:?}");
        }
    });
}

#[test]
fn who_does_not_read_gets_no_more() {
    attack("deaf", |daemon| {
        let mut stream = daemon.connect();
        stream.set_nonblocking(true).unwrap();
        let request = [b"\x80\x04](\x8c\x03get\x8c\x03web\x8c\x09failregexe.", END].concat().repeat(100);
        let until = Instant::now() + Duration::from_millis(500);
        let mut sent = 0;
        while Instant::now() < until {
            match stream.write(&request) {
                Ok(n) => sent += n,
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
        assert!(sent < 2 << 20, "{sent} bytes of requests were taken from who reads no answers");
    });
}

#[test]
fn half_a_request_holds_up_nobody() {
    attack("half", |daemon| {
        let mut halves: Vec<UnixStream> = (0..100).map(|_| daemon.connect()).collect();
        for half in &mut halves {
            half.write_all(&PING[..5]).unwrap();
        }
        assert!(daemon.try_ask(PING).is_some());
        // A marker within a text is only a text, even in two parts.
        let mut stream = daemon.connect();
        let text = b"<F2B_END_COMMAND>";
        let request = [&b"\x80\x04](\x8c\x04echo\x8c\x11"[..], text, b"e.", END].concat();
        let (first, second) = request.split_at(25);
        stream.write_all(first).unwrap();
        assert!(daemon.try_ask(PING).is_some());
        stream.write_all(second).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(&[b".", END].concat()[..]) {
            let mut part = [0; 4_096];
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0, "it hung up after {said:?}");
            said.extend_from_slice(&part[..n]);
        }
        assert!(memchr::memmem::find(&said, text).is_some_and(|at| at + text.len() + END.len() < said.len()));
        // Several requests in one write are answered one after another.
        stream.write_all(&[PING, END].concat().repeat(50)).unwrap();
        let mut pongs = Vec::new();
        while memchr::memmem::find_iter(&pongs, b"pong").count() < 50 {
            let mut part = [0; 4_096];
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0, "it hung up");
            pongs.extend_from_slice(&part[..n]);
        }
    });
}

#[test]
fn ten_thousand_connections_keep_nobody_out() {
    attack("crowd", |daemon| {
        let mut held = Vec::new();
        for _ in 0..10_000 {
            // The queue of the socket may be full for a moment.
            let Ok(mut stream) = UnixStream::connect(daemon.socket()) else { continue };
            drop(stream.write(&PING[..3]));
            held.push(stream);
            if held.len() > 500 {
                held.drain(..250);
            }
        }
        let mut stream = daemon.connect();
        stream.write_all(&[PING, END].concat()).unwrap();
        assert!(answer(&mut stream).is_some());
    });
}
