//! Actions as the tree writes them, and the texts that they expand to.
//!
//! An [`ActionSpec`] is what `addaction` and `set JAIL action NAME PROPERTY`
//! left behind. [`expand`] gives the text of one property for one address
//! family with everything replaced that is known before a ban: other
//! properties, `<br>` and `<sp>`. Tags that depend on the ban stay as written.

mod expand;
pub mod tags;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use expand::{ExpandError, Expansion, expand};

/// The properties that every command action has, with empty text unless set.
///
/// Source: fail2ban `server/action.py`, `CommandAction.clearAllParams`.
pub const COMMANDS: [&str; 9] = [
    "actionstart",
    "actionban",
    "actionreban",
    "actionunban",
    "actioncheck",
    "actionrepair",
    "actionflush",
    "actionstop",
    "actionreload",
];

/// One action of one jail, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionSpec {
    /// Whose action.
    pub jail: Arc<str>,
    /// Its name, unique in the jail.
    pub name: Arc<str>,
    /// Names and values in the order in which they were first set; a name
    /// stands once. `x?family=inet6` is the value of `x` for that family.
    pub properties: Vec<(String, String)>,
    /// File and JSON arguments of an action written in Python.
    pub python: Option<(String, String)>,
}

impl ActionSpec {
    /// The value of a property as set; `None` if it was not.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Is any property set for one family only?
    ///
    /// Source: fail2ban `server/action.py`, `_hasCondSection`.
    pub fn is_conditional(&self) -> bool {
        self.properties.iter().any(|(name, _)| {
            name.split_once("?family=")
                .is_some_and(|(base, _)| !base.is_empty() && base.chars().all(|c| c.is_alphanumeric() || c == '_'))
        })
    }

    /// Is the action started by the first ban of a family, not with the jail?
    ///
    /// Source: fail2ban `server/action.py`, `_startOnDemand`.
    pub fn starts_on_demand(&self) -> bool {
        match self.property("actionstart_on_demand") {
            Some(text) => is_true(text),
            None => self.is_conditional(),
        }
    }

    /// Is the action left out for bans that are taken up again at start?
    pub fn is_norestored(&self) -> bool {
        self.property("norestored").is_some_and(is_true)
    }

    /// The families that `start` starts where the first ban does not: those of
    /// the property `families`, both of a conditional action, else the empty one.
    pub fn families(&self, ipv6: bool) -> Vec<&str> {
        match self.property("families").filter(|text| !text.is_empty()) {
            Some(text) => text.split([' ', ',', '\n', '\t', '\r']).filter(|word| !word.is_empty()).collect(),
            None if self.is_conditional() && ipv6 => vec!["inet4", "inet6"],
            None if self.is_conditional() => vec!["inet4"],
            None => vec![""],
        }
    }

    /// The tags that are left in any of its commands, for whoever has their values.
    ///
    /// Empty for an action whose texts can't be expanded.
    pub fn wanted_tags(&self) -> BTreeSet<String> {
        if let Some((_, arguments)) = &self.python {
            let lines = ["ipmatches", "ipjailmatches", "matches"].into_iter().filter(|name| arguments.contains(name));
            return lines.chain(["failures", "restored", "bantime"]).map(str::to_owned).collect();
        }
        let mut wanted = BTreeSet::new();
        let families = self.properties.iter().filter_map(|(name, _)| name.split_once("?family=")).map(|(_, f)| Some(f));
        for family in families.chain([None]).collect::<BTreeSet<_>>() {
            let Ok(expansion) = Expansion::new(self, family) else { return BTreeSet::new() };
            for property in COMMANDS.iter().chain(&["actionprolong"]) {
                let Ok(text) = expansion.text(property) else { continue };
                wanted.extend(tags::names(&text).map(str::to_owned));
            }
        }
        wanted
    }

    /// How many seconds one command may take.
    pub fn timeout_secs(&self) -> f64 {
        self.property("timeout")
            .and_then(|text| stockade_core::judge::timespec::parse_seconds(text).ok())
            .unwrap_or(expand::TIMEOUT_SECS)
    }
}

/// A flag as configuration files mean it.
pub(crate) fn is_true(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "" | "0" | "off" | "false" | "no" | "none")
}

/// Has the character a meaning for a shell, so that a value with it is never pasted?
///
/// Source: fail2ban `server/action.py`, `ESCAPE_CRE`.
pub(crate) fn is_special(c: char) -> bool {
    matches!(
        c,
        '\\' | '#'
            | '&'
            | ';'
            | '`'
            | '|'
            | '*'
            | '?'
            | '~'
            | '<'
            | '>'
            | '^'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '$'
            | '\''
            | '"'
            | '\n'
            | '\r'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(properties: &[(&str, &str)]) -> ActionSpec {
        let properties = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        ActionSpec { jail: "j".into(), name: "a".into(), properties, python: None }
    }

    #[test]
    fn conditional_actions_start_on_demand_unless_told_otherwise() {
        let plain = spec(&[("actionban", "x")]);
        assert!(!plain.is_conditional() && !plain.starts_on_demand());
        assert_eq!(plain.families(true), [""]);
        let both = spec(&[("actionban", "x"), ("set?family=inet6", "y")]);
        assert!(both.is_conditional() && both.starts_on_demand());
        assert_eq!((both.families(true), both.families(false)), (vec!["inet4", "inet6"], vec!["inet4"]));
        let told = spec(&[("set?family=inet6", "y"), ("actionstart_on_demand", "false")]);
        assert!(!told.starts_on_demand());
        assert!(!spec(&[("a-b?family=inet6", "y")]).is_conditional());
        assert_eq!(spec(&[("families", "inet4, x")]).families(true), ["inet4", "x"]);
        assert!((spec(&[("timeout", "2m")]).timeout_secs() - 120.0).abs() < 1e-9);
    }
}
