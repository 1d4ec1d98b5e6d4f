//! The package for Fedora, Red Hat, SUSE and their relatives.
//!
//! Source: rpm's manual, "RPM Package Format" (version 4): a lead, a header of
//! checksums, a header of facts, and a packed `cpio` archive of the files.

use anyhow::{Result, ensure};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{
    ARCHITECTURE, HOME, MAINTAINER, Release,
    header::{Header, Value},
    tree::{Item, folders, gzip, hex, read},
};
use crate::steps;

/// Scripts that rpm runs, from `dist/rpm`: name, tag, tag of the interpreter.
const SCRIPTS: [(&str, u32, u32); 3] = [("post", 1024, 1086), ("preun", 1025, 1087), ("postun", 1026, 1088)];

/// Folders that belong to this package alone.
const FOLDERS: [&str; 2] = ["etc/stockade", "usr/share/doc/stockade"];

/// What an operator may change, and what is there to be read.
const CONFIGURATION: u32 = 1 | 16;
const DOCUMENT: u32 = 2;

const EQUAL: u32 = 8;
const OF_RPM_ITSELF: u32 = 0x0100_000a;

/// One entry of the list of files.
struct Entry {
    path: String,
    /// With the bits that say what it is.
    mode: u16,
    bytes: Vec<u8>,
    flags: u32,
}

