//! The table that refuses whoever is banned while one guard goes and the other comes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use stockade_core::{JailName, Net, Span, Timestamp};
use stockade_enforce::{JailBlock, Kernel, Layout, Means, OnClose, Options, PortSpec, Services, SetOp, Verdict};

use super::server::Listed;
use crate::settings::{JailSettings, Settings};

/// The table's name.
pub(super) const TABLE: &str = "stockade-bridge";
/// If nobody is left to remove the table, what is in it ends by itself.
pub(super) const LIFETIME: Span = Span::from_secs(8 * 3_600);

/// The table, in force until it is dropped.
pub(super) struct Bridge {
    kernel: Option<Kernel>,
    ports: BTreeMap<JailName, PortSpec>,
    standing: BTreeSet<Listed>,
}

impl Bridge {
    /// Puts these bans in force.
    pub(super) fn put(settings: &Settings, bans: &BTreeSet<Listed>) -> Result<Bridge> {
        remove_left();
        let options = Options { table: TABLE.to_owned(), ..Options::default() };
        let kernel = Kernel::open(&options).context("the table that holds the bans meanwhile can't be made")?;
        let services = Services::load();
        let ports = settings.jails.iter().map(|jail| (jail.jail(), ports(jail, &services))).collect();
        let mut bridge = Bridge { kernel: Some(kernel), ports, standing: BTreeSet::new() };
        bridge.hold(bans)?;
        Ok(bridge)
    }

    /// Does it hold anybody? Not where the kernel has none of what it takes.
    pub(super) fn holds(&self) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.means().0 != Means::DryRun)
    }

    /// Holds these too. Ids that are no addresses can't be held by a firewall.
    pub(super) fn hold(&mut self, bans: &BTreeSet<Listed>) -> Result<()> {
        let new: Vec<&Listed> = bans.difference(&self.standing).collect();
        let (now, jails) =
            (crate::daemon::now(), self.standing.iter().map(|ban| ban.jail.clone()).collect::<BTreeSet<_>>());
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let end = now + LIFETIME;
        let nets = |all: &[&Listed]| -> Vec<(JailName, Net, Timestamp)> {
            all.iter().filter_map(|ban| Some((ban.jail.clone(), ban.id.net()?, end))).collect()
        };
        if self.standing.is_empty() || new.iter().any(|ban| !jails.contains(&ban.jail)) {
            let names: BTreeSet<&JailName> = bans.iter().map(|ban| &ban.jail).collect();
            let block = |jail: &JailName| JailBlock {
                jail: jail.clone(),
                ports: self.ports.get(jail).cloned().unwrap_or(PortSpec::ALL),
                verdict: Verdict::Drop,
            };
            let all: Vec<&Listed> = bans.iter().collect();
            let loaded = kernel.restore(now, Layout::new(names.into_iter().map(block)), nets(&all))?;
            ensure!(loaded.refused == 0, "the kernel refuses {} bans of the table that holds them", loaded.refused);
        } else {
            let ops: Vec<SetOp> =
                nets(&new).into_iter().map(|(jail, net, end)| SetOp::Ban { jail, net, end }).collect();
            if let Some((_, why)) = kernel.apply(now, &ops).failed.into_iter().next() {
                return Err(why).context("the table that holds the bans meanwhile takes no more");
            }
        }
        self.standing = bans.clone();
        Ok(())
    }

    /// Leaves the table, whose bans end by themselves; are there any?
    pub(super) fn keep(mut self) -> bool {
        let holds = self.holds();
        self.kernel.take().is_some_and(|kernel| kernel.close(OnClose::Keep).is_ok()) && holds
    }

    /// The new guard holds everybody: the table goes.
    pub(super) fn remove(mut self) -> Result<()> {
        match self.kernel.take() {
            Some(kernel) => {
                kernel.close(OnClose::Lift).context("the table that held the bans meanwhile can't be removed")
            }
            None => Ok(()),
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            drop(kernel.close(OnClose::Lift));
        }
    }
}

/// A takeover that was killed may have left its table; nobody needs it once a guard stands.
pub(super) fn remove_left() {
    drop(stockade_enforce::lift(TABLE, None));
}

/// Is there such a table?
pub(super) fn stands() -> bool {
    stockade_enforce::standing(TABLE).is_ok_and(|standing| standing.table)
}

/// What a jail's actions close of a banned address; everything where that can't be told.
fn ports(jail: &JailSettings, services: &Services) -> PortSpec {
    let all: Option<BTreeSet<PortSpec>> = jail
        .actions
        .iter()
        .filter(|action| action.property("actionban").is_some_and(|text| !text.is_empty()))
        .map(|action| {
            let open = action.property("type").is_some_and(|kind| kind == "allports");
            let port = action.property("port").filter(|_| !open)?;
            let protocol = action.property("protocol").unwrap_or_default();
            PortSpec::parse(&port, &protocol, services).ok()
        })
        .collect();
    let mut all = all.unwrap_or_default().into_iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        _ => PortSpec::ALL,
    }
}
