//! What the words of `ignoreip` can mean, and findings about those that mean nothing.

use std::path::Path;

use stockade_core::FailureId;

use crate::diagnostic::{Findings, Problem, Severity};
use crate::ini::{Entry, shorten};
use crate::text::words;

/// Can this word of `ignoreip` ever match: is it an address, a network, `file:PATH` or a host name?
///
/// Source: the original keeps any other word, too, and compares it as text, which no address equals.
pub fn is_ignorable(word: &str) -> bool {
    word.starts_with("file:") || FailureId::parse(word).net().is_some() || could_be_a_name(word)
}

/// Letters, digits, hyphens and dots, and not only digits and dots.
fn could_be_a_name(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && word.contains(|c: char| c.is_alphabetic())
}

/// Warns of words that never match; the jail runs without them.
pub(crate) fn check(entry: &Entry, jail: &str, findings: &mut Findings) {
    let value = entry.value.as_text().unwrap_or("");
    let mut warn = |word: &str, why: String, help: &str| {
        let spot = entry.origin.spot(value, value.find(word).unwrap_or(0));
        findings.add(Severity::Warning, Some(jail), Problem::new(why).at(spot).help(help));
    };
    for word in words(value) {
        let shown = shorten(word);
        if word.starts_with('#') {
            let why =
                format!("ignoreip: '{shown}' does not begin a comment here; each word after it is one of the list");
            warn(word, why, "put the comment on a line of its own");
        } else if let Some(path) = word.strip_prefix("file:") {
            let path = format!("/{}", path.trim_start_matches('/'));
            if !Path::new(&path).is_file() {
                let why = format!("ignoreip: there is no file {}; nobody is ignored by it", shorten(&path));
                warn(word, why, "write the file, or take the word out");
            }
        } else if !is_ignorable(word) {
            let why = format!("ignoreip: '{shown}' is no address, network or host name, and is left out");
            warn(word, why, "write for example 192.0.2.1 or 192.0.2.0/24");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_ignorable;

    #[test]
    fn only_what_may_match_is_kept() {
        for word in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "office", "a.example", "file:/x"] {
            assert!(is_ignorable(word), "{word}");
        }
        for word in ["#", "10.0.0.0/40", "2001:db8::/200", "300.1.1.1", "192.0.2.*", "*", "http://x/", "fe80::1%eth0"] {
            assert!(!is_ignorable(word), "{word}");
        }
    }
}
