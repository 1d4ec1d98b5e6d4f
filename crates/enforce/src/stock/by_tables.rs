//! Rules of iptables: one `iptables-restore --noflush` per burst and program, which happens as a whole or not at all.

use std::collections::{BTreeMap, VecDeque};

use stockade_core::Net;

use super::plan::{ChainWay, Jump, Tool};
use crate::command::run_and_tell;
use crate::error::Error;

/// Seconds to wait for others who change the rules.
const LOCK_SECS: &str = "10";
/// Numbers of our own children, remembered so that their work is not taken for somebody else's.
const CHILDREN_MAX: usize = 64;

/// A rule to be added or removed: in which chain, whom, and whether it is added.
pub(super) type Change<'p> = (&'p ChainWay, Net, bool);

/// Rules that lead into a chain or look into a set of this name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'p> {
    /// `-j NAME`
    Chain(&'p str),
    /// `--match-set NAME src`
    Set(&'p str),
}

impl Target<'_> {
    /// Does a line of `iptables-save` lead there?
    fn is_of(self, line: &str) -> bool {
        match self {
            Target::Chain(name) => line.strip_suffix(name).is_some_and(|head| head.ends_with(" -j ")),
            Target::Set(name) => line.contains(&format!(" --match-set {name} src ")),
        }
    }
}

/// Carries out what concerns iptables.
#[derive(Debug, Default)]
pub(super) struct ByTables {
    /// Processes of ours that changed tables.
    pub(super) children: VecDeque<u32>,
}

impl ByTables {
    fn run(&mut self, program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
        let (pid, result) = run_and_tell(program, arguments, input);
        if self.children.len() >= CHILDREN_MAX {
            self.children.pop_front();
        }
        self.children.push_back(pid);
        result
    }

    fn restore(&mut self, tool: &Tool, lines: &str) -> Result<(), Error> {
        let text = format!("*filter\n{lines}COMMIT\n");
        self.run(&format!("{}-restore", tool.program), &["-w", LOCK_SECS, "--noflush"], &text).map(drop)
    }

    /// What `iptables-save` shows of the table.
    pub(super) fn save(&mut self, tool: &Tool) -> Result<String, Error> {
        self.run(&format!("{}-save", tool.program), &["-t", "filter"], "")
    }

    fn has_rule(&mut self, tool: &Tool, chain: &str, rule: &[String]) -> bool {
        let head = ["-w", LOCK_SECS, "-C", chain];
        let words: Vec<&str> = head.into_iter().chain(rule.iter().map(String::as_str)).collect();
        self.run(&tool.program, &words, "").is_ok()
    }

    /// Makes chains and what leads to them, as far as they are missing; says of each whether it stood before.
    pub(super) fn start(&mut self, ways: &[&ChainWay]) -> Vec<Result<bool, Error>> {
        let mut done: Vec<Result<bool, Error>> = ways.iter().map(|_| Ok(false)).collect();
        for (tool, members) in by_tool(ways.iter().map(|way| &way.tool)) {
            let saved = self.save(tool);
            let mut texts: Vec<(usize, String)> = Vec::new();
            for i in members {
                let (Some(way), Some(slot)) = (ways.get(i), done.get_mut(i)) else { continue };
                match &saved {
                    Ok(saved) => {
                        let stood = has_chain(saved, &way.chain);
                        *slot = Ok(stood);
                        let mut text = String::new();
                        if !stood {
                            text += &format!(":{0} - [0:0]\n-A {0} -j {1}\n", way.chain, way.last.join(" "));
                        }
                        text += &self.missing_jumps(tool, saved, &way.jumps, Target::Chain(&way.chain));
                        texts.push((i, text));
                    }
                    Err(error) => *slot = Err(error.clone()),
                }
            }
            self.restore_each(tool, &texts, |i, error| {
                if let Some(slot) = done.get_mut(i) {
                    *slot = Err(error);
                }
            });
        }
        done
    }

    /// One restore with everything; if that is refused, one for each.
    pub(super) fn restore_each(
        &mut self,
        tool: &Tool,
        texts: &[(usize, String)],
        mut failed: impl FnMut(usize, Error),
    ) {
        let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
        if all.is_empty() || self.restore(tool, &all).is_ok() {
            return;
        }
        for (i, text) in texts {
            if let Err(error) = self.restore(tool, text) {
                failed(*i, error);
            }
        }
    }

    /// Lines that put rules in front of their chains, unless they stand, and that remove others to the same place.
    pub(super) fn missing_jumps(&mut self, tool: &Tool, saved: &str, jumps: &[Jump], target: Target<'_>) -> String {
        let standing: Vec<&str> = saved.lines().filter(|l| l.starts_with("-A ") && target.is_of(l)).collect();
        if standing.len() == jumps.len() && jumps.iter().all(|j| self.has_rule(tool, &j.from, &j.rule)) {
            return String::new();
        }
        // Rules of an earlier configuration go in the transaction that brings the new ones.
        let stale = standing.iter().map(|line| format!("{}\n", line.replacen("-A ", "-D ", 1)));
        let new = jumps.iter().map(|jump| format!("-I {} {}\n", jump.from, jump.rule.join(" ")));
        stale.chain(new).collect()
    }

