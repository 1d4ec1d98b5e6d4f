//! `dump`: what a tree compiles to, and where each option comes from.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use stockade_config::Severity;
use stockade_enforce::stock::{Explained, explain};
use stockade_wire::value::command_json;

use super::term::{self, say};
use super::{Common, Exit};
use crate::daemon::stage::recognised;
use crate::places::Tree;
use crate::settings::Settings;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade dump -c /etc/fail2ban          the command stream, a JSON array a line\n  \
    stockade dump --origin sshd             each option of a jail with its file and line\n  \
    stockade dump --actions                 which actions need a shell, and why\n\n\
    What is wrong in the tree goes to standard error. Exit code 1 if it can't be used.";

/// Words of `dump`.
#[derive(Args)]
pub(crate) struct DumpArgs {
    /// Show where each effective option of this jail comes from
    #[arg(long, value_name = "JAIL")]
    origin: Option<String>,
    /// Include stockade's own options, which fail2ban does not know
    #[arg(long, conflicts_with = "origin")]
    own: bool,
    /// Show how each action will be carried out, why so, and what holds for its bans
    #[arg(long, conflicts_with_all = ["origin", "own"])]
    actions: bool,
    #[command(flatten)]
    common: Common,
}

/// Dumps.
pub(crate) fn dump(args: &DumpArgs) -> Result<Exit> {
    let loaded = Tree::of(args.common.conf.as_deref()).compile()?;
    for finding in loaded.diagnostics.iter().filter(|d| d.severity > Severity::Note) {
        term::note(finding.to_string());
    }
    if let Some(jail) = &args.origin {
        let Some(rows) = loaded.origin(jail) else {
            anyhow::bail!("there is no jail '{jail}' in this tree");
        };
        if args.common.json {
            for row in rows {
                say(json!({ "option": row.option, "value": row.value, "file": row.file, "line": row.line }).to_string());
            }
        } else {
            let shown = |text: &str| text.replace('\n', " \u{21b5} ");
            let rows: Vec<Vec<String>> = rows
                .into_iter()
                .map(|row| vec![row.option, format!("{}:{}", row.file, row.line), shown(&row.value)])
                .collect();
            term::table(&["OPTION", "FROM", "VALUE"], &[], &rows);
        }
        return Ok(Exit::Done);
    }
    if args.actions {
        let (settings, _) = Settings::default()
            .staged_as_far_as_possible(&loaded.stream)
            .map_err(|refusal| anyhow::anyhow!("the configuration can't be used: {refusal}"))?;
        let all: Vec<Explained> =
            recognised(&settings).iter().map(|(spec, recognised)| explain(spec, recognised)).collect();
        all.iter().for_each(|one| say(if args.common.json { as_json(one) } else { in_words(one) }));
        return Ok(if loaded.is_startable() { Exit::Done } else { Exit::Refused });
    }
    if args.own {
        loaded.stream.iter().for_each(|command| say(command_json(command)));
    } else {
        loaded.original().for_each(|command| say(command_json(command)));
    }
    Ok(if loaded.is_startable() { Exit::Done } else { Exit::Refused })
}

fn as_json(one: &Explained) -> String {
    let findings: Vec<_> = one
        .findings
        .iter()
        .map(|f| json!({ "what": f.what, "help": f.help, "blocks_nothing": f.blocks_nothing }))
        .collect();
    json!({ "jail": one.jail, "action": one.action, "accelerated": one.accelerated, "means": one.means,
        "why": one.why, "guarantees": one.guarantees, "findings": findings })
    .to_string()
}

fn in_words(one: &Explained) -> String {
    let how = if one.accelerated { format!("without a shell, by {}", one.means) } else { "by a shell".to_owned() };
    let mut text = format!("{} {}: {how}\n    {}", term::bold(&format!("[{}]", one.jail)), one.action, one.why);
    for guarantee in &one.guarantees {
        text += &format!("\n    - {guarantee}");
    }
    for finding in &one.findings {
        text += &format!("\n    {} {} ({})", term::warn("!"), finding.what, finding.help);
    }
    text
}
