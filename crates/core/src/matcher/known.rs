//! Regexes that some jail has already: what is written alike is read once and shared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_pattern::{Error, Flags, Regex, WeakRegex};

/// From so many texts on those that nobody has any more are left out, each time twice as many as are left.
const TIDY_FROM: usize = 256;

/// The regexes that somebody has. It keeps none alive.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Texts>);

#[derive(Debug, Default)]
struct Texts {
    regexes: BTreeMap<Arc<str>, Vec<WeakRegex>>,
    tidy_at: usize,
}

impl Known {
    /// The regex of that text, shared with those who have it.
    ///
    /// # Errors
    /// Its text is no regular expression.
    pub(super) fn regex(&self, text: &str, flags: Flags) -> Result<Regex, Error> {
        if let Some(known) = self.find(text, flags) {
            return Ok(known);
        }
        // Not while others wait: it takes its time.
        let regex = Regex::new(text, flags)?;
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        texts.add(&regex);
        Ok(regex)
    }

    fn find(&self, text: &str, flags: Flags) -> Option<Regex> {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        texts.regexes.get(text)?.iter().filter_map(WeakRegex::upgrade).find(|regex| regex.flags() == flags)
    }
}

impl Texts {
    fn add(&mut self, regex: &Regex) {
        if self.regexes.len() >= self.tidy_at.max(TIDY_FROM) {
            self.regexes.retain(|_, regexes| regexes.iter().any(|regex| regex.upgrade().is_some()));
            self.tidy_at = self.regexes.len() * 2;
        }
        let same = self.regexes.entry(regex.text()).or_default();
        same.retain(|known| known.upgrade().is_some());
        same.push(regex.downgrade());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shared_by_those_who_have_it_and_not_kept() {
        let known = Known::default();
        let multiline = Flags { multiline: true, ..Flags::default() };
        let one = known.regex("a+", Flags::default()).unwrap();
        let same = known.regex("a+", Flags::default()).unwrap();
        let other = known.regex("a+", multiline).unwrap();
        assert!(Arc::ptr_eq(&one.text(), &same.text()));
        assert!(!Arc::ptr_eq(&one.text(), &other.text()));
        drop((one, same));
        assert!(known.find("a+", Flags::default()).is_none());
        assert_eq!(known.find("a+", multiline).unwrap().flags(), multiline);
        assert!(known.regex("(", Flags::default()).is_err());
        for n in 0..10 * TIDY_FROM {
            known.regex(&n.to_string(), Flags::default()).unwrap();
        }
        let texts = known.0.lock().unwrap();
        assert!(texts.regexes.len() <= TIDY_FROM, "{}", texts.regexes.len());
        assert!(texts.regexes.contains_key("a+"));
    }
}
