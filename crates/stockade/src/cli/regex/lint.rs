//! What is risky or costly about patterns, and how to mend it.

use super::Rules;
use super::marks::Running;
use super::pieces::{Piece, alternatives, pieces};
use super::trial::Trial;

/// Steps of one search on a line from which on it is worth a word: about a tenth of what a search may take.
const STEPS_HIGH: u32 = 6_000;

/// One finding.
pub(super) struct Finding {
    /// `failregex`, `prefregex`.
    pub(super) option: &'static str,
    /// 0-based.
    pub(super) index: usize,
    /// A word for programs.
    pub(super) what: &'static str,
    /// What is wrong, and why it matters.
    pub(super) text: String,
    /// What to do.
    pub(super) fix: String,
}

/// Everything worth saying about the patterns.
pub(super) fn all(rules: &Rules, trial: &Trial<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    if let (Some(pattern), Some(running)) = (&rules.spec.prefregex, &trial.prefregex) {
        cost(&mut out, "prefregex", 0, running);
        unanchored(&mut out, "prefregex", 0, pattern);
    }
    for (n, (pattern, running)) in rules.spec.failregex.iter().zip(&trial.failregex).enumerate() {
        unanchored(&mut out, "failregex", n, pattern);
        for (part, at) in alternatives(pattern, 0) {
            greedy(&mut out, n, &pieces(part, at));
        }
        open_end(&mut out, n, pattern);
        cost(&mut out, "failregex", n, running);
    }
    innocent(&mut out, rules, trial);
    if trial.lines > 0 && trial.undated == trial.lines {
        out.push(Finding {
            option: "datepattern",
            index: 0,
            what: "undated",
            text: "no line has a date that is known, so every failure counts as one of the moment it is read"
                .to_owned(),
            fix: "say how the log writes dates: --datepattern, in a filter `datepattern =`".to_owned(),
        });
    }
    out
}

fn unanchored(out: &mut Vec<Finding>, option: &'static str, index: usize, pattern: &str) {
    let loose = alternatives(pattern, 0).into_iter().any(|(part, at)| !begins_anchored(&pieces(part, at)));
    if loose {
        out.push(Finding {
            option,
            index,
            what: "unanchored",
            text: "it may begin anywhere in the line, so whoever chooses a part of the line (a user name, a URL) can \
                   write a failure of somebody else into it"
                .to_owned(),
            fix: "begin it with ^ and what the service itself writes there, such as ^\\s*".to_owned(),
        });
    }
}

