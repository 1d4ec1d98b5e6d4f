//! What part of the journal is read: `backend = systemd[...]` and `journalmatch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Error, Result};

/// Words of all matches together that are accepted.
const WORDS_MAX: usize = 4096;
/// Bytes of one word.
const WORD_BYTES_MAX: usize = 4096;

/// What part of the journal is read. [`Default`]: all of this machine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalOptions {
    /// One item per `journalmatch` line or `addjournalmatch` command, as its words: `FIELD=value`, and
    /// `+` between alternatives. Lines are alternatives too. Within one alternative different fields
    /// must all match, of equal fields one. Empty: every entry.
    pub matches: Vec<Vec<String>>,
    /// `journalpath`: a directory with journal files.
    pub path: Option<PathBuf>,
    /// `journalfiles`: globs of journal files.
    pub files: Vec<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `journalflags`: sum of 1 local, 2 runtime, 4 system, 8 current user.
    pub flags: Option<u32>,
    /// Read only entries of processes of these users (`_UID`, which can't be forged) and of the
    /// kernel; others are left out and counted. `None`: no such demand.
    pub trusted_uids: Option<Vec<u32>>,
    /// The program, instead of `journalctl` from `PATH`.
    pub program: Option<PathBuf>,
}

impl JournalOptions {
    /// What this part of the journal is called: `systemd-journal` and the words that choose it. The
    /// path of [`crate::Journal::key`]; equal for options that read the same.
    ///
    /// # Errors
    /// As [`crate::Journal::open`], as far as the options themselves are concerned.
    pub fn name(&self) -> Result<Arc<str>> {
        let (chosen, matches) = self.arguments()?;
        let words = chosen.iter().chain(&matches).map(|w| w.to_string_lossy());
        let name: Vec<_> = std::iter::once("systemd-journal".into()).chain(words).collect();
        Ok(name.join(" ").into())
    }

    /// Arguments that choose the journal and its entries; matches stand last.
    ///
    /// # Errors
    /// If a match is no match, or `journalctl` can't express an option.
    pub(crate) fn arguments(&self) -> Result<(Vec<OsString>, Vec<OsString>)> {
        let mut chosen = Vec::new();
        let places =
            [self.path.is_some(), !self.files.is_empty(), self.namespace.is_some()].into_iter().filter(|p| *p).count();
        if places > 1 {
            let value = self.path.as_ref().map_or_else(|| self.files.join(" "), |p| p.display().to_string());
            let why = "only one of journalpath, journalfiles and namespace can be followed";
            return Err(Error::BadOption { option: "journalpath", value, why });
        }
        if let Some(path) = &self.path {
            let mut argument = OsString::from("--directory=");
            argument.push(path);
            chosen.push(argument);
        }
        for file in &self.files {
            chosen.push(format!("--file={file}").into());
        }
        if let Some(namespace) = &self.namespace {
            let odd = |c: char| !(c.is_ascii_alphanumeric() || "_-.:+*@".contains(c));
            if namespace.is_empty() || namespace.contains(odd) {
                let why = "a namespace has letters, digits and -_.:@ only";
                return Err(Error::BadOption { option: "namespace", value: namespace.clone(), why });
            }
            chosen.push(format!("--namespace={namespace}").into());
        }
        if let Some(flags) = self.flags {
            chosen.extend(self.flag_arguments(flags, places > 0)?);
        }
        Ok((chosen, self.match_arguments()?))
    }

    fn flag_arguments(&self, flags: u32, has_place: bool) -> Result<Vec<OsString>> {
        let refuse = |why| Err(Error::BadOption { option: "journalflags", value: flags.to_string(), why });
        let mut out = Vec::new();
        if flags & !15 != 0 {
            return refuse("only 1, 2, 4, 8 and their sums can be followed");
        }
        if flags & 2 != 0 {
            if has_place {
                return refuse("runtime journals (2) can't be combined with another place");
            }
            out.push("--directory=/run/log/journal".into());
        } else if flags & 1 == 0 && !has_place {
            // Not local only: journals received from other machines too.
            out.push("--merge".into());
        }
        if flags & 4 != 0 {
            out.push("--system".into());
        }
        if flags & 8 != 0 {
            out.push("--user".into());
        }
        Ok(out)
    }

