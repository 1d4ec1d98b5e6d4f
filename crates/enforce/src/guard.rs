//! Whom we must not ban, or we lock ourselves or our operator out: facts of
//! this machine, collected from the kernel and the login records.
//!
//! Cost of [`Guard::collect`]: 0.3 ms with 120 processes and 10 connections
//! (`tests/figures.rs`). It grows with the number of processes (one
//! small read each, about 2 us) and of TCP connections (one dump).
//! So: every few seconds, and before a burst of bans; not for each line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use stockade_core::Net;

use crate::diag::Diag;

mod login;
mod network;

/// Addresses and routes are read again after this time even if the kernel announced no change.
const NETWORK_AGE_MAX: Duration = Duration::from_secs(300);
/// On a router with a large, busy routing table they are read at most this often, as a multiple of the time it takes.
const NETWORK_PAUSE: u32 = 50;
/// More protected addresses than this are not collected; the machine's own come first.
const PROTECTED_MAX: usize = 4096;

/// Why an address is protected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The loopback network.
    Loopback,
    /// An address of this machine.
    Own,
    /// A router that this machine uses.
    Gateway,
    /// A name server that this machine asks.
    Resolver,
    /// The login from which this program was started.
    Starter,
    /// Somebody is logged in from there.
    Login {
        /// Who.
        user: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Loopback => f.write_str("loopback"),
            Reason::Own => f.write_str("an address of this machine"),
            Reason::Gateway => f.write_str("a gateway of this machine"),
            Reason::Resolver => f.write_str("a name server of this machine"),
            Reason::Starter => f.write_str("the login that started stockade came from there"),
            Reason::Login { user } => write!(f, "{user} is logged in from there"),
        }
    }
}

/// Collects whom not to ban.
#[derive(Debug)]
pub struct Guard {
    network: Vec<(Net, Reason)>,
    watch: Option<network::Watch>,
    read_at: Option<Instant>,
    read_took: Duration,
    starter: Option<IpAddr>,
    diag: Option<Diag>,
}

impl Default for Guard {
    fn default() -> Self {
        Guard::new()
    }
}

impl Guard {
    /// Looks up which login started this program. Never fails: what this
    /// machine doesn't tell is not protected.
    pub fn new() -> Self {
        Guard {
            network: Vec::new(),
            watch: network::Watch::open().ok(),
            read_at: None,
            read_took: Duration::ZERO,
            starter: login::starter(),
            diag: Diag::open().ok(),
        }
    }

    /// Everyone who must not be banned now, sorted by network, each with the
    /// first reason. A ban is to be withheld if its network holds one of these
    /// or lies in one of these.
    pub fn collect(&mut self) -> Vec<(Net, Reason)> {
        self.refresh_network();
        let mut all = self.network.clone();
        if let Some(addr) = self.starter {
            all.push((Net::host(addr), Reason::Starter));
        }
        let connections = self.diag.as_mut().and_then(|d| d.serving_root().ok()).unwrap_or_default();
        for (addr, user) in login::logins(&connections) {
            all.push((Net::host(addr), Reason::Login { user }));
        }
        all.retain(|(net, _)| !net.addr().is_unspecified());
        all.truncate(PROTECTED_MAX);
        // Reasons are ordered by how lasting they are; the first one names the address.
        all.sort();
        all.dedup_by_key(|(net, _)| *net);
        all
    }

    fn refresh_network(&mut self) {
        let pause = self.read_took.saturating_mul(NETWORK_PAUSE);
        let age = self.read_at.map(|at| at.elapsed());
        let due = match age {
            None => true,
            Some(age) if age < pause => false,
            Some(age) => age > NETWORK_AGE_MAX || self.watch.as_mut().is_none_or(network::Watch::changed),
        };
        if !due {
            return;
        }
        let start = Instant::now();
        self.network = vec![
            (Net::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), Reason::Loopback),
            (Some(Net::host(IpAddr::V6(Ipv6Addr::LOCALHOST))), Reason::Loopback),
        ]
        .into_iter()
        .filter_map(|(net, reason)| Some((net?, reason)))
        .collect();
        let with = |reason: Reason| move |addr| (Net::host(addr), reason.clone());
        self.network.extend(network::own_addresses().into_iter().map(with(Reason::Own)));
        self.network.extend(network::gateways().into_iter().map(with(Reason::Gateway)));
        self.network.extend(network::resolvers().into_iter().map(with(Reason::Resolver)));
        self.read_took = start.elapsed();
        self.read_at = Some(start);
    }
}
