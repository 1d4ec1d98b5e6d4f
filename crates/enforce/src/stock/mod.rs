//! Stock firewall actions, carried out without a shell.
//!
//! [`recognise`] reads the expanded text of all commands of an action. Where it
//! does what a stock action for nftables, iptables or ipset does, with whatever
//! parameters, the same tables, sets, chains and rules are made under the same
//! names, in batches: [`Stock`] owns that. Anything else is a shell action, and
//! [`Recognised::Shell`] says what is different.

mod account;
mod by_nft;
mod by_sets;
mod by_tables;
mod explain;
mod findings;
mod here;
mod owner;
mod plan;
mod shapes;
mod shell;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use explain::{Explained, explain};
pub use findings::{Finding, findings};
pub use here::{Families, Here};
pub use owner::{Stock, StockAction};
pub use plan::Plan;
use shapes::Texts;

use crate::actions::{ActionSpec, Expansion};

/// How an action will be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// By ourselves.
    Accelerated(Box<Plan>),
    /// By a shell, as written; with the reason in words.
    Shell(String),
}

/// Commands that stock firewall actions leave empty.
const EMPTY: [&str; 4] = ["actionreban", "actionprolong", "actionrepair", "actionreload"];

/// Finds out whether an action does exactly what a stock firewall action does.
pub fn recognise(spec: &ActionSpec) -> Recognised {
    match plan_of(spec) {
        Ok(plan) => Recognised::Accelerated(Box::new(plan)),
        Err(why) => Recognised::Shell(why),
    }
}

/// The same for all actions of all jails, in their order.
pub fn recognise_all(specs: &[ActionSpec]) -> Vec<Recognised> {
    exclusive(specs, specs.iter().map(recognise).collect())
}

/// What was [recognised](recognise) of all actions of all jails, in their order, seen together: those that would
/// share a chain or a set are shell actions, because what one of them removes belongs to the other one too.
pub fn exclusive(specs: &[ActionSpec], recognised: Vec<Recognised>) -> Vec<Recognised> {
    let mut all = recognised;
    let mut users: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, recognised) in all.iter().enumerate() {
        if let Recognised::Accelerated(plan) = recognised {
            for way in [&plan.inet4, &plan.inet6] {
                users.entry(way.key()).or_default().push(i);
            }
        }
    }
    for (object, users) in users.iter().filter(|(_, users)| users.len() > 1) {
        for user in users {
            let other = users.iter().find(|other| *other != user).and_then(|other| specs.get(*other));
            let whose = other.map(|o| format!(" with action '{}' of jail '{}'", o.name, o.jail)).unwrap_or_default();
            if let Some(slot) = all.get_mut(*user) {
                *slot = Recognised::Shell(format!("it shares {object}{whose}"));
            }
        }
    }
    all
}

fn plan_of(spec: &ActionSpec) -> Result<Plan, String> {
    if spec.python.is_some() {
        return Err("it is written in Python".to_owned());
    }
    let mut ways = Vec::new();
    for (family, ipv4) in [("inet4", true), ("inet6", false)] {
        let expansion = Expansion::new(spec, Some(family)).map_err(|e| e.to_string())?;
        let text = |property: &str| expansion.text(property).map_err(|e| e.to_string());
        let tools = ["nft", "iptables", "ip6tables", "ipset"];
        if !tools
            .iter()
            .any(|tool| ["actionstart", "actionban"].iter().any(|p| text(p).is_ok_and(|t| t.contains(tool))))
        {
            return Err("it runs none of nft, iptables and ipset".to_owned());
        }
        for property in EMPTY {
            if !text(property)?.trim().is_empty() {
                return Err(format!("{property} is set, the stock action has none"));
            }
        }
        let steps = |property: &str| {
            let list = shell::parse(text(property)?.trim()).and_then(|list| steps::steps(&list));
            list.map_err(|why| format!("{property} ({family}): {why}"))
        };
        let texts = Texts {
            start: steps("actionstart")?,
            ban: steps("actionban")?,
            unban: steps("actionunban")?,
            check: steps("actioncheck")?,
            flush: steps("actionflush")?,
            stop: steps("actionstop")?,
        };
        ways.push(shapes::way(&texts, ipv4).map_err(|(property, why)| format!("{property} ({family}): {why}"))?);
    }
    if spec.is_norestored() {
        return Err("norestored is set".to_owned());
    }
    if spec.property("families").is_some_and(|text| !text.trim().is_empty()) {
        return Err("families is set".to_owned());
    }
    if !spec.is_conditional() {
        return Err("it has one form for all addresses, the stock actions have one for each family".to_owned());
    }
    let [inet4, inet6] = ways.as_slice() else { return Err("it has no families".to_owned()) };
    if inet4.key() == inet6.key() {
        return Err(format!("both families share {}", inet4.object()));
    }
    Ok(Plan { inet4: inet4.clone(), inet6: inet6.clone(), on_demand: spec.starts_on_demand() })
}
