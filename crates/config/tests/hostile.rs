//! Trees that are meant to hurt: bounded time and memory, a clear finding, and
//! never a panic. `STOCKADE_LONG=N` makes N damaged trees instead of 300
//! (`cargo xtask long config-fuzz`). All of this test program has 1 GiB to live in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "random/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_config::{CompileCheck, LoadOptions, Loaded, TreeSource, load};
use stockade_core::matcher::Calendar;
use stockade_wire::Value;

/// Address space of this process: what asks for more is ended at once, and the test with it.
const ROOM: u64 = 1 << 30;

fn limit_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let limit = Rlimit { current: Some(ROOM), ..getrlimit(Resource::As) };
        setrlimit(Resource::As, limit).unwrap();
    });
}

fn folder(name: &str) -> PathBuf {
    limit_memory();
    let folder = std::env::temp_dir().join(format!("stockade-hostile-{}-{name}", std::process::id()));
    fs::create_dir_all(folder.join("filter.d")).unwrap();
    fs::create_dir_all(folder.join("action.d")).unwrap();
    fs::write(folder.join("fail2ban.conf"), "[Definition]\n").unwrap();
    fs::write(folder.join("jail.conf"), "[web]\nenabled = true\nfilter = f\naction = a\n").unwrap();
    fs::write(folder.join("filter.d/f.conf"), "[Definition]\nfailregex = ^x <HOST>\n").unwrap();
    fs::write(folder.join("action.d/a.conf"), "[Definition]\nactionban = ban <ip>\n").unwrap();
    folder
}

/// Loads within a time that no sane tree needs (the machine may be busy).
fn load_in_time(folder: &Path) -> Loaded {
    let begin = Instant::now();
    let loaded = load(&TreeSource::Disk(folder.to_owned()), &LoadOptions::default());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(60), "{} took {took:?}", folder.display());
    loaded
}

