//! A set of networks that answers "is this address in one of them?".

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Net;

/// Networks by family and prefix length: a look-up costs one search per length
/// in use, however many networks there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NetSet(BTreeMap<(bool, u8), BTreeSet<Net>>);

impl NetSet {
    pub(super) fn insert(&mut self, net: Net) -> bool {
        self.0.entry((net.is_ipv4(), net.prefix())).or_default().insert(net)
    }

    pub(super) fn remove(&mut self, net: Net) -> bool {
        let key = (net.is_ipv4(), net.prefix());
        let Some(same) = self.0.get_mut(&key) else { return false };
        let found = same.remove(&net);
        if same.is_empty() {
            self.0.remove(&key);
        }
        found
    }

    /// Is all of `net` within one of the networks?
    pub(super) fn covers(&self, net: Net) -> bool {
        self.0
            .range((net.is_ipv4(), 0)..=(net.is_ipv4(), net.prefix()))
            .any(|((_, prefix), set)| Net::new(net.addr(), *prefix).is_some_and(|wider| set.contains(&wider)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Net> {
        self.0.values().flatten().copied()
    }
}

impl FromIterator<Net> for NetSet {
    fn from_iter<I: IntoIterator<Item = Net>>(nets: I) -> Self {
        let mut set = NetSet::default();
        for net in nets {
            set.insert(net);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::FailureId;

    fn net(text: &str) -> Net {
        FailureId::parse(text).net().unwrap()
    }

    #[test]
    fn addresses_are_found_in_their_networks() {
        let mut set: NetSet =
            ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "192.0.2.0/25"].into_iter().map(net).collect();
        for (text, within) in [
            ("10.255.0.1", true),
            ("10.1.0.0/16", true),
            ("10.0.0.0/7", false),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("192.0.2.0/24", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.0.0.1", true),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(set.covers(net(text)), within, "{text}");
        }
        assert!(set.remove(net("10.0.0.0/8")) && !set.remove(net("10.0.0.0/8")));
        assert!(!set.covers(net("10.255.0.1")));
    }
}