    /// Adds and removes rules of bans; returns the indices of those that are not as asked for.
    pub(super) fn change(&mut self, changes: &[Change<'_>]) -> Vec<(usize, Error)> {
        let mut failed = Vec::new();
        for (tool, members) in by_tool(changes.iter().map(|(way, ..)| &way.tool)) {
            let mut parts = vec![members];
            while let Some(part) = parts.pop() {
                let text: String = part.iter().filter_map(|i| changes.get(*i)).map(line_of).collect();
                let Err(error) = self.restore(tool, &text) else { continue };
                match part.as_slice() {
                    [] => {}
                    [only] => {
                        let gone = changes.get(*only).is_some_and(|(way, net, add)| {
                            !add && !self.has_rule(&way.tool, &way.chain, &way.ban_rule(*net))
                        });
                        // What is not there needs no removing.
                        if !gone {
                            failed.push((*only, error));
                        }
                    }
                    several => {
                        let (left, right) = several.split_at(several.len() / 2);
                        // The first half is done first: rules stand in the order in which they came.
                        parts.push(right.to_vec());
                        parts.push(left.to_vec());
                    }
                }
            }
        }
        failed
    }

    /// Makes exactly these be the bans of a chain, in one transaction.
    pub(super) fn replace(&mut self, way: &ChainWay, wanted: &[Net]) -> Result<(), Error> {
        self.restore(&way.tool, &chain_text(way, wanted))
    }

    /// Puts back what is missing in what was just saved, in one transaction:
    /// what leads to the chain, and the chain if one of its bans is missing.
    pub(super) fn mend(&mut self, way: &ChainWay, saved: &str, wanted: &[Net]) -> Result<(), Error> {
        let stand = has_chain(saved, &way.chain) && bans_in(way, saved) == wanted.len();
        let chain = if stand { String::new() } else { chain_text(way, wanted) };
        let jumps = self.missing_jumps(&way.tool, saved, &way.jumps, Target::Chain(&way.chain));
        self.restore(&way.tool, &(chain + &jumps))
    }

    /// Empties the chain, its last rule included, as the original does.
    pub(super) fn flush(&mut self, way: &ChainWay) -> Result<(), Error> {
        self.restore(&way.tool, &format!("-F {}\n", way.chain))
    }

    /// Removes what leads to the chain, and the chain.
    pub(super) fn stop(&mut self, way: &ChainWay) -> Result<(), Error> {
        let mut lines: Vec<String> = removals(&way.jumps).collect();
        lines.extend([format!("-F {}\n", way.chain), format!("-X {}\n", way.chain)]);
        self.in_turn(&way.tool, &lines)
    }

    /// All lines at once, else each for itself; the last one decides, as in a shell.
    pub(super) fn in_turn(&mut self, tool: &Tool, lines: &[String]) -> Result<(), Error> {
        if self.restore(tool, &lines.concat()).is_ok() {
            return Ok(());
        }
        let mut last = Ok(());
        for line in lines {
            last = self.restore(tool, line);
        }
        last
    }

    /// Do the chain, all that leads to it and so many bans stand in what was saved?
    pub(super) fn is_whole(way: &ChainWay, saved: &str, bans: usize) -> bool {
        has_chain(saved, &way.chain)
            && leads(saved, Target::Chain(&way.chain)) >= way.jumps.len()
            && bans_in(way, saved) == bans
    }

    /// Is there a rule for this ban?
    pub(super) fn holds(&mut self, way: &ChainWay, net: Net) -> bool {
        self.has_rule(&way.tool, &way.chain, &way.ban_rule(net))
    }
}

/// A chain and all its rules.
fn chain_text(way: &ChainWay, wanted: &[Net]) -> String {
    // Naming a chain that stands empties it.
    let mut text = format!(":{} - [0:0]\n", way.chain);
    for net in wanted.iter().rev() {
        text += &format!("-A {} {}\n", way.chain, way.ban_rule(*net).join(" "));
    }
    text + &format!("-A {} -j {}\n", way.chain, way.last.join(" "))
}

/// How many bans the chain has in what was saved.
fn bans_in(way: &ChainWay, saved: &str) -> usize {
    let head = format!("-A {} -s ", way.chain);
    saved.lines().filter(|line| line.starts_with(&head)).count()
}

/// How many rules in what was saved lead there.
pub(super) fn leads(saved: &str, target: Target<'_>) -> usize {
    saved.lines().filter(|line| line.starts_with("-A ") && target.is_of(line)).count()
}

/// Lines that remove rules.
pub(super) fn removals(jumps: &[Jump]) -> impl Iterator<Item = String> + '_ {
    jumps.iter().map(|jump| format!("-D {} {}\n", jump.from, jump.rule.join(" ")))
}

pub(super) fn has_chain(saved: &str, chain: &str) -> bool {
    let head = format!(":{chain} ");
    saved.lines().any(|line| line.starts_with(&head))
}

/// The tools, and the indices of those who use each.
pub(super) fn by_tool<'p>(tools: impl Iterator<Item = &'p Tool>) -> Vec<(&'p Tool, Vec<usize>)> {
    let mut all: BTreeMap<&str, (&Tool, Vec<usize>)> = BTreeMap::new();
    for (i, tool) in tools.enumerate() {
        all.entry(&tool.program).or_insert_with(|| (tool, Vec::new())).1.push(i);
    }
    all.into_values().collect()
}

fn line_of((way, net, add): &Change<'_>) -> String {
    let rule = way.ban_rule(*net).join(" ");
    if *add { format!("-I {} 1 {rule}\n", way.chain) } else { format!("-D {} {rule}\n", way.chain) }
}