#[track_caller]
fn says(loaded: &Loaded, words: &str) {
    assert!(loaded.diagnostics.iter().any(|d| d.message.contains(words)), "{words}: {:?}", loaded.diagnostics);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = folder("pipe");
    for name in ["jail.local", "filter.d/f.local"] {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, folder.join(name), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    says(&loaded, "a pipe, socket or device");
    assert_eq!(loaded.jails, ["web"]);
}

#[test]
fn links_in_circles_and_folders_are_left_out() {
    let folder = folder("links");
    symlink("b.conf", folder.join("filter.d/a.conf")).unwrap();
    symlink("a.conf", folder.join("filter.d/b.conf")).unwrap();
    fs::create_dir_all(folder.join("jail.d/x.conf")).unwrap();
    symlink("/nowhere", folder.join("jail.d/y.conf")).unwrap();
    symlink("..", folder.join("jail.d/up")).unwrap();
    fs::write(folder.join("jail.local"), "[INCLUDES]\nbefore = filter.d/a.conf\n\n  /dev/zero\n  /proc/self/mem\n")
        .unwrap();
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    says(&loaded, "this is a directory");
    says(&loaded, "a pipe, socket or device");
    assert_eq!(loaded.jails, ["web"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts this very test once more")]
fn a_file_that_may_not_be_read_is_named() {
    let folder = folder("denied");
    let path = folder.join("jail.local");
    fs::write(&path, "[web]\nmaxretry = 9\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let readable = fs::File::open(&path).is_ok();
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    if readable {
        // Root may read everything: once more, without that right.
        let mut again = std::process::Command::new("setpriv");
        again.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        again.args(["--inh-caps", "-dac_override,-dac_read_search"]);
        again.arg(std::env::current_exe().unwrap()).args(["a_file_that_may_not_be_read_is_named", "--exact"]);
        assert!(again.status().unwrap().success());
        return;
    }
    says(&loaded, "no permission");
    assert_eq!(loaded.jails, ["web"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts this very test once more")]
fn another_user_reads_what_it_may() {
    let folder = folder("other-user");
    for (name, mode) in [("jail.local", 0o600), ("filter.d", 0o700)] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.join(name);
        if !path.exists() {
            fs::write(&path, "[web]\nmaxretry = 9\n").unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if let Some(given) = std::env::var_os("STOCKADE_HOSTILE_FOLDER") {
        fs::remove_dir_all(&folder).unwrap();
        let loaded = load_in_time(Path::new(&given));
        says(&loaded, "no permission");
        // The folder of filters is closed, so the jail has none.
        assert_eq!((&loaded.jails, &loaded.skipped), (&vec![], &vec!["web".to_owned()]), "{:?}", loaded.diagnostics);
        return;
    }
    if rustix::process::geteuid().is_root() {
        // The program itself may lie where others cannot go.
        let program = std::env::temp_dir().join(format!("stockade-hostile-{}", std::process::id()));
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut again = std::process::Command::new("setpriv");
        again.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        again.args(["another_user_reads_what_it_may", "--exact"]).env("STOCKADE_HOSTILE_FOLDER", &folder);
        let good = again.current_dir("/").status().unwrap().success();
        fs::remove_file(program).unwrap();
        assert!(good);
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_bad_pattern_of_success_takes_no_other_with_it() {
    let folder = folder("success");
    let patterns = "stockade.success = ^good <HOST>$\n    ^bad (<HOST>$\n    ^also good <HOST>$\n";
    fs::write(folder.join("filter.d/f.local"), format!("[Definition]\n{patterns}")).unwrap();
    let check = CompileCheck::new(Calendar::new(jiff::tz::TimeZone::UTC, 2026));
    let options = LoadOptions { checker: Some(&check), ..LoadOptions::default() };
    let loaded = load(&TreeSource::Disk(folder.clone()), &options);
    fs::remove_dir_all(&folder).unwrap();
    says(&loaded, "it is without effect: ^bad (<HOST>$");
    let name = |command: &&Vec<Value>| command.get(2).and_then(Value::as_str) == Some("stockade.success");
    let patterns: Vec<_> = loaded.stream.iter().find(name).unwrap().iter().skip(3).filter_map(Value::as_str).collect();
    assert_eq!(patterns, ["^good <HOST>$", "^also good <HOST>$"]);
}

#[test]
fn an_error_is_found_behind_very_many_warnings() {
    let folder = folder("warnings");
    let words = (0..3_000).fold(String::new(), |text, n| text + &format!(" {n}!"));
    let behind = "[zz]\nenabled = true\nfilter = missing\n";
    fs::write(folder.join("jail.local"), format!("[web]\nignoreip ={words}\n{behind}")).unwrap();
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.diagnostics.len() > 2_000, "{} findings", loaded.diagnostics.len());
    assert!(loaded.has_errors() && !loaded.passes_test());
    says(&loaded, "missing");
}

#[test]
fn huge_files_are_refused_unread() {
    let folder = folder("huge");
    fs::File::create(folder.join("jail.local")).unwrap().set_len(100 << 20).unwrap();
    let loaded = load_in_time(&folder);
    assert!(loaded.refused);
    says(&loaded, "larger than");
    fs::remove_file(folder.join("jail.local")).unwrap();
    // Many that are not too large each.
    let text = "# comment\n".repeat(390_000);
    fs::create_dir_all(folder.join("jail.d")).unwrap();
    for n in 0..20 {
        fs::write(folder.join(format!("jail.d/{n}.conf")), &text).unwrap();
    }
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.refused);
    says(&loaded, "all files together too large");
}

#[test]
fn values_that_explode_are_stopped() {
    let double = |name: &str, first: &str, open: &str, close: &str| {
        let mut text = format!("{name}0 = {first}\n");
        for n in 1..60 {
            text.push_str(&format!("{name}{n} = {open}{name}{}{close}{open}{name}{}{close}\n", n - 1, n - 1));
        }
        text
    };
    let cases = [
        (
            "jail.local",
            format!(
                "[DEFAULT]\n{}[web]\nbantime = %(x9)s\n",
                double("x", "ha", "%(", ")s").replace("x0 = ha", &format!("x0 = {}", "ha".repeat(5_000)))
            ),
        ),
        ("filter.d/f.local", format!("[Definition]\nfailregex = <x59>\n{}", double("x", "ha", "<", ">"))),
        ("filter.d/f.local", format!("[Definition]\nfailregex = {}\n", "<a".repeat(50_000))),
        (
            "filter.d/f.local",
            format!("[Definition]\nfailregex = {}a{}\na = <b>\nb = <a>\n", "<".repeat(20_000), ">".repeat(20_000)),
        ),
        ("jail.local", format!("[web]\nbantime = {}\n", "%(".repeat(200_000))),
        ("jail.local", format!("[web]\nbantime = {}\n", "-(".repeat(200_000))),
        ("jail.local", format!("[web]\naction = {}\n", "a[x=\"".repeat(20_000))),
        ("jail.local", format!("[web]\naction = a[{}\n", "x=1 ".repeat(20_000))),
        ("jail.local", format!("[web]\naction = a[{}]y\n", "x=1 ".repeat(5_000))),
        ("jail.local", format!("[web]\nfilter = f[{}]\n", "x=',\"".repeat(40_000))),
        ("jail.local", format!("[web]\nlogpath = /{}\n", "*?[a/".repeat(20_000))),
        ("jail.local", format!("[web]\njournalmatch = {}\n", "'\\\"".repeat(100_000))),
        ("jail.local", (0..150_000).fold(String::new(), |t, n| t + &format!("[s{n}]\n"))),
        ("jail.local", (0..40_000).fold(String::new(), |t, n| t + &format!("[s{n}]\nmaxretry = 1\n"))),
        ("jail.local", (0..10_000).fold(String::new(), |t, n| t + &format!("[s{n}]\nenabled = true\n"))),
        ("jail.local", format!("[web]\nx = 1\n{}", " y\n".repeat(1_000_000))),
        ("jail.local", format!("[web]\n{}", "a=\n".repeat(300_000))),
        ("jail.local", format!("[web]\n{}", (0..250_000).fold(String::new(), |t, n| t + &format!("o{n}=\n")))),
        ("jail.local", format!("[{}]\nx = 1\n", "[".repeat(1_000_000))),
        ("jail.local", "[INCLUDES]\nbefore = jail.local\nafter = jail.local\n".to_owned()),
    ];
    for (n, (name, text)) in cases.iter().enumerate() {
        let folder = folder(&format!("explode-{n}"));
        fs::write(folder.join(name), text).unwrap();
        let begin = Instant::now();
        let loaded = load_in_time(&folder);
        println!("case {n}: {:?}, {} findings", begin.elapsed(), loaded.diagnostics.len());
        fs::remove_dir_all(&folder).unwrap();
        let longest = loaded.diagnostics.iter().map(|d| d.message.len()).max().unwrap_or(0);
        assert!(longest < 3_000_000, "case {n}: a message of {longest} bytes");
        assert!(loaded.diagnostics.len() <= 4_001, "case {n}: {} findings", loaded.diagnostics.len());
    }
}

#[test]
fn include_bombs_are_stopped() {
    let folder = folder("includes");
    for n in 0..40 {
        let text = format!("[INCLUDES]\nbefore = {}.conf\n  {}.conf\n", n + 1, n + 1);
        fs::write(folder.join(format!("filter.d/{n}.conf")), text).unwrap();
    }
    fs::write(folder.join("filter.d/f.local"), "[INCLUDES]\nbefore = 0.conf\n").unwrap();
    let loaded = load_in_time(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert!(loaded.refused);
    says(&loaded, "includes lead to more than");
}

/// Splitmix64, as in the generator.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Damages a file: bytes changed, pieces doubled, removed or moved.
fn damage(bytes: &mut Vec<u8>, state: &mut u64) {
    const PIECES: &[&[u8]] = &[
        b"%(",
        b")s",
        b"<",
        b">",
        b"[",
        b"]",
        b"\n",
        b" ",
        b"=",
        b";",
        b"#",
        b"%",
        b"\"",
        b"'",
        b"\xff",
        b"\0",
        b"known/",
        b"\r",
        b"?",
        b"[DEFAULT]\n",
    ];
    for _ in 0..1 + next(state) % 8 {
        let at = |state: &mut u64, len: usize| usize::try_from(next(state) % (len as u64 + 1)).unwrap();
        let (a, b) = (at(state, bytes.len()), at(state, bytes.len()));
        let (a, b) = (a.min(b), a.max(b).min(a.min(b) + 200));
        match next(state) % 5 {
            0 => {
                bytes.drain(a..b);
            }
            1 => {
                let piece = bytes[a..b].to_vec();
                let to = at(state, bytes.len());
                bytes.splice(to..to, piece);
            }
            2 if a < bytes.len() => bytes[a] = u8::try_from(next(state) % 256).unwrap(),
            _ => {
                let piece = PIECES[at(state, PIECES.len() - 1)];
                bytes.splice(a..a, piece.iter().copied());
            }
        }
    }
}

/// References, tags and calls inside each other, to a random depth.
fn nested(state: &mut u64) -> Vec<u8> {
    const PAIRS: [(&str, &str); 5] = [("%(", ")s"), ("<", ">"), ("a[b=", "]"), ("(?:", ")"), ("\"", "\"")];
    let mut text =
        String::from("[INCLUDES]\nbefore = jail.conf\n[DEFAULT]\nv0 = x\n[j0]\nenabled = true\n[Definition]\n");
    for name in ["failregex", "action", "filter", "bantime", "v1", "actionban", "ignoreip", "logpath"] {
        let depth = usize::try_from(next(state) % 3_000).unwrap();
        let chosen: Vec<_> = (0..depth).map(|_| PAIRS[usize::try_from(next(state) % 5).unwrap()]).collect();
        let open: String = chosen.iter().map(|(open, _)| *open).collect();
        let close: String = chosen.iter().rev().map(|(_, close)| *close).collect();
        text.push_str(&format!("{name} = {open}v{}{close}\n", next(state) % 2));
    }
    text.into_bytes()
}

fn files_below(folder: &Path, list: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, list);
        } else if path.is_file() {
            list.push(path);
        }
    }
}

#[test]
fn damaged_trees_never_panic_and_end_soon() {
    let count = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(300_u64);
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    limit_memory();
    for seed in 1..=count {
        let folder = std::env::temp_dir().join(format!("stockade-damaged-{}-{seed}", std::process::id()));
        generate::tree(seed, false, &folder, &mut BTreeMap::new());
        let mut files = Vec::new();
        files_below(&folder, &mut files);
        files.sort();
        let mut state = seed;
        for _ in 0..1 + seed % 3 {
            let nth = usize::try_from(next(&mut state) % files.len() as u64).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut fs::File::open(&files[nth]).unwrap(), &mut bytes).unwrap();
            match seed % 16 {
                // Nothing that was ever a configuration file.
                0 => bytes.iter_mut().for_each(|byte| *byte = u8::try_from(next(&mut state) % 256).unwrap()),
                1 => bytes = nested(&mut state),
                _ => damage(&mut bytes, &mut state),
            }
            fs::write(&files[nth], bytes).unwrap();
        }
        let begin = Instant::now();
        let loaded = load_in_time(&folder);
        slowest = slowest.max(begin.elapsed());
        refused += u32::from(loaded.refused);
        fs::remove_dir_all(&folder).unwrap();
    }
    let status = std::io::read_to_string(fs::File::open("/proc/self/status").unwrap()).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("");
    println!("{count} damaged trees, {refused} refused, the slowest took {slowest:?}, peak memory {peak}");
    assert!(refused > 10, "the damage does nothing");
}
