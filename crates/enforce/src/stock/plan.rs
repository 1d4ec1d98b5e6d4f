//! What a recognised action does, as values instead of shell text.

use stockade_core::Net;

/// A recognised action: the same effects under the same names, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) inet4: Way,
    pub(super) inet6: Way,
    /// Is a family started by its first ban, not with the jail?
    pub(super) on_demand: bool,
}

impl Plan {
    /// The family's part.
    pub(super) fn way(&self, ipv4: bool) -> &Way {
        if ipv4 { &self.inet4 } else { &self.inet6 }
    }

    /// By which means it blocks: `nftables`, `iptables` or `ipset with iptables`.
    pub fn means(&self) -> &'static str {
        match self.inet4 {
            Way::Nft(_) => "nftables",
            Way::Chain(_) => "iptables",
            Way::Set(_) => "ipset with iptables",
        }
    }

    /// What it stands under, for the operator: `inet f2b-table, addr-set-sshd and addr6-set-sshd`.
    pub fn names(&self) -> String {
        match (&self.inet4, &self.inet6) {
            (Way::Nft(four), Way::Nft(six)) => {
                format!("table {} {}, sets {} and {}", four.table.family, four.table.name, four.set, six.set)
            }
            (four, six) if four.object() == six.object() => four.object(),
            (four, six) => format!("{} and {}", four.object(), six.object()),
        }
    }
}

/// How one address family is blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A set in a chain of nftables.
    Nft(NftWay),
    /// A rule of iptables for each ban, in a chain of their own.
    Chain(ChainWay),
    /// A set of ipset that rules of iptables look into.
    Set(SetWay),
}

impl Way {
    /// What must be its own: no two actions may stand under it.
    pub(super) fn object(&self) -> String {
        match self {
            Way::Nft(nft) => format!("set {} of table {} {}", nft.set, nft.table.family, nft.table.name),
            Way::Chain(chain) => format!("chain {}", chain.chain),
            Way::Set(set) => format!("set {}", set.set),
        }
    }

    pub(super) fn nft(&self) -> Option<&NftWay> {
        if let Way::Nft(way) = self { Some(way) } else { None }
    }

    pub(super) fn chain(&self) -> Option<&ChainWay> {
        if let Way::Chain(way) = self { Some(way) } else { None }
    }

    pub(super) fn set(&self) -> Option<&SetWay> {
        if let Way::Set(way) = self { Some(way) } else { None }
    }

    /// The same with the family where both have it under one name.
    pub(super) fn key(&self) -> String {
        match self {
            Way::Chain(chain) => {
                let program = chain.tool.program.rsplit('/').next().unwrap_or_default();
                format!("{program} {}", self.object())
            }
            Way::Nft(_) | Way::Set(_) => self.object(),
        }
    }
}

/// A table of nftables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Table {
    /// `inet`, `ip` or `ip6`.
    pub(super) family: String,
    pub(super) name: String,
}

/// One set, and the rules that look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NftWay {
    pub(super) table: Table,
    pub(super) chain: String,
    /// `type filter hook input priority -1 ;`
    pub(super) chain_spec: ChainSpec,
    pub(super) set: String,
    pub(super) ipv4: bool,
    /// The set takes networks.
    pub(super) interval: bool,
    /// As `nft` reads them, without the chain's name.
    pub(super) rules: Vec<String>,
}

/// Where a chain of nftables hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainSpec {
    pub(super) kind: String,
    pub(super) hook: String,
    pub(super) priority: String,
}

/// A program of the iptables family and how it waits for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) program: String,
    pub(super) wait: Vec<String>,
}

/// A rule that leads packets from a chain to where bans are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// In which chain.
    pub(super) from: String,
    /// The rule, target included.
    pub(super) rule: Vec<String>,
}

/// A chain of iptables with a rule for each ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainWay {
    pub(super) tool: Tool,
    pub(super) chain: String,
    /// Target of the chain's last rule.
    pub(super) last: Vec<String>,
    pub(super) jumps: Vec<Jump>,
    /// Target of a ban's rule.
    pub(super) block: Vec<String>,
}

impl ChainWay {
    /// The rule of a ban, without the chain's name.
    pub(super) fn ban_rule(&self, net: Net) -> Vec<String> {
        let mut rule = vec!["-s".to_owned(), net.to_string(), "-j".to_owned()];
        rule.extend(self.block.iter().cloned());
        rule
    }
}

/// A set of ipset, and the rules that look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetWay {
    pub(super) tool: Tool,
    pub(super) set: String,
    /// `hash:ip timeout 0 maxelem 65536 family inet6`
    pub(super) create: Vec<String>,
    pub(super) timeout: Timeout,
    pub(super) jumps: Vec<Jump>,
}

/// How long an element of a set lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// So many seconds; 0 is for ever.
    Fixed(u64),
    /// As long as the ban.
    Bantime,
    /// As long as the ban if that is at most so long, else for ever.
    BantimeUpTo(u64),
}

impl Timeout {
    /// Seconds for a ban that lasts so long from now; `None` is for ever.
    ///
    /// DIVERGENCE (ipset-endless): where the original hands ipset a number that ipset refuses
    /// (permanent bans, bans beyond its range), the element never expires.
    pub(super) fn secs(self, left: Option<u64>) -> u64 {
        match (self, left) {
            (Timeout::Fixed(secs), _) => secs,
            (_, None) => 0,
            (Timeout::Bantime, Some(secs)) => in_range(secs, IPSET_SECS_MAX),
            (Timeout::BantimeUpTo(bound), Some(secs)) => in_range(secs, bound.min(IPSET_SECS_MAX)),
        }
    }

    /// Do elements end by themselves?
    pub(super) fn ends(self) -> bool {
        self != Timeout::Fixed(0)
    }
}

/// The longest time that ipset counts.
const IPSET_SECS_MAX: u64 = 2_147_483;

fn in_range(secs: u64, bound: u64) -> u64 {
    if secs > bound { 0 } else { secs.max(1) }
}
