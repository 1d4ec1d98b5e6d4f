//! Tries a filter's patterns with the matcher that will run them.

use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterError, FilterSpec, UseDns};

use crate::context::{FilterCheck, FilterFault, FilterTexts};

/// Compiles regexes and date patterns as the daemon would, and names every one
/// that it would refuse.
///
/// It keeps what it compiled: as long as it lives, filters of the same calendar share those patterns.
#[derive(Debug)]
pub struct CompileCheck {
    calendar: Arc<Calendar>,
    kept: Mutex<Vec<Filter>>,
}

impl CompileCheck {
    /// With the calendar that date patterns are compiled for.
    pub fn new(calendar: Arc<Calendar>) -> Self {
        CompileCheck { calendar, kept: Mutex::default() }
    }
}

impl FilterCheck for CompileCheck {
    fn check(&self, texts: &FilterTexts<'_>) -> Vec<FilterFault> {
        let owned = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let mut spec = FilterSpec {
            prefregex: texts.prefregex.map(str::to_owned),
            failregex: owned(&texts.failregex),
            ignoreregex: owned(&texts.ignoreregex),
            datepattern: texts.datepattern.map_or(DatePattern::Default, |t| DatePattern::Text(t.to_owned())),
            maxlines: texts.maxlines.unwrap_or(1),
            logtimezone: texts.logtimezone.map(str::to_owned),
            usedns: texts.usedns.map_or(UseDns::Warn, |t| UseDns::parse(t).unwrap_or(UseDns::No)),
            ..FilterSpec::default()
        };
        let mut faults = Vec::new();
        // The compiler stops at the first fault: take that pattern out and try again.
        let mut removed: Vec<(&'static str, usize)> = Vec::new();
        loop {
            let error = match Filter::compile(&spec, &self.calendar) {
                Ok(filter) => {
                    self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(filter);
                    break;
                }
                Err(error) => error,
            };
            let before = |option: &str, at: usize| removed.iter().filter(|(o, i)| *o == option && *i <= at).count();
            let mut index = error.index as usize;
            while before(error.option, index) != index - (error.index as usize) {
                index += 1;
            }
            removed.push((error.option, index));
            if !take_out(&mut spec, &error) || faults.len() > 1_000 {
                faults.push(fault(error, index));
                break;
            }
            faults.push(fault(error, index));
        }
        faults
    }
}

fn fault(error: FilterError, index: usize) -> FilterFault {
    FilterFault { option: error.option, index, message: error.message, position: error.position, warning: false }
}

/// Removes the pattern at fault; says whether there was one to remove.
fn take_out(spec: &mut FilterSpec, error: &FilterError) -> bool {
    let at = error.index as usize;
    match error.option {
        "prefregex" => spec.prefregex.take().is_some(),
        "failregex" if at < spec.failregex.len() => {
            spec.failregex.remove(at);
            true
        }
        "ignoreregex" if at < spec.ignoreregex.len() => {
            spec.ignoreregex.remove(at);
            true
        }
        "datepattern" => std::mem::take(&mut spec.datepattern) != DatePattern::Default,
        "logtimezone" => spec.logtimezone.take().is_some(),
        "maxlines" => std::mem::replace(&mut spec.maxlines, 1) != 1,
        _ => false,
    }
}
