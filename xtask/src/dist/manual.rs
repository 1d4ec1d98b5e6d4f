//! The manual page of the program, made from what it says itself.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::steps;

/// The page in roff: what `--help` says, and then each command's own help.
///
/// # Errors
/// When the program does not answer.
pub(super) fn page(program: &Path) -> Result<String> {
    let ask = |words: &[&str]| steps::output(Command::new(program).args(words).env("COLUMNS", "78"));
    let all = ask(&["--help"])?;
    let about = all.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let mut page = format!(
        ".\\\" Made by `cargo xtask dist` from what the program says of itself.\n\
         .TH STOCKADE 1 \"\" stockade \"User commands\"\n.SH NAME\nstockade \\- {}\n\
         .SH SYNOPSIS\n.B stockade\n.I COMMAND\n[\\fIOPTION\\fR...]\n.SH COMMANDS\n",
        text(&decapitalised(&about)),
    );
    for command in commands(&all) {
        let help = ask(&[&command, "--help"])?;
        page.push_str(&format!(".SS {command}\n.nf\n"));
        for line in help.lines() {
            page.push_str(&text(line));
            page.push('\n');
        }
        page.push_str(".fi\n");
    }
    page.push_str(
        ".SH \"EXIT STATUS\"\n.TP\n0\ndone\n.TP\n1\nnot found, or refused\n.TP\n2\nwrong usage\n.TP\n3\nno daemon\n\
         .SH FILES\n.TP\n.I /etc/stockade/jail.local\nyour own settings; see\n.BR stockade.conf (5)\n\
         .TP\n.I /var/lib/stockade/stockade.sqlite3\nbans, history and places in logs\n\
         .TP\n.I /var/log/stockade.log\nthe log\n.SH \"SEE ALSO\"\n.BR stockade.conf (5),\n.BR nft (8)\n",
    );
    Ok(page)
}

/// The words below `Commands:` of the help.
fn commands(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let rows = below.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let words = rows.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help");
    words.map(str::to_owned).collect()
}

fn decapitalised(line: &str) -> String {
    let mut chars = line.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A line as roff wants it.
fn text(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga").replace('\'', "\\(aq");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_the_help() {
        let help = "About.\n\nUsage: x\n\nCommands:\n  run       Run it\n  why       Explain\n            more\n  help      Help\n\nOptions:\n";
        assert_eq!(commands(help), ["run", "why"]);
        assert_eq!(text(".x-y"), "\\&.x\\-y");
    }
}
