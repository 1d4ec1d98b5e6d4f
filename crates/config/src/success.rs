//! `stockade.success` of a filter: lines of its log that tell of somebody who got what he wanted.
//!
//! By them a proxy is told from an attacker (see the daemon's `relay`). The option
//! stands in a filter's `[Definition]` and is written like failregex, one pattern
//! a line, for the whole line without its date: no prefregex stands before it. A
//! filter without it has those of ours of the same name, so that the stock tree
//! needs no change.

use std::collections::BTreeSet;
use std::rc::Rc;

use stockade_wire::{Command, Value};

use crate::call::Call;
use crate::context::{Context, FilterTexts};
use crate::definition::Definition;
use crate::diagnostic::Problem;
use crate::ini::Entry;
use crate::options::OptionRow;
use crate::ordered::Ordered;
use crate::resource::{Reader, Resource};
use crate::tree::{Tree, TreeSource, join};

/// The option's name.
pub(crate) const NAME: &str = "stockade.success";

/// The patterns of a jail's filter.
#[derive(Debug, Default)]
pub(crate) struct Success {
    entry: Option<Entry>,
    /// Those that can't be used.
    faulty: BTreeSet<usize>,
}

impl Success {
    /// Reads them: the filter's own, else those of our filter of that name.
    ///
    /// # Errors
    /// If the filter is too large to be expanded.
    pub(crate) fn read(
        filter: &Rc<Resource>,
        call: &Call,
        init: &Ordered<Entry>,
        reader: &mut Reader,
    ) -> Result<Success, Problem> {
        if filter.has_own("Definition", NAME) {
            return of(filter, init.clone(), reader);
        }
        let mut ours = Reader::new(Tree::new(&TreeSource::Embedded));
        match ours.resource(&join("filter.d", &call.name)).filter(|ours| ours.has_own("Definition", NAME)) {
            Some(filter) => of(&filter, Ordered::default(), &mut ours),
            None => Ok(Success::default()),
        }
    }

    /// The patterns, one each.
    fn patterns(&self) -> impl Iterator<Item = &str> {
        let text = self.entry.as_ref().and_then(|entry| entry.value.as_text()).unwrap_or("");
        text.split('\n').filter(|line| !line.is_empty())
    }

    /// `set JAIL stockade.success PATTERN ..`, if there are any that can be used.
    pub(crate) fn command(&self, jail: &str) -> Option<Command> {
        let mut good = self.patterns().enumerate().filter(|(n, _)| !self.faulty.contains(n)).peekable();
        good.peek()?;
        let words = ["set", jail, NAME].into_iter().chain(good.map(|(_, pattern)| pattern));
        Some(words.map(Value::from).collect())
    }

    /// What is wrong with them; those are without effect, and the others and the jail go on.
    pub(crate) fn faults(&mut self, context: &Context<'_>) -> Vec<Problem> {
        let Some(checker) = context.checker else { return Vec::new() };
        let texts = FilterTexts { failregex: self.patterns().collect(), ..FilterTexts::default() };
        let faults = checker.check(&texts);
        self.faulty = faults.iter().map(|fault| fault.index).collect();
        let told = faults.into_iter().map(|fault| {
            let pattern = self.patterns().nth(fault.index).unwrap_or("");
            let problem = Problem::new(format!("{NAME}: {}; it is without effect: {pattern}", fault.message));
            problem.at(self.entry.as_ref().and_then(|entry| entry.origin.name_spot()))
        });
        told.collect()
    }
}

/// The option of one filter, its tags replaced.
fn of(filter: &Rc<Resource>, init: Ordered<Entry>, reader: &mut Reader) -> Result<Success, Problem> {
    let mut definition = Definition::new(Rc::clone(filter), ROWS, init);
    definition.read(&Ordered::default(), true, reader)?;
    let combined = definition.combined(&[], &reader.budget, |_| {})?;
    Ok(Success { entry: combined.get(NAME).cloned(), ..Success::default() })
}

/// Nothing of it is converted.
const ROWS: &[OptionRow] = &[];
