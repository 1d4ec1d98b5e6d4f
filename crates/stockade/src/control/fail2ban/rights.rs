//! Who may do what, by what the kernel says of the peer.
//!
//! Root and the daemon's own user may do everything. Members of the group that
//! option `stockade.readers` names may look. The socket's file lets nobody else in.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::control::server::Peer;

/// Longest file of users or groups that is looked into.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Rights {
    /// Everything.
    All,
    /// Look at status, bans and options.
    Look,
    /// Nothing.
    None,
}

impl Rights {
    /// The rights of a peer. `readers` is the name of a group.
    pub(in crate::control) fn of(peer: Peer, readers: Option<&str>) -> Rights {
        let own = rustix::process::geteuid().as_raw();
        if peer.uid == 0 || peer.uid == own {
            return Rights::All;
        }
        let member = readers.and_then(|name| group(Path::new("/etc/group"), name)).is_some_and(|group| {
            group.gid == peer.gid
                || user(Path::new("/etc/passwd"), peer.uid).is_some_and(|name| group.members.contains(&name))
        });
        if member { Rights::Look } else { Rights::None }
    }
}

/// A group of the system.
pub(crate) struct Group {
    pub(crate) gid: u32,
    members: Vec<String>,
}

/// The group of that name or number, from a file as `/etc/group`.
pub(crate) fn group(file: &Path, name: &str) -> Option<Group> {
    find(file, |fields| match fields {
        [found, _, gid, members, ..] if *found == name || *gid == name => {
            Some(Group { gid: gid.parse().ok()?, members: members.split(',').map(str::to_owned).collect() })
        }
        _ => None,
    })
}

/// The name of a user, from a file as `/etc/passwd`.
fn user(file: &Path, uid: u32) -> Option<String> {
    find(file, |fields| match fields {
        [name, _, number, ..] if number.parse() == Ok(uid) => Some((*name).to_owned()),
        _ => None,
    })
}

fn find<T>(file: &Path, wanted: impl Fn(&[&str]) -> Option<T>) -> Option<T> {
    let file = BufReader::new(std::fs::File::open(file).ok()?.take(FILE_BYTES_MAX));
    let lines = file.lines().map_while(Result::ok);
    lines.map(|line| wanted(&line.trim_end().split(':').collect::<Vec<_>>())).find_map(|found| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_users_are_found_in_their_files() {
        let dir = std::env::temp_dir().join(format!("stockade-rights-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (groups, users) = (dir.join("group"), dir.join("passwd"));
        std::fs::write(&groups, "root:x:0:\nwatch:x:77:ann,bob\n").unwrap();
        std::fs::write(&users, "root:x:0:0:root:/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n").unwrap();
        let found = group(&groups, "watch").unwrap();
        assert_eq!((found.gid, found.members), (77, vec!["ann".to_owned(), "bob".to_owned()]));
        assert_eq!(user(&users, 1001).as_deref(), Some("bob"));
        assert!(group(&groups, "wat").is_none() && user(&users, 5).is_none());
        std::fs::remove_dir_all(dir).unwrap();
        let peer = |uid| Peer { pid: 1, uid, gid: 4_000_000_000 };
        assert_eq!(Rights::of(peer(0), None), Rights::All);
        assert_eq!(Rights::of(peer(3_999_999_999), Some("root")), Rights::None);
    }
}
