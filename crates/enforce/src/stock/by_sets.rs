//! Sets of ipset: one `ipset restore` per burst. The rules that look into them are [`super::by_tables`]' work.

use stockade_core::Net;

use super::account::Wanted;
use super::by_tables::{ByTables, Target, by_tool, leads, removals};
use super::plan::SetWay;
use crate::command::run;
use crate::error::Error;

/// A change of one set: which, whom, and until when it is there if it shall be there.
pub(super) type Change<'p> = (&'p SetWay, Net, Option<Option<u64>>);

/// Behind a set's name while its new content is put together.
const BESIDE: &str = "-new";
/// Names of sets are at most so long.
const NAME_MAX: usize = 31;
/// How often a set that a rule just left is tried to be removed: the kernel lets go a little later.
const DESTROY_TRIES: u32 = 20;

/// Makes sets and the rules that look into them, as far as they are missing; says of each whether it stood before.
pub(super) fn start(tables: &mut ByTables, ways: &[&SetWay]) -> Vec<Result<bool, Error>> {
    let names = match names() {
        Ok(names) => names,
        Err(error) => return ways.iter().map(|_| Err(error.clone())).collect(),
    };
    let create = |way: &&SetWay| format!("create {} {}\n", way.set, way.create.join(" "));
    let mut done: Vec<Result<bool, Error>> = ways.iter().map(|way| Ok(names.contains(&way.set))).collect();
    if restore(&ways.iter().map(create).collect::<String>()).is_err() {
        for (way, slot) in ways.iter().zip(&mut done) {
            if let Err(error) = restore(&create(way)) {
                *slot = Err(error);
            }
        }
    }
    for (tool, members) in by_tool(ways.iter().map(|way| &way.tool)) {
        let saved = tables.save(tool);
        let mut texts: Vec<(usize, String)> = Vec::new();
        for i in members {
            let Some(way) = ways.get(i).filter(|_| done.get(i).is_some_and(Result::is_ok)) else { continue };
            match &saved {
                Ok(saved) => texts.push((i, tables.missing_jumps(tool, saved, &way.jumps, Target::Set(&way.set)))),
                Err(error) => done.get_mut(i).into_iter().for_each(|slot| *slot = Err(error.clone())),
            }
        }
        tables.restore_each(tool, &texts, |i, error| {
            if let Some(slot) = done.get_mut(i) {
                *slot = Err(error);
            }
        });
    }
    done
}

/// Adds and removes elements; returns the indices of those that are not as asked for.
pub(super) fn change(changes: &[Change<'_>]) -> Vec<(usize, Error)> {
    let mut failed = Vec::new();
    let mut parts = vec![(0..changes.len()).collect::<Vec<usize>>()];
    while let Some(part) = parts.pop() {
        let text: String = part.iter().filter_map(|i| changes.get(*i)).map(line_of).collect();
        let Err(error) = restore(&text) else { continue };
        match part.as_slice() {
            [] => {}
            [only] => {
                let change = changes.get(*only);
                // What is not there needs no removing, whatever ipset thinks of it.
                if change.is_none_or(|(way, net, end)| end.is_some() || holds(way, *net)) {
                    failed.push((*only, error));
                }
            }
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                parts.push(right.to_vec());
                parts.push(left.to_vec());
            }
        }
    }
    failed
}

fn line_of((way, net, end): &Change<'_>) -> String {
    match end {
        Some(left) => format!("add {} {net} timeout {}\n", way.set, way.timeout.secs(*left)),
        None => format!("del {} {net}\n", way.set),
    }
}

/// Makes exactly these be the elements of a set: beside it, then by a swap. Returns those that were refused.
pub(super) fn replace(way: &SetWay, wanted: &[Wanted]) -> Result<Vec<(usize, Error)>, Error> {
    let short: String = way.set.chars().take(NAME_MAX.saturating_sub(BESIDE.len())).collect();
    let beside = SetWay { set: format!("{short}{BESIDE}"), ..way.clone() };
    let name = &beside.set;
    restore(&format!("create {name} {}\nflush {name}\n", way.create.join(" ")))?;
    let changes: Vec<Change<'_>> = wanted.iter().map(|(net, left)| (&beside, *net, Some(*left))).collect();
    let failed = change(&changes);
    restore(&format!("swap {name} {}\ndestroy {name}\n", way.set))?;
    Ok(failed)
}

/// Removes all elements.
pub(super) fn flush(way: &SetWay) -> Result<(), Error> {
    run("ipset", &["flush", &way.set], "").map(drop)
}

/// Removes the rules and the set.
pub(super) fn stop(tables: &mut ByTables, way: &SetWay) -> Result<(), Error> {
    let lines: Vec<String> = removals(&way.jumps).collect();
    let rules = tables.in_turn(&way.tool, &lines);
    // Without the set there is nothing more to do.
    flush(way).and(rules)?;
    let mut tries = 0;
    loop {
        match run("ipset", &["destroy", &way.set], "") {
            Err(error) if tries < DESTROY_TRIES && error.why.contains("in use") => tries += 1,
            done => return done.map(drop),
        }
    }
}

/// The names of all sets.
pub(super) fn names() -> Result<Vec<String>, Error> {
    Ok(run("ipset", &["list", "-n"], "")?.lines().map(str::to_owned).collect())
}

/// Do the set, the rules that look into it and, where elements don't end by themselves, so many of them stand?
/// An error where that can't be told.
pub(super) fn is_whole(way: &SetWay, saved: &str, names: &[String], bans: usize) -> Result<bool, Error> {
    if leads(saved, Target::Set(&way.set)) < way.jumps.len() || !names.contains(&way.set) {
        return Ok(false);
    }
    let listed = run("ipset", &["list", "-t", &way.set], "")?;
    let entries = listed.lines().find_map(|line| line.strip_prefix("Number of entries: ")?.trim().parse().ok());
    Ok(way.timeout.ends() || entries.is_none_or(|entries: usize| entries >= bans))
}

/// Is it an element?
pub(super) fn holds(way: &SetWay, net: Net) -> bool {
    run("ipset", &["test", &way.set, &net.to_string()], "").is_ok()
}

fn restore(text: &str) -> Result<(), Error> {
    if text.is_empty() { Ok(()) } else { run("ipset", &["-exist", "restore"], text).map(drop) }
}