/// Must every match begin where the text does?
fn begins_anchored(all: &[Piece<'_>]) -> bool {
    let Some(first) = all.first() else { return false };
    if first.text == "^" || first.text == "\\A" {
        return true;
    }
    // Flags and look-arounds take no room.
    if first.text.starts_with("(?") && first.group.is_none() {
        return all.get(1..).is_some_and(begins_anchored);
    }
    first.group.as_ref().is_some_and(|group| {
        let ways = alternatives(group.inner.0, group.inner.1);
        !group.repeat.contains(['?', '*', '{']) && ways.into_iter().all(|(way, at)| begins_anchored(&pieces(way, at)))
    })
}

/// Does a piece take anything, as much as it can?
fn is_greedy(piece: &Piece<'_>) -> bool {
    [".*", ".+"].contains(&piece.text)
        || piece.group.as_ref().is_some_and(|group| {
            alternatives(group.inner.0, 0).into_iter().any(|(way, at)| pieces(way, at).last().is_some_and(is_greedy))
        })
}

/// May a piece take any text, an address and the words around it among it?
fn is_open(piece: &Piece<'_>) -> bool {
    // A dot that is meant as one takes only that.
    let text = piece.text.replace(r"\.", "");
    [".*", ".+", ".{", "[^", r"\s\S", r"\S\s"].iter().any(|wide| text.contains(wide))
}

/// Tags that stand for who failed.
const HOSTS: [&str; 9] = ["<HOST>", "<ADDR>", "<IP4>", "<IP6>", "<DNS>", "<SUBNET>", "<F-ID/>", "<F-IP4/>", "<F-IP6/>"];

fn is_host(piece: &Piece<'_>) -> bool {
    HOSTS.contains(&piece.text)
        || piece.text.starts_with("<F-ID>")
        || piece.text.contains("<HOST>") && piece.group.is_some()
}

fn greedy(out: &mut Vec<Finding>, index: usize, all: &[Piece<'_>]) {
    let Some(host) = all.iter().position(is_host) else { return };
    let Some(greedy) = all.iter().take(host).rev().find(|piece| is_greedy(piece)) else { return };
    // Where only fixed words follow the address up to the end of the line, no text before it can name another.
    if all
        .get(host + 1..)
        .is_some_and(|rest| rest.last().is_some_and(|end| end.text == "$") && !rest.iter().any(is_open))
    {
        return;
    }
    out.push(Finding {
        option: "failregex",
        index,
        what: "greedy",
        text: format!(
            "'{}' stands before the address and takes as much as it can, so the last address in the line wins, and \
             the text it takes may be an attacker's",
            greedy.text
        ),
        fix: format!(
            "name what stands there (\\S+, [^\"]*), or take as little as possible ({}?) and end the pattern with $",
            if greedy.text.starts_with('.') { greedy.text } else { ".*" }
        ),
    });
}

/// Nothing fixed behind the address, and any text before it.
fn open_end(out: &mut Vec<Finding>, index: usize, pattern: &str) {
    for (part, at) in alternatives(pattern, 0) {
        let all = pieces(part, at);
        let Some(host) = all.iter().position(is_host) else { continue };
        let lazy = |piece: &Piece<'_>| piece.text.contains(".*") || piece.text.contains(".+");
        let loose = all.iter().take(host).any(lazy) && !all.iter().take(host).any(is_greedy);
        if loose && host + 1 == all.len() {
            out.push(Finding {
                option: "failregex",
                index,
                what: "open end",
                text: "any text may stand before the address and nothing must follow it, so an address within that \
                       text is taken for the attacker's"
                    .to_owned(),
                fix: "say what follows the address, up to the end of the line: $".to_owned(),
            });
        }
    }
}

fn cost(out: &mut Vec<Finding>, option: &'static str, index: usize, running: &Running) {
    if running.exhausted > 0 {
        out.push(Finding {
            option,
            index,
            what: "overrun",
            text: format!(
                "it gave up on {} lines of this log, as it took too many steps: such lines are never matched",
                running.exhausted
            ),
            fix: "avoid repeats within repeats such as (a+)+ and several .* in a row".to_owned(),
        });
    } else if running.worst > STEPS_HIGH {
        out.push(Finding {
            option,
            index,
            what: "cost",
            text: format!("on one line it took {} steps ({} on average)", running.worst, running.average()),
            fix: "begin it with ^ and fixed text; avoid .* in the middle".to_owned(),
        });
    }
}

/// Patterns, and alternatives of them, that hit lines which speak of success.
fn innocent(out: &mut Vec<Finding>, rules: &Rules, trial: &Trial<'_>) {
    let mut seen: Vec<usize> = Vec::new();
    for (index, number, line) in &trial.innocent {
        if seen.contains(index) {
            continue;
        }
        seen.push(*index);
        let Some(pattern) = rules.spec.failregex.get(*index) else { continue };
        let part = guilty(rules, pattern, line);
        let which = part.map_or_else(String::new, |part| format!(" (by its alternative '{part}')"));
        out.push(Finding {
            option: "failregex",
            index: *index,
            what: "innocent",
            text: format!("it hits line {number}, which seems to speak of success{which}"),
            fix: "name the words of the failure, or add an ignoreregex for such lines".to_owned(),
        });
    }
}

/// The alternative of a pattern that hits a line, if it has several and just one does.
fn guilty(rules: &Rules, pattern: &str, line: &str) -> Option<String> {
    use stockade_core::JailName;
    use stockade_core::matcher::{Filter, FilterSpec, LineMode, Matcher};
    let hits = |text: String| {
        let spec = FilterSpec { failregex: vec![text], ignoreregex: Vec::new(), ..rules.spec.clone() };
        let Ok(filter) = Filter::compile(&spec, &rules.calendar) else { return false };
        let mut matcher = Matcher::new(JailName::new("regex"), filter.into(), 0);
        let mode = LineMode { pending: true, ..LineMode::SCAN };
        !matcher.line(crate::daemon::now(), line, None, false, mode).hits.is_empty()
    };
    // Whole alternatives, then those of each group.
    let whole = alternatives(pattern, 0);
    let mut ways: Vec<(String, String)> = Vec::new();
    if whole.len() > 1 {
        ways.extend(whole.into_iter().map(|(way, _)| (way.to_owned(), way.to_owned())));
    } else {
        for piece in pieces(pattern, 0) {
            let Some(group) = &piece.group else { continue };
            let inner = alternatives(group.inner.0, 0);
            if inner.len() < 2 {
                continue;
            }
            let (head, tail) = (pattern.get(..piece.at)?, pattern.get(piece.at + piece.text.len()..)?);
            ways.extend(inner.into_iter().map(|(way, _)| {
                (way.to_owned(), format!("{head}{}{way}{}{}{tail}", group.open, group.close, group.repeat))
            }));
        }
    }
    let mut guilty = ways.into_iter().filter(|(_, text)| hits(text.clone())).map(|(way, _)| way);
    let first = guilty.next()?;
    guilty.next().is_none().then_some(first)
}
