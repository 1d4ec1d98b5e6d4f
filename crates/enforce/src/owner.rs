//! Which process stands behind a netlink socket.

use std::fs;
use std::io::Read;

/// Bound for small files below `/proc`.
const PROC_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a file up to a bound; `None` if it can't be read.
pub(crate) fn read_bounded(path: &str, bytes_max: u64) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path).ok()?.take(bytes_max).read_to_end(&mut content).ok()?;
    Some(content)
}

/// The process behind a port id of a netlink protocol, in words: `name (pid 5)`, else the port id.
pub(crate) fn of_netlink_port(port: u32, protocol: u32) -> String {
    let pid = inode_of(port, protocol).and_then(|inode| pid_of_inode(&inode));
    match pid {
        Some(pid) => format!("{} (pid {pid})", comm(pid)),
        None => format!("a process in another namespace (netlink port {port})"),
    }
}

/// The name of a process.
pub(crate) fn comm(pid: u32) -> String {
    let name = read_bounded(&format!("/proc/{pid}/comm"), 64).unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// All process ids.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `/proc/net/netlink` has the columns address, protocol, port id, groups, .., inode.
fn inode_of(port: u32, protocol: u32) -> Option<String> {
    let text = read_bounded("/proc/net/netlink", PROC_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let matches = columns.get(1)?.parse::<u32>().ok()? == protocol && columns.get(2)?.parse::<u32>().ok()? == port;
        if matches { columns.last().map(|inode| (*inode).to_owned()) } else { None }
    })
}

fn pid_of_inode(inode: &str) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    pids().find(|pid| sockets_of(*pid).any(|link| link == wanted))
}

/// What the descriptors of a process point to, as far as that may be read.
pub(crate) fn sockets_of(pid: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok())
}
