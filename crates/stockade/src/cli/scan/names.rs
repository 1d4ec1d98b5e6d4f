//! Host names in old logs, looked up now.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

use stockade_core::matcher::UseDns;

use crate::cli::term;

/// Names that were asked for are remembered: at most so many.
const NAMES_MAX: usize = 100_000;

/// The addresses of names, asked for once each.
pub(super) struct Names {
    how: UseDns,
    known: HashMap<String, Vec<IpAddr>>,
}

impl Names {
    pub(super) fn new(how: UseDns) -> Names {
        Names { how, known: HashMap::new() }
    }

    /// What the resolver says now; it is not asked unless names are wanted.
    pub(super) fn addresses(&mut self, name: &str) -> Vec<IpAddr> {
        if !matches!(self.how, UseDns::Yes | UseDns::Warn) {
            return Vec::new();
        }
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let mut ips: Vec<IpAddr> =
            (name, 0).to_socket_addrs().map(|found| found.map(|at| at.ip()).collect()).unwrap_or_default();
        ips.sort();
        ips.dedup();
        if ips.is_empty() {
            term::note(format!("stockade: {name:?} has no address now, so its failures don't count"));
        } else if self.how == UseDns::Warn {
            let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
            term::note(format!("stockade: {name:?} is taken for {}, as the resolver says now", ips.join(", ")));
        }
        if self.known.len() < NAMES_MAX {
            self.known.insert(name.to_owned(), ips.clone());
        }
        ips
    }
}
