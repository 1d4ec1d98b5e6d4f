//! The configuration.

use stockade_config::Severity;
use stockade_core::judge::IgnoreEntry;

use super::Findings;
use crate::blacklist::{self, Lists};
use crate::daemon::stage::Stage;
use crate::places::Tree;
use crate::settings::Settings;

/// A network with a shorter prefix than this is no exception any more.
const WIDE_4: u8 = 6;
const WIDE_6: u8 = 16;

/// Reads the tree, tells what is wrong in it, and returns what would run.
pub(super) fn check(tree: &Tree, findings: &mut Findings) -> Option<Stage> {
    let loaded = match tree.compile() {
        Ok(loaded) => loaded,
        Err(e) => {
            findings.problem("config", format!("{e:#}"), "name the folder of the configuration with -c");
            return None;
        }
    };
    for diagnostic in &loaded.diagnostics {
        let fix = if diagnostic.help.is_empty() { "correct the line" } else { &diagnostic.help };
        let place = match (diagnostic.file.as_str(), diagnostic.line) {
            ("", _) => String::new(),
            (file, 0) => format!("{file}: "),
            (file, line) => format!("{file}:{line}: "),
        };
        let jail = diagnostic.jail.as_ref().map(|jail| format!("[{jail}] ")).unwrap_or_default();
        let what = format!("{place}{jail}{}", diagnostic.message);
        match diagnostic.severity {
            Severity::Error => findings.problem("config", what, fix),
            Severity::Warning => findings.warning("config", what, fix),
            Severity::Note => {}
        }
    }
    if loaded.refused {
        return None;
    }
    let off = |findings: &mut Findings, jail: &str, why: &str| {
        findings.problem("jail-off", format!("jail '{jail}' can't run: {why}"), "correct it, then stockade reload");
    };
    let (settings, broken) = match Settings::default().staged_as_far_as_possible(&loaded.stream) {
        Ok(staged) => staged,
        Err(refusal) => {
            findings.problem("config", refusal.to_string(), "correct it, then stockade reload");
            return None;
        }
    };
    for (jail, why) in &broken {
        off(findings, jail, why);
    }
    let stage = match super::staged(settings) {
        Ok(stage) => stage,
        Err(why) => {
            findings.problem("config", why, "correct it, then stockade reload");
            return None;
        }
    };
    for (jail, why) in &stage.off {
        off(findings, jail, why);
    }
    if stage.jails.iter().all(|jail| jail.filter_spec.failregex.is_empty()) {
        let fix = "switch one on: [sshd] and enabled = true in jail.local";
        findings.problem("no-jails", "no jail that reads a log is enabled: nobody will be banned", fix);
    }
    for jail in &stage.jails {
        for entry in &jail.spec.ignoreip {
            let IgnoreEntry::Net(net) = entry else { continue };
            let text = net.to_string();
            let least = if text.contains(':') { WIDE_6 } else { WIDE_4 };
            if net.prefix() < least {
                let what = format!("jail '{}' ignores {text}: almost everybody", jail.spec.name);
                findings.problem("ignore-wide", what, "give ignoreip single addresses or small networks");
            }
        }
    }
    lists(&stage, findings);
    Some(stage)
}

/// Lines of `.keep` files that ban nobody.
fn lists(stage: &Stage, findings: &mut Findings) {
    for jail in &stage.jails {
        let Some(option) = jail.from.own("blacklist") else { continue };
        let lists = match Lists::of(option, jail.spec.name.as_str()) {
            Some(Ok(lists)) => lists,
            Some(Err(why)) => {
                findings.problem(
                    "list",
                    format!("jail '{}': {why}", jail.spec.name),
                    "correct it, then stockade reload",
                );
                continue;
            }
            None => continue,
        };
        match blacklist::read(&lists.keep) {
            Ok(keep) => {
                for complaint in keep.complaints(&lists.keep) {
                    findings.warning("list", complaint, "correct the line, or put # in front of it");
                }
            }
            Err(e) => {
                let what = format!("{} can't be read: {e}; who was banned by it stays banned", lists.keep.display());
                findings.problem("list", what, "make it a plain file that only root may write");
            }
        }
    }
}
