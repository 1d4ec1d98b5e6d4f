//! Failing tools, many refusals, and what goes while nobody listens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, connect, getsockname};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use stockade_core::Span;
use stockade_enforce::stock::StockAction;
use stockade_enforce::{Held, SetOp};
use stockade_original::{Installed, newest};

use crate::common::{in_namespace, run};
use crate::original::{action_of, net, now, spec_of};
use crate::{apply, ban, jail, stock_with};

/// An `iptables` of our own whose `iptables-save` fails, or is cut off, while a file of that name is there.
fn broken_tool(folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let here = folder.display();
    let fail = format!("[ ! -e {here}/fails ] || {{ echo no memory >&2; exit 4; }}");
    for (tool, first) in [("iptables", ""), ("iptables-restore", ""), ("iptables-save", fail.as_str())] {
        let path = folder.join(tool);
        std::fs::write(&path, format!("#!/bin/sh\n{first}\nexec {tool} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    format!("{here}/iptables")
}

/// An action of iptables that calls that program.
fn action_with(root: &Path, tool: &str) -> StockAction {
    let mut spec = spec_of(root, "iptables-multiport[name=web, port=\"80,443\"]");
    for (_, value) in spec.properties.iter_mut().filter(|(name, _)| name == "iptables") {
        *value = format!("{tool} -w");
    }
    action_of(&spec)
}

#[test]
fn what_cannot_be_looked_for_after_the_start_is_told() {
    let Some(Installed { root, .. }) = newest("what_cannot_be_looked_for_after_the_start_is_told") else { return };
    in_namespace("trouble::what_cannot_be_looked_for_after_the_start_is_told", || {
        let folder = std::env::temp_dir().join(format!("stockade-unseen-{}", std::process::id()));
        let action = action_with(&root, &broken_tool(&folder));
        // A process that was killed left a ban that has ended since.
        let mut stock = stock_with(&action);
        apply(&mut stock, &[ban("192.0.2.1")]);
        drop(stock);
        std::fs::write(folder.join("fails"), "").unwrap();
        let failed = stock_with(&action).settle(now());
        assert!(failed.len() == 1 && failed.iter().all(|error| error.why.contains("no memory")), "{failed:?}");
        assert!(run("iptables-save", &["-t", "filter"]).contains("192.0.2.1"));
        std::fs::remove_file(folder.join("fails")).unwrap();
        assert_eq!(stock_with(&action).settle(now()), []);
        assert!(!run("iptables-save", &["-t", "filter"]).contains("192.0.2.1"));
        std::fs::remove_dir_all(&folder).unwrap();
        // Where there is no such tool nothing of it stands.
        assert_eq!(stock_with(&action).settle(now()), []);
    });
}

#[test]
fn a_failed_look_changes_nothing() {
    let Some(Installed { root, .. }) = newest("a_failed_look_changes_nothing") else { return };
    in_namespace("trouble::a_failed_look_changes_nothing", || {
        let folder = std::env::temp_dir().join(format!("stockade-broken-{}", std::process::id()));
        let tool = broken_tool(&folder);
        let mut stock = stock_with(&action_with(&root, &tool));
        apply(&mut stock, &[ban("192.0.2.1"), ban("192.0.2.2")]);
        let before = run("iptables-save", &["-t", "filter"]);
        assert_eq!(before.matches("-j f2b-web").count(), 1, "{before}");
        std::fs::write(folder.join("fails"), "").unwrap();
        for _ in 0..3 {
            let error = stock.check(now(), false).unwrap_err();
            assert!(error.why.contains("no memory"), "{error}");
        }
        // A loss meanwhile is mended once it can be seen.
        run("iptables", &["-D", "f2b-web", "1"]);
        assert!(stock.check(now(), true).is_err());
        std::fs::remove_file(folder.join("fails")).unwrap();
        assert_eq!(stock.check(now(), false), Ok(true));
        let after = run("iptables-save", &["-t", "filter"]);
        let rules = |text: &str| text.lines().filter(|line| line.starts_with('-')).collect::<Vec<_>>().join("\n");
        assert_eq!(rules(&after), rules(&before));
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// Has what this process sends over netlink go to nobody, or to the kernel again.
fn deaf(deaf: bool) {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    // The kernel is port 0; nobody has the number of the first process.
    let to = SocketAddrNetlink::new(u32::from(deaf), 0);
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let Ok(fd) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
        if getsockname(&fd).is_ok_and(|address| address.address_family() == AddressFamily::NETLINK) {
            connect(&fd, &to).unwrap();
        }
    }
}

#[test]
fn a_failed_look_is_made_again() {
    let Some(Installed { root, .. }) = newest("a_failed_look_is_made_again") else { return };
    in_namespace("trouble::a_failed_look_is_made_again", || {
        let mut stock = stock_with(&action_of(&spec_of(&root, "nftables-multiport[name=web, port=80]")));
        apply(&mut stock, &[ban("192.0.2.1")]);
        // Of changes to these tables the kernel tells.
        assert!(!stock.wants_looks());
        deaf(true);
        run("nft", &["flush", "set", "inet", "f2b-table", "addr-set-web"]);
        assert!(stock.check(now(), true).is_err());
        assert!(stock.wants_looks(), "a look failed, and nobody looks again");
        deaf(false);
        // Nobody says that something changed; it is known from the look that failed.
        assert_eq!(stock.check(now(), false), Ok(true));
        assert_eq!(stock.verify(&jail(), net("192.0.2.1")), Ok(Held::Held));
        assert!(!stock.wants_looks());
    });
}

#[test]
fn very_many_refusals_are_told_in_time() {
    const MANY: u32 = 60_000;
    let Some(Installed { root, .. }) = newest("very_many_refusals_are_told_in_time") else { return };
    in_namespace("trouble::very_many_refusals_are_told_in_time", || {
        let action = action_of(&spec_of(&root, "nftables-multiport[name=web, port=80]"));
        let mut stock = stock_with(&action);
        // The set takes no networks.
        let network = |n: u32| net(&format!("10.{}.{}.0/24", n >> 8 & 255, n & 255));
        let first: Vec<SetOp> = (0..MANY)
            .map(|n| SetOp::Ban { jail: jail(), net: network(n), end: now() + Span::from_secs(600) })
            .collect();
        let begin = Instant::now();
        let failed = stock.apply(now(), &first).failed;
        let took = begin.elapsed();
        assert_eq!(failed.len(), first.len());
        assert!(failed.iter().map(|(index, _)| *index).eq(0..first.len()));
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
}

#[test]
fn elements_that_went_during_the_load_are_put_back() {
    let Some(Installed { root, .. }) = newest("elements_that_went_during_the_load_are_put_back") else { return };
    in_namespace("trouble::elements_that_went_during_the_load_are_put_back", || {
        let action = action_of(&spec_of(&root, "nftables-multiport[name=web, port=80]"));
        let mut stock = stock_with(&action);
        stock.expect_load();
        apply(&mut stock, &[ban("192.0.2.1"), ban("192.0.2.2")]);
        run("nft", &["flush", "set", "inet", "f2b-table", "addr-set-web"]);
        assert_eq!(stock.settle(now()), []);
        for whom in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Held), "{whom}");
        }
    });
}
