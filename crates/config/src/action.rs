//! One action of a jail.
//!
//! Source: fail2ban `client/actionreader.py`.

use std::rc::Rc;

use stockade_wire::{Command, Value};

use crate::budget::Budget;
use crate::call::Call;
use crate::definition::Definition;
use crate::diagnostic::Problem;
use crate::filter::to_value;
use crate::ini::{Cell, Entry};
use crate::interpolate::computed;
use crate::options::ACTION;
use crate::ordered::Ordered;
use crate::resource::{Reader, Resource};

/// Tags that are left for the time of the ban.
const RUN_TIME: &[&str] = &["matches", "ipmatches", "ipjailmatches", "timeout", "bantime"];

/// One action of a jail, its options read.
#[derive(Debug)]
pub(crate) struct ActionCall {
    name: String,
    definition: Definition,
}

impl ActionCall {
    pub(crate) fn new(resource: Rc<Resource>, call: &Call, jail: &str) -> Self {
        let mut init: Ordered<Entry> = Ordered::default();
        for (key, value) in call.arguments.iter() {
            init.insert(key, computed(Cell::Text(value.clone())));
        }
        let name = call.arguments.get("name").map_or(jail, AsRef::as_ref);
        if !init.contains("name") {
            init.put("name", computed(Cell::text(jail)));
        }
        let action = match call.arguments.get("actname") {
            Some(given) => given.to_string(),
            None if name == jail => call.name.clone(),
            None => match name.strip_prefix(jail) {
                Some(suffix) => format!("{}{suffix}", call.name),
                None => format!("{}-{name}", call.name),
            },
        };
        if !init.contains("actname") {
            init.put("actname", computed(Cell::text(&action)));
        }
        ActionCall { name: action, definition: Definition::new(resource, ACTION, init) }
    }

    pub(crate) fn read(&mut self, jail: &Ordered<Entry>, reader: &mut Reader) -> Result<(), Problem> {
        self.definition.read(jail, false, reader)
    }

    /// Its name within the jail.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The commands that make it, and its substituted options.
    pub(crate) fn commands(
        &mut self,
        jail: &str,
        budget: &Budget,
        complain: impl FnMut(Problem),
    ) -> Result<(Vec<Command>, Ordered<Entry>), Problem> {
        let options = self.definition.combined(RUN_TIME, budget, complain)?;
        let is_row = |key: &str| ACTION.iter().any(|row| row.name == key);
        let mut properties: Vec<Value> = Vec::new();
        let mut add = |key: &str, entry: &Entry| {
            properties.push(Value::List(vec![key.into(), to_value(&entry.value)]));
        };
        for (key, entry) in options.iter().filter(|(key, _)| is_row(key)) {
            add(key, entry);
        }
        for (key, entry) in self.definition.init.iter() {
            if !is_row(key) && !key.starts_with("known/") {
                add(key, entry);
            }
        }
        let mut commands = vec![vec!["set".into(), jail.into(), "addaction".into(), self.name.as_str().into()]];
        let head =
            |word: &str| -> Command { vec![word.into(), jail.into(), "action".into(), self.name.as_str().into()] };
        if properties.len() > 1 {
            let mut command = head("multi-set");
            command.push(Value::List(properties));
            commands.push(command);
        } else if let Some(Value::List(pair)) = properties.pop() {
            let mut command = head("set");
            command.extend(pair);
            commands.push(command);
        }
        Ok((commands, options))
    }
}
