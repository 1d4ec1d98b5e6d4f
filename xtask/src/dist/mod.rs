//! `cargo xtask dist`: the packages and the portable archive, under `target/dist`.
//!
//! One program goes into all of them. With cargo-zigbuild and the ziglang
//! package it is linked for glibc 2.17, else for the glibc of this machine,
//! which is said. The same sources give the same packages: all times in them
//! are those of the last commit.

mod deb;
mod header;
mod manual;
mod rpm;
mod tar;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::steps;

/// Who answers for the packages.
const MAINTAINER: &str = "stockade developers <stockade-ips@users.noreply.github.com>";

/// Where the project lives.
const HOME: &str = "https://github.com/stockade-ips/stockade";

/// The architecture that is built.
const ARCHITECTURE: &str = "x86_64";

/// The oldest glibc that zig links for.
const OLDEST_GLIBC: &str = "2.17";

/// What all packages say of themselves.
struct Release {
    version: String,
    /// Seconds since 1970 of the last commit.
    time: u64,
    /// The same as mail has it.
    date: String,
    /// The glibc that the program needs at least.
    glibc: String,
}

impl Release {
    fn debian_architecture(&self) -> &'static str {
        if ARCHITECTURE == "x86_64" { "amd64" } else { ARCHITECTURE }
    }
}

/// Builds everything, around `program` if it was built already.
///
/// # Errors
/// When the program cannot be built, or a file is missing.
pub(crate) fn run(program: Option<&str>) -> Result<bool> {
    let program = program.map_or_else(build, |path| Ok(PathBuf::from(path)))?;
    let folder = steps::top().join("target/dist");
    pack(&program, &folder)?;
    lint(&folder)
}

/// Packs a program that was built into everything that is shipped.
///
/// # Errors
/// When a file is missing, or the folder cannot be written.
pub(crate) fn pack(program: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    // Names of functions are for us, and two thirds of the file.
    let stripped = folder.join("stockade");
    steps::output(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(program))?;
    let release = release(&stripped)?;
    let items = tree::items(&stripped)?;
    fs::remove_file(&stripped)?;
    let version = &release.version;
    let deb = format!("stockade_{version}-1_{}.deb", release.debian_architecture());
    let rpm = format!("stockade-{version}-1.{ARCHITECTURE}.rpm");
    let portable = format!("stockade-{version}-{ARCHITECTURE}-linux");
    write(&folder.join(deb), &deb::package(&items, &release)?)?;
    write(&folder.join(rpm), &rpm::package(&items, &release)?)?;
    let archive = tar::archive(&portable_items(&items)?, &format!("{portable}/"), release.time)?;
    write(&folder.join(format!("{portable}.tar.gz")), &tree::gzip(&archive)?)?;
    steps::say(&format!("needs glibc {} or newer", release.glibc));
    Ok(())
}

/// Has lintian look at the package, where it is installed; true when it finds no error.
fn lint(folder: &Path) -> Result<bool> {
    if !answers(Command::new("lintian").arg("--version")) {
        steps::say("LEFT OUT: lintian is not installed, so nobody looks at the package");
        return Ok(true);
    }
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let packages: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
    let mut command = Command::new("lintian");
    command.args(["--fail-on", "error", "--allow-root"]).args(packages);
    steps::run("lintian", &mut command, Duration::from_secs(300), steps::say)
}

/// The portable archive is the same tree, with the init script and the licences.
fn portable_items(items: &[tree::Item]) -> Result<Vec<tree::Item>> {
    let mut items = items.to_vec();
    for (from, to, mode) in [
        ("dist/init/stockade", "etc/init.d/stockade", 0o755),
        ("LICENSE-MIT", "LICENSE-MIT", 0o644),
        ("LICENSE-APACHE", "LICENSE-APACHE", 0o644),
    ] {
        items.push(tree::Item::new(to, mode, tree::read(&steps::top().join(from))?));
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))?;
    steps::say(&format!("{} ({} KiB)", path.display(), bytes.len() / 1024));
    Ok(())
}

/// Builds the program as it is shipped; where it lies.
fn build() -> Result<PathBuf> {
    let target = steps::top().join("target");
    let minutes = Duration::from_secs(3600);
    let words = ["--release", "--package", "stockade"];
    if answers(Command::new("cargo-zigbuild").arg("--version")) && has_zig() {
        let triple = format!("{ARCHITECTURE}-unknown-linux-gnu");
        let mut command = steps::cargo(&["zigbuild", "--target", &format!("{triple}.{OLDEST_GLIBC}")]);
        steps::step("build for any glibc since 2.17", command.args(words), minutes)?;
        let program = target.join(triple).join("release/stockade");
        let glibc = glibc_of(&tree::read(&program)?)?;
        ensure!(
            glibc == OLDEST_GLIBC || older(&glibc, OLDEST_GLIBC),
            "the program needs glibc {glibc}: newer than meant"
        );
        return Ok(program);
    }
    steps::say(
        "no cargo-zigbuild with a zig is here: the program will need a glibc as new as this machine's. For 2.17: \
         cargo install --locked cargo-zigbuild; pip install ziglang (CONTRIBUTING.md)",
    );
    steps::step("build", steps::cargo(&["build"]).args(words), minutes)?;
    Ok(target.join("release/stockade"))
}

fn answers(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Is a zig where cargo-zigbuild looks for it?
fn has_zig() -> bool {
    std::env::var_os("CARGO_ZIGBUILD_ZIG_PATH").is_some()
        || answers(Command::new("zig").arg("version"))
        || answers(Command::new("python3").args(["-m", "ziglang", "version"]))
}

/// Is this version of glibc older than that?
fn older(one: &str, than: &str) -> bool {
    let number = |text: &str| text.split('.').filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    number(one) < number(than)
}

fn release(program: &Path) -> Result<Release> {
    let said = steps::output(Command::new(program).arg("--version"))?;
    let version = said.split_whitespace().nth(1).context("the version of stockade")?.to_owned();
    let git = |format: &str| {
        let mut command = Command::new("git");
        command.arg("-C").arg(steps::top()).args(["log", "-1", format]);
        steps::output(command.env("LC_ALL", "C"))
    };
    let time = git("--format=%ct")?.trim().parse().context("the time of the last commit")?;
    let date = git("--format=%cD")?.trim().to_owned();
    Ok(Release { version, time, date, glibc: glibc_of(&tree::read(program)?)? })
}

/// The newest version of glibc that a program asks for, read from the names in it.
fn glibc_of(program: &[u8]) -> Result<String> {
    const NAME: &[u8] = b"GLIBC_2.";
    let mut newest = 0;
    for (at, window) in program.windows(NAME.len()).enumerate() {
        if window == NAME {
            let digits = program.iter().skip(at + NAME.len()).take_while(|byte| byte.is_ascii_digit());
            let number = digits.take(3).fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            newest = newest.max(number);
        }
    }
    ensure!(newest > 0, "the program names no glibc");
    Ok(format!("2.{newest}"))
}

#[cfg(test)]
mod tests {
    use super::{glibc_of, older};

    #[test]
    fn the_newest_glibc_is_found() {
        assert_eq!(glibc_of(b"x\0GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_2.4\0").unwrap(), "2.17");
        assert!(glibc_of(b"nothing").is_err());
        assert!(older("2.9", "2.17") && !older("2.34", "2.17") && !older("2.17", "2.17"));
    }
}
