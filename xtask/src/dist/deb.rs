//! The package for Debian and its relatives.
//!
//! Source: `deb(5)`, `deb-control(5)`: an `ar` archive of a version, an archive
//! of control files and an archive of what is installed.

use anyhow::Result;
use md5::{Digest as _, Md5};

use super::{
    Release, tar,
    tree::{Item, folders, gzip, hex, read},
};
use crate::steps;

/// Scripts that dpkg runs, from `dist/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The whole package.
///
/// # Errors
/// When one of its files cannot be read.
pub(super) fn package(items: &[Item], release: &Release) -> Result<Vec<u8>> {
    let folder = steps::top().join("dist/debian");
    let mut items: Vec<Item> = items.iter().map(as_debian_wants_it).collect::<Result<_>>()?;
    let mut init = Item::new("etc/init.d/stockade", 0o755, read(&steps::top().join("dist/init/stockade"))?);
    init.configuration = true;
    items.push(init);
    items.push(Item::new("usr/share/doc/stockade/copyright", 0o644, read(&folder.join("copyright"))?));
    let log = gzip(changelog(release).as_bytes())?;
    items.push(Item::new("usr/share/doc/stockade/changelog.Debian.gz", 0o644, log));
    items.sort_by(|a, b| a.path.cmp(&b.path));
    let mut control = vec![
        Item::new("control", 0o644, control(&items, release)),
        Item::new("md5sums", 0o644, sums(&items)),
        Item::new("conffiles", 0o644, configuration(&items)),
    ];
    for name in SCRIPTS {
        control.push(Item::new(name, 0o755, read(&folder.join(name))?));
    }
    let mut out = b"!<arch>\n".to_vec();
    member(&mut out, "debian-binary", b"2.0\n", release.time);
    member(&mut out, "control.tar.gz", &gzip(&tar::archive(&control, "./", release.time)?)?, release.time);
    member(&mut out, "data.tar.gz", &gzip(&tar::archive(&items, "./", release.time)?)?, release.time);
    Ok(out)
}

/// Manual pages and the changelog are packed there.
fn as_debian_wants_it(item: &Item) -> Result<Item> {
    let mut item = item.clone();
    if item.path.ends_with("/CHANGELOG.md") {
        item.path = "usr/share/doc/stockade/changelog".to_owned();
    }
    if item.path.starts_with("usr/share/man/") || item.path.ends_with("/changelog") {
        item.path.push_str(".gz");
        item.bytes = gzip(&item.bytes)?;
    }
    Ok(item)
}

fn control(items: &[Item], release: &Release) -> String {
    let size: usize = items.iter().map(|item| item.bytes.len().div_ceil(1024)).sum();
    let size = size + folders(items.iter().map(|item| item.path.as_str())).len();
    format!(
        "Package: stockade\nVersion: {version}-1\nSection: admin\nPriority: optional\nArchitecture: {arch}\n\
         Maintainer: {maintainer}\nInstalled-Size: {size}\nDepends: libc6 (>= {glibc})\n\
         Suggests: logrotate, nftables\nHomepage: {home}\n\
         Description: bans addresses that keep trying\n \
         stockade reads what services log, counts failures per address, and bans in\n \
         the kernel those who keep trying. It speaks the configuration language of\n \
         fail2ban, keeps its bans through restarts, crashes and reboots, and can say\n \
         at any time why an address is banned, or why it is not.\n",
        version = release.version,
        arch = release.debian_architecture(),
        maintainer = super::MAINTAINER,
        glibc = release.glibc,
        home = super::HOME,
    )
}

fn changelog(release: &Release) -> String {
    format!(
        "stockade ({}-1) unstable; urgency=medium\n\n  * See changelog.gz for what is new.\n\n -- {}  {}\n",
        release.version,
        super::MAINTAINER,
        release.date
    )
}

fn sums(items: &[Item]) -> String {
    let plain = items.iter().filter(|item| !item.configuration);
    plain.map(|item| format!("{}  {}\n", hex(&Md5::digest(&item.bytes)), item.path)).collect()
}

fn configuration(items: &[Item]) -> String {
    items.iter().filter(|item| item.configuration).map(|item| format!("/{}\n", item.path)).collect()
}

/// One member of an `ar` archive; each begins at an even place.
fn member(out: &mut Vec<u8>, name: &str, bytes: &[u8], time: u64) {
    let header = format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", bytes.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(bytes);
    if out.len() % 2 == 1 {
        out.push(b'\n');
    }
}