    /// All matches in `journalctl`'s syntax: one list of words with `+` between alternatives.
    fn match_arguments(&self) -> Result<Vec<OsString>> {
        let mut out: Vec<OsString> = Vec::new();
        for line in &self.matches {
            let mut joined = false;
            for word in line {
                if word == "+" {
                    joined = false;
                    continue;
                }
                check_word(word)?;
                if !joined && !out.is_empty() {
                    out.push("+".into());
                }
                joined = true;
                out.push(word.into());
                if out.len() > WORDS_MAX {
                    return Err(Error::BadMatch { word: word.clone(), why: "there are too many matches" });
                }
            }
        }
        Ok(out)
    }
}

fn check_word(word: &str) -> Result<()> {
    let refuse = |why| Err(Error::BadMatch { word: word.to_owned(), why });
    let Some((field, _)) = word.split_once('=') else { return refuse("it is not FIELD=value") };
    if word.len() > WORD_BYTES_MAX || word.contains('\0') {
        return refuse("it is too long or holds a zero byte");
    }
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if field.is_empty() || field.len() > 64 || !field.chars().all(good) || field.starts_with("__") {
        return refuse("a field name has capital letters, digits and _ only, and at most one _ in front");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &str) {
        let matches = lines.iter().map(|l| l.split_whitespace().map(String::from).collect()).collect();
        let options = JournalOptions { matches, ..JournalOptions::default() };
        let (_, words) = options.arguments().unwrap();
        let words: Vec<_> = words.iter().map(|w| w.to_str().unwrap()).collect();
        assert_eq!(words.join(" "), expected, "{lines:?}");
    }

    #[test]
    fn lines_and_plus_signs_are_alternatives() {
        check(&["A=1 B=2 + C=3"], "A=1 B=2 + C=3");
        check(&["A=1", "B=2 C=3"], "A=1 + B=2 C=3");
        check(&["+ A=1 + + B=2 +", "C=3"], "A=1 + B=2 + C=3");
        check(&["", "+"], "");
    }

    #[test]
    fn words_that_are_no_matches_are_refused() {
        for word in ["--file=/etc/shadow", "/usr/sbin/sshd", "A", "=x", "a=1", "__CURSOR=x", "-u=x"] {
            let options = JournalOptions { matches: vec![vec![word.into()]], ..JournalOptions::default() };
            assert!(matches!(options.arguments(), Err(Error::BadMatch { .. })), "{word}");
        }
    }

    #[test]
    fn options_that_journalctl_lacks_are_refused() {
        let base = JournalOptions::default();
        let show = |o: &JournalOptions| o.arguments().map(|(a, _)| a).map_err(|e| e.to_string());
        assert_eq!(
            show(&JournalOptions { flags: Some(12), ..base.clone() }),
            Ok(vec!["--merge".into(), "--system".into(), "--user".into()])
        );
        assert_eq!(show(&JournalOptions { flags: Some(5), ..base.clone() }), Ok(vec!["--system".into()]));
        assert_eq!(
            show(&JournalOptions { path: Some("/x".into()), ..base.clone() }),
            Ok(vec!["--directory=/x".into()])
        );
        assert!(show(&JournalOptions { flags: Some(16), ..base.clone() }).is_err());
        assert!(show(&JournalOptions { flags: Some(2), path: Some("/x".into()), ..base.clone() }).is_err());
        assert!(show(&JournalOptions { namespace: Some("a b".into()), ..base.clone() }).is_err());
        assert!(show(&JournalOptions { namespace: Some("a".into()), path: Some("/x".into()), ..base }).is_err());
    }
}
