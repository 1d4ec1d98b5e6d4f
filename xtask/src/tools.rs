//! The programs that the tests need on this computer, installed from the distribution when they are missing.

use std::{env, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail, ensure};

use crate::steps;

/// Program and Debian package.
const TOOLS: [(&str, &str); 12] = [
    ("apt-get", "apt"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("ipset", "ipset"),
    ("iptables", "iptables"),
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("valgrind", "valgrind"),
];

/// Makes sure that every tool is there; installs what is missing, and starts no service.
///
/// # Errors
/// When we are not root or the installation fails; the message names the packages.
pub(crate) fn ensure() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the tests with machines need root (namespaces, mounts, packets)");
    let missing: Vec<&str> = TOOLS.iter().filter(|(tool, _)| !installed(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !installed("apt-get") {
        bail!("not a Debian: please install what provides {}", missing.join(", "));
    }
    steps::say(&format!("==> install {}", missing.join(", ")));
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
        steps::run("apt-get", &mut command, Duration::from_secs(300), |_| ())
    };
    // A failing index of some foreign source does not matter as long as the packages are found.
    apt(&["update"])?;
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(&missing);
    ensure!(apt(&words)?, "apt-get could not install {}", missing.join(", "));
    match TOOLS.iter().find(|(tool, _)| !installed(tool)) {
        Some((tool, package)) => bail!("{tool} is still missing after installing {package}"),
        None => Ok(()),
    }
}

fn installed(tool: &str) -> bool {
    let path = env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(tool).is_file())
}
