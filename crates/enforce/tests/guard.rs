//! Whom not to ban, on a machine that we made: a namespace with addresses,
//! routes, and processes that look like sshd's.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use common::{Attacker, TARGET4, in_namespace, run};
use stockade_core::{FailureId, Net};
use stockade_enforce::{Guard, Reason};

#[test]
fn attacker_process() {
    common::attacker_process();
}

fn net(text: &str) -> Net {
    FailureId::parse(text).net().unwrap()
}

/// A process that holds the socket it got as standard input, under this title.
#[expect(clippy::disallowed_methods, reason = "the process is the subject of the test")]
fn process(program: &std::path::Path, title: &str, uid: u32, socket: std::net::TcpStream) -> Child {
    let socket = std::os::fd::OwnedFd::from(socket);
    let mut command = Command::new(program);
    command.arg0(title).arg("60").stdin(Stdio::from(socket)).stdout(Stdio::null()).uid(uid);
    command.spawn().unwrap()
}

#[test]
fn logged_in_addresses_are_protected_and_wrong_passwords_protect_nobody() {
    in_namespace("logged_in_addresses_are_protected_and_wrong_passwords_protect_nobody", || {
        let mut attacker = Attacker::start();
        let folder = std::env::temp_dir().join(format!("stockade-guard-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sleep = ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|p| std::path::Path::new(p).exists()).unwrap();
        let sshd = folder.join("sshd-session");
        std::fs::copy(sleep, &sshd).unwrap();
        let other = folder.join("other");
        std::fs::copy(sleep, &other).unwrap();

        let listener = TcpListener::bind((TARGET4, 22)).unwrap();
        let mut guard = Guard::new();
        let of = |guard: &mut Guard, addr: &str| {
            guard.collect().into_iter().find(|(n, _)| *n == net(addr)).map(|(_, reason)| reason)
        };
        let mut children = Vec::new();
        for (from, program, title, uid, user) in [
            ("10.9.0.1", &sshd, "sshd-session: alice@pts/0", 1000, Some("alice")),
            ("10.9.0.2", &sshd, "sshd: root@notty", 0, Some("root")),
            ("10.9.0.3", &sshd, "sshd-session: bob", 1001, Some("bob")),
            ("10.9.0.4", &sshd, "sshd-session: root [priv]", 0, None),
            ("10.9.0.5", &sshd, "sshd-session: root [net]", 105, None),
            ("10.9.0.6", &sshd, "sshd-session: [accepted]", 0, None),
            ("10.9.0.7", &other, "sshd-session: mallory@pts/1", 1000, None),
        ] {
            assert_eq!(attacker.connect(from, TARGET4, 22), "open");
            let socket = listener.accept().unwrap().0;
            children.push(process(program, title, uid, socket));
            let login = user.map(|user| Reason::Login { user: user.to_owned() });
            assert_eq!(of(&mut guard, from), login, "{title}");
        }
        children.iter_mut().for_each(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(of(&mut guard, "10.9.0.1"), None, "the session has ended");
    });
}

#[test]
fn own_addresses_and_gateways_follow_the_kernel() {
    in_namespace("own_addresses_and_gateways_follow_the_kernel", || {
        let _attacker = Attacker::start();
        let mut guard = Guard::new();
        let reason = |guard: &mut Guard, addr: &str| {
            guard.collect().into_iter().find(|(n, _)| n.contains(net(addr))).map(|(_, reason)| reason)
        };
        assert_eq!(reason(&mut guard, "127.0.0.53"), Some(Reason::Loopback));
        assert_eq!(reason(&mut guard, "::1"), Some(Reason::Loopback));
        assert_eq!(reason(&mut guard, TARGET4), Some(Reason::Own));
        assert_eq!(reason(&mut guard, "2001:db8::1"), Some(Reason::Own));
        assert_eq!(reason(&mut guard, "10.0.0.2"), Some(Reason::Gateway), "the route to 10.9.0.0/16");
        assert_eq!(reason(&mut guard, "10.0.0.77"), None);
        run("ip", &["addr", "add", "10.0.0.77/32", "dev", "a0"]);
        run("ip", &["route", "add", "10.8.0.0/16", "nexthop", "via", "10.0.0.88", "nexthop", "via", "10.0.0.89"]);
        run("ip", &["route", "add", "10.6.0.0/16", "via", "inet6", "2001:db8::66"]);
        // A read is not repeated within a few times its own duration; then the change is seen.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while reason(&mut guard, "10.0.0.77") != Some(Reason::Own) {
            assert!(std::time::Instant::now() < end, "the new address is not seen");
            std::thread::yield_now();
        }
        for gateway in ["10.0.0.88", "10.0.0.89", "2001:db8::66"] {
            assert_eq!(reason(&mut guard, gateway), Some(Reason::Gateway), "{gateway}");
        }
    });
}
