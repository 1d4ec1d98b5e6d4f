//! The two Debian roots in which real services and the original run, built once and kept under `target/roots`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps;

/// What is in each root beside Debian's smallest system.
const PACKAGES: [&str; 15] = [
    "curl",
    "fail2ban",
    "iproute2",
    "ipset",
    "iptables",
    "nftables",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "python3-systemd",
    "rpm",
    "rsyslog",
    "sshpass",
    "systemd",
];

/// What must not be missing in a root; its absence means that it is broken and is built anew.
const PIECES: [&str; 9] = [
    "usr/bin/fail2ban-client",
    "usr/bin/journalctl",
    "usr/bin/python3",
    "usr/bin/rpm",
    "usr/bin/sshpass",
    "usr/lib/systemd/systemd-journald",
    "usr/sbin/nft",
    "usr/sbin/rsyslogd",
    "usr/sbin/sshd",
];

/// Room that is not needed in a root: documents and translations.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// One root: Debian's name, the original's version in it, and the variable that tests find it by.
struct Recipe {
    suite: &'static str,
    original: &'static str,
    variable: &'static str,
}

const RECIPES: [Recipe; 2] = [
    Recipe { suite: "trixie", original: "1.1.0", variable: "STOCKADE_F2B_ROOT_110" },
    Recipe { suite: "bookworm", original: "1.0.2", variable: "STOCKADE_F2B_ROOT_102" },
];

/// Builds the roots that are missing, out of date or broken; returns the variables that tests find them by.
///
/// # Errors
/// When mmdebstrap fails; what it said is in the message. A root that was there before stays until a new one is whole.
pub(crate) fn ensure() -> Result<Vec<(&'static str, PathBuf)>> {
    let folder = steps::top().join("target/roots");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("wait for another run that builds the roots")?;
    let missing: Vec<&Recipe> = RECIPES.iter().filter(|recipe| !whole(&folder, recipe)).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|recipe| recipe.suite).collect();
        steps::say(&format!("==> build the Debian roots {} (about a minute)", names.join(" and ")));
        let start = Instant::now();
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let builders: Vec<_> = missing.iter().map(|recipe| scope.spawn(|| build(&folder, recipe))).collect();
            builders
                .into_iter()
                .map(|builder| builder.join().unwrap_or_else(|_| bail!("building a root panicked")))
                .collect()
        });
        results.into_iter().collect::<Result<Vec<()>>>()?;
        steps::say(&format!("    roots: {:.0} s", start.elapsed().as_secs_f32()));
    }
    let mut environment: Vec<(&'static str, PathBuf)> =
        RECIPES.iter().map(|recipe| (recipe.variable, folder.join(recipe.suite))).collect();
    // A tree of the original, for tests that need no more than that.
    environment.push(("STOCKADE_FAIL2BAN", folder.join("trixie/etc/fail2ban")));
    let trixie = folder.join("trixie");
    environment.push(("STOCKADE_SCENARIOS", from_the_original(&trixie, "reference.py", "scenarios", "300")?));
    let expressions = from_the_original(&trixie, "expressions.py", "expressions", "10000")?;
    environment.push(("STOCKADE_EXPRESSIONS", expressions.join("original.txt")));
    Ok(environment)
}

/// What a script next to the judge's tests writes from the original of a root: random inputs with its results.
/// Written once per version of the script.
fn from_the_original(root: &Path, script: &str, name: &str, count: &str) -> Result<PathBuf> {
    let folder = steps::top().join("target").join(name);
    let writer = steps::top().join("crates/core/tests/judge").join(script);
    let (text, stamp) = (folder.join("original.txt"), folder.join("stamp"));
    let wanted = steps::read(&writer)?;
    if text.is_file() && steps::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    let mut command = Command::new("python3");
    command.arg("-B").arg(writer).arg("--f2b").arg(root.join("usr/lib/python3/dist-packages"));
    let said = steps::output(command.args(["--seed", "1", "--count", count])).with_context(|| name.to_owned())?;
    fs::write(&text, said)?;
    fs::write(&stamp, wanted)?;
    Ok(folder)
}

/// The text that a root's stamp has to equal.
fn stamp(recipe: &Recipe) -> String {
    format!("{} {} {}\n", recipe.suite, recipe.original, PACKAGES.join(","))
}

fn whole(folder: &Path, recipe: &Recipe) -> bool {
    let root = folder.join(recipe.suite);
    let stamped = steps::read(&folder.join(format!("{}.stamp", recipe.suite))).is_ok_and(|text| text == stamp(recipe));
    stamped && PIECES.iter().all(|piece| root.join(piece).symlink_metadata().is_ok())
}

fn build(folder: &Path, recipe: &Recipe) -> Result<()> {
    let root = folder.join(recipe.suite);
    let new = folder.join(format!("{}.new", recipe.suite));
    remove(&new)?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Languages \"none\""]);
    command.args(LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg(recipe.suite).arg(&new);
    command.stderr(File::create(folder.join(format!("{}.log", recipe.suite)))?);
    let good = steps::run("mmdebstrap", &mut command, Duration::from_secs(600), |_| ());
    let said = steps::read(&folder.join(format!("{}.log", recipe.suite))).unwrap_or_default();
    if !good.with_context(|| said.clone())? {
        bail!("mmdebstrap could not build {}: {}", recipe.suite, said.trim());
    }
    for piece in PIECES {
        ensure!(new.join(piece).symlink_metadata().is_ok(), "the new root {} has no {piece}", recipe.suite);
    }
    let installed = steps::read(&new.join("var/lib/dpkg/status"))?;
    let version = version_of(&installed, "fail2ban").unwrap_or_default();
    ensure!(version.starts_with(recipe.original), "{} holds fail2ban {version}, not {}", recipe.suite, recipe.original);
    remove(&root)?;
    fs::rename(&new, &root)?;
    fs::write(folder.join(format!("{}.stamp", recipe.suite)), stamp(recipe))?;
    Ok(())
}

/// The installed version of a package, from dpkg's own list.
fn version_of(status: &str, package: &str) -> Option<String> {
    let wanted = format!("Package: {package}");
    let entry = status.split("\n\n").find(|entry| entry.lines().any(|line| line == wanted))?;
    entry.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// Removes a folder, if it is there; never follows what is mounted in it.
fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mounts = steps::read(Path::new("/proc/self/mounts"))?;
    let inside = format!(" {}/", folder.display());
    ensure!(!mounts.contains(&inside), "something is mounted below {}", folder.display());
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn version_is_read_from_the_right_entry() {
        let status = "Package: fail\nVersion: 9\n\nPackage: fail2ban\nStatus: x\nVersion: 1.1.0-8\n\n";
        assert_eq!(version_of(status, "fail2ban").as_deref(), Some("1.1.0-8"));
        assert_eq!(version_of(status, "sshd"), None);
    }
}
