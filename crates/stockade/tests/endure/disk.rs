//! A disk that is full, read-only or slow: protection goes on, and is saved later.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::guard::{Blocks, Guard};
use crate::kernel::held;
use crate::{at, fresh, in_namespace};

fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_held(address: &str) -> bool {
    held(Blocks::Own, std::iter::once(address.to_owned()))
}

/// Waits for something to become true.
fn wait(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    begin.elapsed()
}

fn is_saved(guard: &Guard) -> bool {
    let status = guard.ask("status", &json!({}));
    status["database"]["ok"].as_bool().unwrap_or_else(|| panic!("{status}"))
}

/// Breaks the disk under a running daemon, bans, mends it, and crashes.
fn through(name: &str, spoil: fn(&Path, &mut Guard), mend: fn(&Path)) {
    let folder = fresh(name);
    tool("mount", &["-t", "tmpfs", "-o", "size=8m", "none", &folder.to_string_lossy()]);
    let logs = fresh(&format!("{name}-logs"));
    let mut guard = Guard::with_logs(&folder, &logs, Blocks::Own, None);
    guard.start_until("INFO    ready");
    guard.ban_by_line("192.0.2.1");
    spoil(&folder, &mut guard);
    guard.write("192.0.2.2 refused\n");
    let took = wait("the ban in the kernel", || is_held("192.0.2.2"));
    wait("told of the trouble", || !is_saved(&guard));
    // A ban by hand is made all the same, and its answer says that a crash would undo it.
    let answer = guard.ask("ban", &json!({ "jail": "web", "addresses": ["192.0.2.3"] }));
    assert_eq!(answer["changed"], 1, "{answer}");
    assert!(answer["not_saved"].as_str().is_some_and(|why| !why.is_empty()), "{answer}");
    mend(&folder);
    wait("saved again", || is_saved(&guard));
    guard.kill();
    tool("nft", &["flush", "ruleset"]);
    guard.start_until("INFO    ready");
    wait("all in force after a crash", || ["192.0.2.1", "192.0.2.2", "192.0.2.3"].into_iter().all(is_held));
    let answer = guard.ask("ban", &json!({ "jail": "web", "addresses": ["192.0.2.4"] }));
    assert_eq!(answer["not_saved"], "", "{answer}");
    println!("{name}: a ban meanwhile was in the kernel after {:.1} ms", took.as_secs_f64() * 1e3);
    guard.kill();
    tool("umount", &[&folder.to_string_lossy()]);
    for gone in [folder, logs] {
        std::fs::remove_dir_all(gone).unwrap();
    }
}

#[test]
fn a_full_disk_stops_no_ban() {
    fn fill(folder: &Path, _: &mut Guard) {
        let mut file = std::fs::File::create(folder.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
    fn free(folder: &Path) {
        std::fs::remove_file(folder.join("filler")).unwrap();
    }
    in_namespace("disk::a_full_disk_stops_no_ban", || through("disk-full", fill, free));
}

#[test]
fn a_read_only_disk_stops_no_ban() {
    fn spoil(folder: &Path, guard: &mut Guard) {
        // While a file is open for writing that is refused.
        guard.kill();
        tool("mount", &["-o", "remount,ro", &folder.to_string_lossy()]);
        guard.start_until("INFO    ready");
    }
    fn mend(folder: &Path) {
        tool("mount", &["-o", "remount,rw", &folder.to_string_lossy()]);
    }
    in_namespace("disk::a_read_only_disk_stops_no_ban", || through("disk-read-only", spoil, mend));
}

/// Each fsync takes half a second: bans are in the kernel as fast as ever.
#[test]
fn a_slow_disk_delays_no_ban() {
    in_namespace("disk::a_slow_disk_delays_no_ban", || {
        if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
            return stockade_original::skip(
                "a_slow_disk_delays_no_ban",
                "there is no strace to slow the disk down with",
            );
        }
        let folder = fresh("disk-slow");
        let mut guard = Guard::new(&folder, Blocks::Own, None);
        let (trace, slow) = ("trace=fsync,fdatasync", "inject=fsync,fdatasync:delay_enter=500000");
        guard.launch_under("strace", &["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", trace, "-e", slow]);
        guard.wait_for("INFO    ready", Duration::from_secs(60));
        let (mut kernel, mut announced) = (Vec::new(), Vec::new());
        for n in 0..20 {
            let address = format!("192.0.2.{}", n + 1);
            let begin = Instant::now();
            guard.write(&format!("{address} refused\n"));
            wait("the ban in the kernel", || is_held(&address));
            kernel.push(begin.elapsed());
            guard.wait_for(&format!("Ban {address}"), Duration::from_secs(20));
            announced.push(begin.elapsed());
        }
        let (half, most) = (at(&mut kernel, 500), at(&mut kernel, 1000));
        println!(
            "each fsync 0.5 s: line to kernel p50 {half:.1} ms, at most {most:.1} ms; announced after {:.0} ms",
            at(&mut announced, 500)
        );
        assert!(at(&mut announced, 500) > 400.0, "the disk was not slow");
        assert!(half < 100.0, "a slow disk delays bans");
        guard.kill();
        std::fs::remove_dir_all(folder).unwrap();
    });
}
