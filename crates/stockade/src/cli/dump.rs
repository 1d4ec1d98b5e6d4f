//! `dump`: what a tree compiles to, and where each option comes from.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use stockade_config::Severity;
use stockade_wire::value::command_json;

use super::term::{self, say};
use super::{Common, Exit};
use crate::places::Tree;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade dump -c /etc/fail2ban          the command stream, a JSON array a line\n  \
    stockade dump --origin sshd             each option of a jail with its file and line\n\n\
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
    if args.own {
        loaded.stream.iter().for_each(|command| say(command_json(command)));
    } else {
        loaded.original().for_each(|command| say(command_json(command)));
    }
    Ok(if loaded.is_startable() { Exit::Done } else { Exit::Refused })
}
