//! A log that refuses us. Runs itself again without rights if it has them.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stockade_source::{Error, FileReader, Mode, Start, Watcher, probe};

const HERE: &str = "STOCKADE_SOURCE_TEST_DIRECTORY";
const TEST: &str = "a_log_that_refuses_us_names_the_group_that_could_read_it";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The cases: a file for a group, a file for nobody, a file in a closed directory.
fn make(dir: &Path) {
    fs::remove_dir_all(dir).ok();
    fs::create_dir_all(dir.join("closed")).unwrap();
    mode(dir, 0o777);
    for (name, bits) in [("group.log", 0o040), ("nobody.log", 0o000), ("closed/a.log", 0o644)] {
        fs::write(dir.join(name), "line\n").unwrap();
        mode(&dir.join(name), bits);
    }
    mode(&dir.join("closed"), 0o010);
}

#[test]
fn a_log_that_refuses_us_names_the_group_that_could_read_it() {
    if let Some(dir) = std::env::var_os(HERE) {
        return refused(&PathBuf::from(dir));
    }
    let dir = std::env::temp_dir().join(format!("stockade-permission-{}", std::process::id()));
    make(&dir);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        refused(&dir);
    } else if run_without_rights(&dir).is_none() {
        println!("skipped: this is root, and there is no setpriv to give that up");
    }
    mode(&dir.join("closed"), 0o700);
    fs::remove_dir_all(&dir).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the test runs itself as another user")]
fn run_without_rights(dir: &Path) -> Option<()> {
    let copy = dir.join("test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    // The group that could read it is root's.
    chown(dir.join("group.log"), None, Some(0)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["--exact", TEST]);
    let output = command.env(HERE, dir).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    Some(())
}

/// Runs without rights.
fn refused(dir: &Path) {
    let gid = fs::metadata(dir.join("group.log")).unwrap().gid();
    let path = dir.join("group.log");
    let mut reader = FileReader::open(&path, Start::Head);
    let error = reader.read().unwrap_err();
    let Error::Unreadable { group: Some(group), refused_by, .. } = &error else { panic!("{error:?}") };
    assert!(gid != 0 || group == "root", "{error}");
    assert_eq!(refused_by, &path);
    assert_eq!(error.to_string(), format!("log file {} can't be read; members of group {group} could", path.display()));
    assert!(reader.read().unwrap().is_none());

    let error = probe(&dir.join("nobody.log")).unwrap_err();
    assert!(matches!(&error, Error::Unreadable { group: None, .. }), "{error}");

    let error = probe(&dir.join("closed/a.log")).unwrap_err();
    let Error::Unreadable { group: Some(_), refused_by, .. } = &error else { panic!("{error:?}") };
    assert_eq!(refused_by, &dir.join("closed"));
    assert!(error.to_string().contains("closed can't be entered; members of group "), "{error}");

    // It is waited for, and read when it stops refusing: here, when another file takes its place.
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let id = watcher.add_file(&path);
    while !watcher.wait(Some(Duration::from_millis(30))).unwrap().is_empty() {}
    fs::write(dir.join("new"), "readable\n").unwrap();
    fs::rename(dir.join("new"), &path).unwrap();
    assert_eq!(watcher.wait(Some(Duration::from_secs(20))).unwrap(), [id]);
    assert_eq!(&*reader.read().unwrap().unwrap().text, b"readable\n");
    assert!(reader.trouble().is_none());
}
