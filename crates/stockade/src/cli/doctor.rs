//! `doctor`: what is wrong with this machine's guard, and what to do.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::term::{self, say};
use super::{Common, Exit};
use crate::doctor::{self, Grade};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade doctor            everything that commonly goes wrong, with what to do\n  \
    stockade doctor --json     the same for programs\n\n\
    Changes nothing. Exit code 0 if nothing was found, 1 if something was.\n\
    As root it sees more: the daemon, who listens, and logs that only root may read.";

/// Words of `doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    common: Common,
}

/// Examines.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<Exit> {
    let findings = doctor::examine(args.common.conf.as_deref())?;
    let word = |grade| if grade == Grade::Problem { "problem" } else { "warning" };
    if args.common.json {
        let rows = findings.iter().map(|f| json!({ "id": f.id, "grade": word(f.grade), "what": f.what, "fix": f.fix }));
        say(json!({ "findings": rows.collect::<Vec<_>>() }).to_string());
    } else if findings.is_empty() {
        say("nothing found: the guard is running, and everything it needs is there");
    } else {
        for finding in &findings {
            let (mut what, mut fix) = (String::new(), String::new());
            stockade_core::text::push_escaped(&mut what, &finding.what);
            stockade_core::text::push_escaped(&mut fix, &finding.fix);
            term::say_folded(9, &format!("{}  {what}", term::warn(word(finding.grade))));
            term::say_folded(9, &format!("    fix: {fix}"));
        }
        let problems = findings.iter().filter(|f| f.grade == Grade::Problem).count();
        let warnings = findings.len() - problems;
        say(format!("{}, {}", term::count(problems, "problem"), term::count(warnings, "warning")));
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Refused })
}
