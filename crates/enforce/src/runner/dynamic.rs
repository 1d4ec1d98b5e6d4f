//! The last step before a shell: values of the ban in the command's text.
//!
//! Source: fail2ban `server/action.py`, `replaceDynamicTags`, and
//! `server/utils.py`, `buildShellCmd`. A value with a character that means
//! something to a shell is never pasted: the text gets a variable, and the
//! value travels as an argument.

use super::message::Values;
use crate::actions::{is_special, tags};

/// A longer value is never pasted, harmless or not: the kernel takes no text of
/// 128 KiB, and a ban must not fail because of a long line.
const PASTED_BYTES_MAX: usize = 16 << 10;

/// What a shell is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// `sh -c` this.
    pub(super) text: String,
    /// `$0`, `$1` ...
    pub(super) arguments: Vec<String>,
}

impl Script {
    /// A text without values.
    pub(super) fn plain(text: impl Into<String>) -> Script {
        Script { text: text.into(), arguments: Vec::new() }
    }
}

/// The text with its tags replaced, once: what was put in is not looked at again.
/// `rest` knows tags that cost something, and is asked only for those that occur.
pub(super) fn fill(text: &str, values: &Values, rest: &mut dyn FnMut(&str) -> Option<String>) -> Script {
    let mut variables = Variables::default();
    let mut filled = tags::replace(text, |tag| match values.get(tag) {
        Some(value) => Some(variables.put(tag, value.to_owned())),
        None => match tag {
            "br" => Some("\n".to_owned()),
            "sp" => Some(" ".to_owned()),
            _ => rest(tag).map(|value| variables.put(tag, value)),
        },
    });
    if filled.contains("<F-") {
        filled = tags::replace(&filled, |tag| {
            let name = tag.strip_prefix("F-").filter(|name| !name.is_empty() && name.bytes().all(is_group_byte))?;
            let name = match name.to_ascii_lowercase().as_str() {
                "id" => "fid".to_owned(),
                "port" => "fport".to_owned(),
                other => other.to_owned(),
            };
            let value = values.groups.iter().find(|(known, _)| *known == name);
            Some(value.map_or_else(String::new, |(_, value)| variables.put(&format!("F_{name}"), value.clone())))
        });
    }
    variables.script(filled)
}

/// The text with this machine's own names, and nothing else, put in: of a ban it knows nothing.
pub(super) fn fill_own_names(text: &str, rest: &mut dyn FnMut(&str) -> Option<String>) -> Script {
    let mut variables = Variables::default();
    let filled = tags::replace(text, |tag| match tag {
        "fq-hostname" | "sh-hostname" => rest(tag).map(|value| variables.put(tag, value)),
        _ => None,
    });
    variables.script(filled)
}

/// Values that a shell could take for something else: they travel as arguments.
#[derive(Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    /// What stands in the text for a value: itself, or the name of a variable.
    fn put(&mut self, name: &str, value: String) -> String {
        if !value.contains(is_special) && value.len() <= PASTED_BYTES_MAX {
            return value;
        }
        let name = format!("f2bV_{}", name.replace(|c: char| !c.is_alphanumeric() && c != '_', "_"));
        let variable = format!("${name}");
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
        variable
    }

    fn script(self, filled: String) -> Script {
        if self.0.is_empty() {
            return Script::plain(filled);
        }
        let (mut head, mut arguments) = (String::new(), Vec::new());
        for (n, (name, value)) in self.0.into_iter().enumerate() {
            // Behind $9 a shell wants braces.
            head.push_str(&if n < 10 { format!("{name}=${n} ") } else { format!("{name}=${{{n}}} ") });
            arguments.push(value);
        }
        Script { text: format!("{head}\n{filled}"), arguments }
    }
}

fn is_group_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_no_command() {
        let name = |_: &str| Some("a$(reboot)".to_owned());
        for script in [
            fill("echo <sh-hostname>", &Values::default(), &mut { name }),
            fill_own_names("echo <sh-hostname>", &mut { name }),
        ] {
            assert_eq!(script.text, "f2bV_sh_hostname=$0 \necho $f2bV_sh_hostname");
            assert_eq!(script.arguments, ["a$(reboot)"]);
        }
    }

    fn values(tags: &[(&str, &str)], groups: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in tags {
            values.tag(name, *value);
        }
        for (name, value) in groups {
            values.group(name, *value);
        }
        values
    }

    #[test]
    fn dangerous_values_travel_as_arguments() {
        let values = values(&[("matches", "l'1\nl2"), ("ip", "192.0.2.1")], &[("user", "bob; rm")]);
        let script = fill("i=<ip> m=<matches> u=<F-USER>", &values, &mut |_| None);
        assert_eq!(script.text, "f2bV_matches=$0 f2bV_F_user=$1 \ni=192.0.2.1 m=$f2bV_matches u=$f2bV_F_user");
        assert_eq!(script.arguments, ["l'1\nl2", "bob; rm"]);
    }

    #[test]
    fn harmless_values_are_pasted_and_unknown_tags_stay() {
        let values = values(&[("jail.banned", "a b")], &[("fid", "x"), ("fport", "22")]);
        let script = fill("<jail.banned> <F-ID> <F-PORT> <F-NONE> <other> <F-lower>", &values, &mut |_| None);
        assert_eq!(script, Script::plain("a b x 22  <other> <F-lower>"));
    }

    #[test]
    fn what_was_put_in_is_not_looked_at_again() {
        let values = values(&[("ip", "<fid>"), ("fid", "1")], &[]);
        let script = fill("<ip> <fid>", &values, &mut |_| None);
        assert_eq!((script.text.as_str(), script.arguments.len()), ("f2bV_ip=$0 \n$f2bV_ip 1", 1));
    }

    #[test]
    fn more_than_ten_variables_are_counted_with_braces() {
        let mut all = Values::default();
        let text: String = (0..12).map(|n| format!("<t{n}>")).collect();
        for n in 0..12 {
            all.tag(&format!("t{n}"), format!("${n}"));
        }
        let script = fill(&text, &all, &mut |_| None);
        assert!(script.text.contains("f2bV_t9=$9 f2bV_t10=${10} f2bV_t11=${11} \n"), "{}", script.text);
    }
}
