//! How each action will be carried out, in words for the operator.

use super::Recognised;
use super::findings::{Finding, of_plan};
use super::plan::Way;
use crate::actions::ActionSpec;

/// One action, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Whose action.
    pub jail: String,
    /// Its name in the jail.
    pub action: String,
    /// Is it carried out without a shell?
    pub accelerated: bool,
    /// By which means: `our own table`, `nftables`, `iptables`, `ipset with iptables` or `shell`.
    pub means: &'static str,
    /// Under which names it stands in the kernel, or why a shell is needed. One sentence.
    pub why: String,
    /// What holds for bans of this action. Not empty.
    pub guarantees: Vec<&'static str>,
    /// What is wrong or weak about its rules. May be empty.
    pub findings: Vec<Finding>,
}

const KEPT: &str = "bans stay in force over restart, reload, crash and kill -9";
const TOGETHER: &str = "bans that come together are put in together, each is looked up by key when in doubt";

/// Explains one action as it was recognised.
pub fn explain(spec: &ActionSpec, recognised: &Recognised) -> Explained {
    let (jail, action) = (spec.jail.to_string(), spec.name.to_string());
    let base = Explained {
        jail,
        action,
        accelerated: true,
        means: "our own table",
        why: "it has no commands; the bans stand in table inet stockade".to_owned(),
        guarantees: Vec::new(),
        findings: match recognised {
            Recognised::Accelerated(plan) => of_plan(&spec.jail, &spec.name, plan),
            Recognised::Shell(_) => Vec::new(),
        },
    };
    if spec.property("native") == Some("table") {
        return Explained {
            guarantees: vec![
                KEPT,
                TOGETHER,
                "bans end by themselves in the kernel",
                "changes by others are refused or repaired at once",
                "packets are dropped before connection tracking, IPv4 and IPv6, also after DNAT",
            ],
            ..base
        };
    }
    match recognised {
        Recognised::Accelerated(plan) => {
            let mut guarantees = vec![KEPT, TOGETHER];
            guarantees.push(match &plan.inet4 {
                Way::Nft(_) => "a foreign flush or delete is noticed at once and repaired",
                Way::Chain(_) | Way::Set(_) => {
                    "a foreign flush or delete is noticed at once where iptables works on nftables, else within 10 s, and repaired"
                }
            });
            guarantees.push(match &plan.inet4 {
                Way::Set(set) if set.timeout.ends() => "bans end by themselves in the kernel",
                _ => "bans end when the daemon ends them, as with the original",
            });
            Explained { means: plan.means(), why: plan.names(), guarantees, ..base }
        }
        Recognised::Shell(why) => {
            let checked = spec.property("actioncheck").is_some_and(|text| !text.trim().is_empty());
            Explained {
                accelerated: false,
                means: "shell",
                why: why.clone(),
                guarantees: vec![
                    "its commands run as written, after the ban is saved, one after another",
                    if checked {
                        "what others remove is noticed at the next failing command, by its actioncheck"
                    } else {
                        "it has no actioncheck: what others remove is not noticed"
                    },
                ],
                ..base
            }
        }
    }
}