impl Entry {
    fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

/// The whole package.
///
/// # Errors
/// When one of its files cannot be read or is too large for the format.
pub(super) fn package(items: &[Item], release: &Release) -> Result<Vec<u8>> {
    let entries = entries(items)?;
    let time = u32::try_from(release.time)?;
    let archive = cpio(&entries, time)?;
    let payload = gzip(&archive)?;
    let header = facts(&entries, release, time, &payload)?.bytes(63)?;
    let mut whole = header.clone();
    whole.extend_from_slice(&payload);
    let mut sums = Header::default();
    sums.add(269, Value::Text(hex(&Sha1::digest(&header))));
    sums.add(273, Value::Text(hex(&Sha256::digest(&header))));
    sums.add(1000, Value::Numbers(vec![u32::try_from(whole.len())?]));
    sums.add(1004, Value::Bytes(Md5::digest(&whole).to_vec()));
    sums.add(1007, Value::Numbers(vec![u32::try_from(archive.len())?]));
    let mut out = lead(release);
    out.extend(sums.bytes(62)?);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(whole);
    Ok(out)
}

fn entries(items: &[Item]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in items {
        let path = item.path.replace("zsh/vendor-completions", "zsh/site-functions");
        let flags = if item.configuration {
            CONFIGURATION
        } else if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
            DOCUMENT
        } else {
            0
        };
        entries.push(Entry { path, mode: 0o100_000 | u16::try_from(item.mode)?, bytes: item.bytes.clone(), flags });
    }
    let own = folders(items.iter().map(|item| item.path.as_str()));
    for path in own.into_iter().filter(|path| FOLDERS.contains(&path.as_str())) {
        entries.push(Entry { path, mode: 0o040_755, bytes: Vec::new(), flags: 0 });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// The header of facts: what it is, what it needs, and the list of files.
fn facts(entries: &[Entry], release: &Release, time: u32, payload: &[u8]) -> Result<Header> {
    let mut header = Header::default();
    let mut text = |tag: u32, text: &str| header.add(tag, Value::Text(text.to_owned()));
    text(1000, "stockade");
    text(1001, &release.version);
    text(1002, "1");
    text(1007, "localhost");
    text(1011, MAINTAINER);
    text(1014, "MIT OR Apache-2.0");
    text(1015, MAINTAINER);
    text(1020, HOME);
    text(1021, "linux");
    text(1022, ARCHITECTURE);
    text(1044, &format!("stockade-{}-1.src.rpm", release.version));
    text(1064, "4.18.0");
    text(1124, "cpio");
    text(1125, "gzip");
    text(1126, "9");
    text(5062, "utf-8");
    header.add(100, Value::Texts(vec!["C".to_owned()]));
    header.add(1004, Value::Translated("bans addresses that keep trying".to_owned()));
    header.add(1005, Value::Translated(DESCRIPTION.to_owned()));
    header.add(1016, Value::Translated("System Environment/Daemons".to_owned()));
    header.add(1006, Value::Numbers(vec![time]));
    let size: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
    header.add(1009, Value::Numbers(vec![u32::try_from(size)?]));
    for (name, tag, by) in SCRIPTS {
        let script = String::from_utf8(read(&steps::top().join("dist/rpm").join(name))?)?;
        header.add(tag, Value::Text(script));
        header.add(by, Value::Text("/bin/sh".to_owned()));
    }
    let whole = format!("{}-1", release.version);
    let texts = |list: &[&str]| Value::Texts(list.iter().map(|text| (*text).to_owned()).collect());
    header.add(1047, texts(&["stockade", "stockade(x86-64)"]));
    header.add(1112, Value::Numbers(vec![EQUAL, EQUAL]));
    header.add(1113, texts(&[&whole, &whole]));
    let libc = format!("libc.so.6(GLIBC_{})(64bit)", release.glibc);
    let needs =
        ["/bin/sh", &libc, "rpmlib(CompressedFileNames)", "rpmlib(FileDigests)", "rpmlib(PayloadFilesHavePrefix)"];
    header.add(1049, texts(&needs));
    header.add(1048, Value::Numbers(vec![0, 0, OF_RPM_ITSELF, OF_RPM_ITSELF, OF_RPM_ITSELF]));
    header.add(1050, texts(&["", "", "3.0.4-1", "4.6.0-1", "4.0-1"]));
    header.add(5092, Value::Texts(vec![hex(&Sha256::digest(payload))]));
    header.add(5093, Value::Numbers(vec![8]));
    files(&mut header, entries, time)?;
    Ok(header)
}

const DESCRIPTION: &str = "stockade reads what services log, counts failures per address, and bans in the kernel those\n\
    who keep trying. It speaks the configuration language of fail2ban, keeps its bans\n\
    through restarts, crashes and reboots, and can say at any time why an address is banned.";

/// The list of files, a column of facts per tag.
fn files(header: &mut Header, entries: &[Entry], time: u32) -> Result<()> {
    let numbers = |of: &dyn Fn(&Entry) -> u32| Value::Numbers(entries.iter().map(of).collect());
    let texts = |of: &dyn Fn(&Entry) -> String| Value::Texts(entries.iter().map(of).collect());
    let sizes: Result<Vec<u32>, _> = entries.iter().map(|entry| u32::try_from(entry.bytes.len())).collect();
    header.add(1028, Value::Numbers(sizes?));
    header.add(1030, Value::Shorts(entries.iter().map(|entry| entry.mode).collect()));
    header.add(1033, Value::Shorts(vec![0; entries.len()]));
    header.add(1034, numbers(&|_| time));
    let digest = |entry: &Entry| if entry.is_folder() { String::new() } else { hex(&Sha256::digest(&entry.bytes)) };
    header.add(1035, texts(&digest));
    header.add(1036, texts(&|_| String::new()));
    header.add(1037, numbers(&|entry| entry.flags));
    header.add(1039, texts(&|_| "root".to_owned()));
    header.add(1040, texts(&|_| "root".to_owned()));
    header.add(1045, numbers(&|_| u32::MAX));
    header.add(1095, numbers(&|_| 1));
    header.add(1096, Value::Numbers((1..=u32::try_from(entries.len())?).collect()));
    header.add(1097, texts(&|_| String::new()));
    header.add(5011, Value::Numbers(vec![8]));
    let mut above: Vec<String> = entries.iter().map(|entry| split(&entry.path).0).collect();
    above.sort();
    above.dedup();
    let place = |entry: &Entry| above.iter().position(|folder| *folder == split(&entry.path).0).unwrap_or(0);
    let places: Result<Vec<u32>, _> = entries.iter().map(|entry| u32::try_from(place(entry))).collect();
    header.add(1116, Value::Numbers(places?));
    header.add(1117, texts(&|entry| split(&entry.path).1));
    header.add(1118, Value::Texts(above.clone()));
    Ok(())
}

/// Folder, with slashes around it, and name.
fn split(path: &str) -> (String, String) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (format!("/{folder}/"), name.to_owned())
}

/// The first block, of which today's rpm reads the magic number only.
fn lead(release: &Release) -> Vec<u8> {
    let mut out = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1];
    let mut name = format!("stockade-{}-1", release.version).into_bytes();
    name.resize(66, 0);
    out.extend(name);
    out.extend([0, 1, 0, 5]);
    out.resize(96, 0);
    out
}

/// An archive in the `newc` format.
fn cpio(entries: &[Entry], time: u32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (number, entry) in (1_u32..).zip(entries) {
        let path = format!("./{}", entry.path);
        member(&mut out, number, u32::from(entry.mode), time, &path, &entry.bytes)?;
    }
    member(&mut out, 0, 0, 0, "TRAILER!!!", &[])?;
    Ok(out)
}

fn member(out: &mut Vec<u8>, number: u32, mode: u32, time: u32, path: &str, bytes: &[u8]) -> Result<()> {
    ensure!(path.len() < 4096, "the path {path} is too long");
    let (size, name) = (u32::try_from(bytes.len())?, u32::try_from(path.len() + 1)?);
    out.extend_from_slice(b"070701");
    for field in [number, mode, 0, 0, 1, time, size, 0, 0, 0, 0, name, 0] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}
