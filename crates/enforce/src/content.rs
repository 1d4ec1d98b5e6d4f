//! What the kernel should hold: every living ban, in a few bytes each.
//!
//! About 10 to 20 bytes per IPv4 ban and 25 to 45 per IPv6 ban (hash tables of
//! key and end, filled between 44% and 88%).

use std::collections::HashMap;
use std::net::IpAddr;

use stockade_core::{Net, Timestamp};

/// End of a ban in whole seconds since the epoch, rounded up; the largest value is "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End(u32);

impl End {
    const NEVER: End = End(u32::MAX);

    /// An end after the year 2106 is "never".
    pub(crate) fn new(end: Timestamp) -> Self {
        let secs = end.secs().saturating_add(i64::from(end.subsec_micros() > 0));
        End(u32::try_from(secs.max(0)).unwrap_or(u32::MAX))
    }

    /// The moment itself.
    pub(crate) fn time(self) -> Timestamp {
        if self == End::NEVER { Timestamp::MAX } else { Timestamp::from_secs(i64::from(self.0)) }
    }

    /// Milliseconds from now until this end, not less than 0; `None` is "never".
    pub(crate) fn millis_from(self, now: Timestamp) -> Option<u64> {
        if self == End::NEVER {
            return None;
        }
        let left = Timestamp::from_secs(i64::from(self.0)) - now;
        Some(u64::try_from(left.micros() / 1000).unwrap_or(0))
    }
}

/// The bans of one jail.
pub(crate) type JailBans = Bans<End>;

/// Who is banned, and what is known of each.
#[derive(Clone, Debug)]
pub(crate) struct Bans<T> {
    v4: HashMap<u32, T>,
    v6: HashMap<[u8; 16], T>,
    nets: HashMap<Net, T>,
}

impl<T> Default for Bans<T> {
    fn default() -> Self {
        Bans { v4: HashMap::new(), v6: HashMap::new(), nets: HashMap::new() }
    }
}

impl<T: Copy> Bans<T> {
    pub(crate) fn get(&self, net: Net) -> Option<T> {
        match (net.addr(), net.is_host()) {
            (IpAddr::V4(addr), true) => self.v4.get(&u32::from(addr)),
            (IpAddr::V6(addr), true) => self.v6.get(&addr.octets()),
            _ => self.nets.get(&net),
        }
        .copied()
    }

    /// Notes what is wanted from now on; returns what was.
    pub(crate) fn set(&mut self, net: Net, wanted: Option<T>) -> Option<T> {
        match (net.addr(), net.is_host()) {
            (IpAddr::V4(addr), true) => put(&mut self.v4, u32::from(addr), wanted),
            (IpAddr::V6(addr), true) => put(&mut self.v6, addr.octets(), wanted),
            _ => put(&mut self.nets, net, wanted),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len()).saturating_add(self.nets.len())
    }

    pub(crate) fn clear(&mut self) {
        *self = Bans::default();
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Net, T)> + '_ {
        let v4 = self.v4.iter().map(|(addr, known)| (Net::host(IpAddr::V4((*addr).into())), *known));
        let v6 = self.v6.iter().map(|(addr, known)| (Net::host(IpAddr::V6((*addr).into())), *known));
        let nets = self.nets.iter().map(|(net, known)| (*net, *known));
        v4.chain(v6).chain(nets)
    }
}

impl JailBans {
    /// Adds a ban; of several the latest end counts.
    pub(crate) fn extend_to(&mut self, net: Net, end: End) {
        let later = self.get(net).map_or(end, |known| known.max(end));
        self.set(net, Some(later));
    }
}

fn put<K: std::hash::Hash + Eq, T>(map: &mut HashMap<K, T>, key: K, wanted: Option<T>) -> Option<T> {
    match wanted {
        Some(wanted) => map.insert(key, wanted),
        None => map.remove(&key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_core::FailureId;

    #[test]
    fn every_kind_of_net_is_kept_and_forgotten() {
        let mut bans = JailBans::default();
        for (i, text) in ["192.0.2.1", "2001:db8::1", "192.0.2.0/24", "2001:db8::/64", "0.0.0.0/0"].iter().enumerate() {
            let net = FailureId::parse(text).net().unwrap();
            bans.set(net, Some(End::new(Timestamp::from_secs(100))));
            assert_eq!(bans.len(), i + 1);
            assert!(bans.iter().any(|(n, _)| n == net));
        }
        for (net, _) in bans.clone().iter() {
            bans.set(net, None);
            assert_eq!(bans.get(net), None);
        }
        assert_eq!(bans.len(), 0);
    }

    #[test]
    fn ends_are_rounded_up_and_bounded() {
        let now = Timestamp::from_secs(1000);
        let left = |micros| End::new(Timestamp::from_micros(micros)).millis_from(now);
        assert_eq!(left(1_000_000_001), Some(1000));
        assert_eq!(left(1_000_000_000), Some(0));
        assert_eq!(left(-5), Some(0));
        assert_eq!(left(i64::MAX), None);
        assert_eq!(End::new(Timestamp::MAX), End::NEVER);
    }
}
