//! The names of groups, where those with a meaning cost nothing to compare and to keep.

use std::cmp::Ordering;
use std::sync::Arc;

/// How many names are known.
pub(super) const NAMES: usize = 16;
/// Names that the matcher knows, or that many filters use; sorted.
const KNOWN: [&str; NAMES] = [
    "alt_user",
    "cidr",
    "cond_inv",
    "cond_user",
    "content",
    "dns",
    "fid",
    "host",
    "ip4",
    "ip6",
    "mlfforget",
    "mlfgained",
    "mlfid",
    "nofail",
    "port",
    "user",
];

/// The known name at a place; for groups that are packed with the place instead of the name.
pub(crate) fn known_name(place: u8) -> Option<&'static str> {
    KNOWN.get(usize::from(place)).copied()
}

/// The place of a known name.
pub(crate) fn known_place(name: &str) -> Option<u8> {
    KNOWN.binary_search(&name).ok().and_then(|place| u8::try_from(place).ok())
}

/// The name of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A place in [`KNOWN`].
    Known(u8),
    /// Any other name.
    Own(Arc<str>),
}

impl Name {
    /// All known names, in their order.
    #[rustfmt::skip]
    pub(super) const KNOWN: [Name; NAMES] = [
        Name::Known(0), Name::Known(1), Name::Known(2), Name::Known(3), Name::Known(4), Name::Known(5), Name::Known(6),
        Name::Known(7), Name::Known(8), Name::Known(9), Name::Known(10), Name::Known(11), Name::Known(12),
        Name::Known(13), Name::Known(14), Name::Known(15),
    ];
    pub(super) const CIDR: Name = Name::Known(1);
    pub(super) const CONTENT: Name = Name::Known(4);
    pub(super) const DNS: Name = Name::Known(5);
    pub(super) const FID: Name = Name::Known(6);
    pub(super) const IP4: Name = Name::Known(8);
    pub(super) const IP6: Name = Name::Known(9);
    pub(super) const MLFFORGET: Name = Name::Known(10);
    pub(super) const MLFGAINED: Name = Name::Known(11);
    pub(super) const MLFID: Name = Name::Known(12);
    pub(super) const NOFAIL: Name = Name::Known(13);
    pub(super) const USER: Name = Name::Known(15);
    /// Under this name all users of a session are reported.
    pub(super) const USERS: &str = "users";

    /// The name that is spelt so.
    pub(super) fn of(text: &str) -> Name {
        known_place(text).map_or_else(|| Name::Own(text.into()), Name::Known)
    }

    /// Its place in the list of known names.
    #[inline]
    pub(super) fn place(&self) -> Option<usize> {
        if let Name::Known(place) = self { Some(usize::from(*place)) } else { None }
    }

    /// How it is spelt.
    pub(super) fn text(&self) -> &str {
        match self {
            Name::Known(place) => KNOWN.get(usize::from(*place)).copied().unwrap_or_default(),
            Name::Own(text) => text,
        }
    }

    /// Its place in the list of known names, as packs have it.
    #[inline]
    pub(super) fn packed_place(&self) -> Option<u8> {
        if let Name::Known(place) = self { Some(*place) } else { None }
    }

    /// Does it say who failed by itself?
    #[inline]
    pub(super) fn is_id(&self) -> bool {
        matches!(self, &Name::FID | &Name::IP4 | &Name::IP6 | &Name::DNS)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        match (self, other) {
            (Name::Known(a), Name::Known(b)) => a.cmp(b),
            _ => self.text().cmp(other.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_stand_where_they_are_said_to() {
        assert!(Name::KNOWN.iter().zip(KNOWN).all(|(name, text)| name.text() == text));
        assert!(KNOWN.is_sorted());
        let named = [
            (Name::CIDR, "cidr"),
            (Name::CONTENT, "content"),
            (Name::DNS, "dns"),
            (Name::FID, "fid"),
            (Name::IP4, "ip4"),
            (Name::IP6, "ip6"),
            (Name::MLFFORGET, "mlfforget"),
            (Name::MLFGAINED, "mlfgained"),
            (Name::MLFID, "mlfid"),
            (Name::NOFAIL, "nofail"),
            (Name::USER, "user"),
        ];
        for (name, text) in named {
            assert_eq!((name.text(), &name), (text, &Name::of(text)));
        }
    }

    #[test]
    fn names_sort_as_their_texts() {
        let mut names: Vec<Name> = ["user", "zeta", "alpha", "ip4", "host", "f", "users"].map(Name::of).into();
        names.sort();
        let texts: Vec<&str> = names.iter().map(Name::text).collect();
        assert_eq!(texts, ["alpha", "f", "host", "ip4", "user", "users", "zeta"]);
    }
}
