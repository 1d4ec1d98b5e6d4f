//! This machine's tables, as the system's tools show them. Looks only.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::packets::Packets;
use crate::command::run;
use crate::ports::Services;
use crate::stock::plan::Table;

/// This machine's tables, each read when it is asked for first, and only once.
#[derive(Debug)]
pub struct Here {
    pub(super) services: Services,
    /// What `nft` shows, without what stands in sets; `None` where it can't be told.
    ruleset: OnceCell<Option<String>>,
    /// The same of `iptables-save` and its like, by program and table.
    saved: RefCell<HashMap<Saved, Option<Rc<str>>>>,
    sent_on: OnceCell<Vec<Sent>>,
}

/// A program such as `iptables-save`, and a table.
type Saved = (String, &'static str);

/// A port that is sent on to a container or another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) dialled: Packets,
    pub(super) to: String,
    /// The port that it has from there on; `None` is the same.
    pub(super) port: Option<u16>,
    /// Only packets of some senders are sent on.
    pub(super) of_some: bool,
}

impl Default for Here {
    fn default() -> Here {
        Here::new()
    }
}

impl Here {
    /// Reads nothing yet.
    pub fn new() -> Here {
        Here {
            services: Services::load(),
            ruleset: OnceCell::new(),
            saved: RefCell::default(),
            sent_on: OnceCell::new(),
        }
    }

    /// With tables as these texts show them; what is not there can't be told.
    #[cfg(test)]
    pub(super) fn shown(ruleset: Option<&str>, saved: &[(&str, &'static str, &str)]) -> Here {
        let mut all: HashMap<Saved, Option<Rc<str>>> = HashMap::new();
        for program in ["iptables-save", "ip6tables-save"] {
            all.extend(["filter", "nat"].map(|table| ((program.to_owned(), table), None)));
        }
        all.extend(saved.iter().map(|(program, table, text)| (((*program).to_owned(), *table), Some(Rc::from(*text)))));
        Here {
            services: Services::embedded(),
            ruleset: OnceCell::from(ruleset.map(str::to_owned)),
            saved: RefCell::new(all),
            sent_on: OnceCell::new(),
        }
    }

    /// Terse: `nft list chain` of 1.0.6 reads all elements of all sets, 5 s and 260 MB with 400,000 of them.
    fn ruleset(&self) -> Option<&str> {
        self.ruleset.get_or_init(|| run("nft", &["--terse", "list", "ruleset"], "").ok()).as_deref()
    }

    /// The lines of a chain of nftables; empty if there is none, `None` if that can't be told.
    pub(super) fn chain(&self, table: &Table, chain: &str) -> Option<Vec<&str>> {
        let head = format!("table {} {} {{", table.family, table.name);
        let of_table = self.ruleset()?.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
        let head = format!("chain {chain} {{");
        let mut of_chain = of_table.take_while(|line| *line != "}").skip_while(|line| !line.trim().starts_with(&head));
        of_chain.next();
        Some(of_chain.map(str::trim).take_while(|line| *line != "}").collect())
    }

    /// What `PROGRAM-save` shows of a table; `None` if that can't be told.
    pub(super) fn saved(&self, program: &str, table: &'static str) -> Option<Rc<str>> {
        let save = || run(program, &["-t", table], "").ok().map(Rc::from);
        self.saved.borrow_mut().entry((program.to_owned(), table)).or_insert_with(save).clone()
    }

    /// All that this machine sends on, but for what only itself can dial.
    pub(super) fn sent_on(&self) -> &[Sent] {
        self.sent_on.get_or_init(|| {
            let mut all: Vec<Sent> = Vec::new();
            for program in ["iptables-save", "ip6tables-save"] {
                let saved = self.saved(program, "nat").unwrap_or_default();
                for line in saved.lines().filter(|line| line.starts_with("-A ") && line.contains("-j DNAT")) {
                    all.extend(self.sent(line, "--to-destination"));
                }
            }
            for line in self.ruleset().unwrap_or_default().lines().map(str::trim) {
                // What iptables has made may be shown by nft, too.
                let sent = self.sent(line, "to").filter(|_| line.contains("dport") && line.contains("dnat"));
                let same = |known: &Sent, new: &Sent| {
                    known.to == new.to && known.dialled.ports == new.dialled.ports && known.dialled.meets(&new.dialled)
                };
                all.extend(sent.filter(|new| !all.iter().any(|known| same(known, new))));
            }
            all
        })
    }

    fn sent(&self, line: &str, option: &str) -> Option<Sent> {
        let behind = |option: &str| line.split_whitespace().skip_while(|word| *word != option).nth(1);
        let to = behind(option)?;
        let dialled = behind("-d").or_else(|| behind("daddr")).unwrap_or_default();
        if dialled.starts_with("127.") || dialled.starts_with("::1") {
            return None;
        }
        let port = match to.rsplit_once(':') {
            // An address of IPv6 with a port stands in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => port.parse().ok(),
            _ => None,
        };
        let of_some = behind("-s").or_else(|| behind("saddr")).is_some();
        Some(Sent { dialled: Packets::of(line, &self.services), to: to.to_owned(), port, of_some })
    }
}
