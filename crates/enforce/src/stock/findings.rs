//! Rules that can't match, or that match less than was meant, as an action's own
//! plan shows them. What stands on this machine beside it: [`super::here`].

use super::owner::StockAction;
use super::plan::{ChainWay, NftWay, Plan, SetWay, Way};

/// One thing that is wrong with how an action blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose action.
    pub jail: String,
    /// Which action.
    pub action: String,
    /// What is wrong, on what.
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// Does nothing get blocked because of it, or only less than was meant?
    pub blocks_nothing: bool,
}

/// What can be seen in the action alone.
pub fn findings(action: &StockAction) -> Vec<Finding> {
    of_plan(action.jail.as_str(), &action.name, &action.plan)
}

/// Takes what is wrong, what to do, and whether nothing is blocked because of it.
pub(super) type Add<'a> = dyn FnMut(String, &str, bool) + 'a;

/// Gathers findings of one action, each once.
pub(super) fn gather(jail: &str, action: &str, look: impl FnOnce(&mut Add<'_>)) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    look(&mut |what, help, blocks_nothing| {
        if !all.iter().any(|finding| finding.what == what) {
            let (jail, action) = (jail.to_owned(), action.to_owned());
            all.push(Finding { jail, action, what, help: help.to_owned(), blocks_nothing });
        }
    });
    all
}

/// The same for a plan.
pub(super) fn of_plan(jail: &str, action: &str, plan: &Plan) -> Vec<Finding> {
    gather(jail, action, |add| {
        if let Way::Nft(way) = &plan.inet4 {
            of_nft(way, add);
        }
        for way in [&plan.inet4, &plan.inet6] {
            let (Way::Chain(ChainWay { tool, jumps, .. }) | Way::Set(SetWay { tool, jumps, .. })) = way else {
                continue;
            };
            for jump in jumps.iter().filter(|jump| ["OUTPUT", "POSTROUTING"].contains(&jump.from.as_str())) {
                let what = format!(
                    "{}: chain {} sees only what this host sends, never a stranger's packets",
                    tool.program, jump.from
                );
                let help = "use chain = INPUT (services of this host), FORWARD or DOCKER-USER (containers)";
                add(what, help, true);
            }
        }
    })
}

fn of_nft(way: &NftWay, add: &mut Add<'_>) {
    let NftWay { table, chain_spec, chain, .. } = way;
    if ["output", "postrouting"].contains(&chain_spec.hook.as_str()) {
        let what = format!(
            "chain {chain} hangs at hook {}, where packets of others' connections don't begin",
            chain_spec.hook
        );
        let help = "use chain_hook = input (services of this host), forward (containers) or prerouting (both)";
        add(what, help, true);
    }
    if table.family != "inet" {
        let (other, help) = match table.family.as_str() {
            "ip" => ("IPv6", "use table_family = inet, or addresses of IPv6 are not blocked"),
            _ => ("IPv4", "use table_family = inet"),
        };
        add(format!("table {} {} never sees {other}", table.family, table.name), help, false);
    }
}
