//! The tags of failregex, ignoreregex and prefregex: `<HOST>`, `<F-USER>`, `<SKIPLINES>` and the rest.
//!
//! Source: fail2ban `server/failregex.py`; a tag is `<name>`, `</name>` or
//! `<name/>` of word characters and `-`. What is no known tag stays as it is.

use super::filter::UseDns;

/// An IPv4 address, or its IPv4-mapped IPv6 form, of which only the IPv4 part is captured.
const IP4: &str = r"(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})";
/// An IPv6 address. The look-behind is always true (each turn of the loop ends
/// in a colon); it is kept because operators see this text in `get JAIL failregex`.
const IP6: &str = r"(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))";
/// A host name.
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
/// The length of a network prefix.
const CIDR: &str = r"(?P<cidr>\d+)";

/// `pattern` with every known tag replaced by the regular expression it stands for.
///
/// With [`UseDns::No`] `<HOST>` matches addresses only. A closing tag is
/// replaced only behind an opening one of the same name.
pub(super) fn expand(pattern: &str, usedns: UseDns) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut open: Vec<&str> = Vec::new();
    let mut skips = 0_u32;
    let mut rest = pattern;
    while let Some((before, from)) = rest.find('<').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let Some((tag, name, after)) = split_tag(from) else {
            out.push('<');
            rest = from.strip_prefix('<').unwrap_or("");
            continue;
        };
        rest = after;
        match fixed(name, usedns) {
            Some(text) => out.push_str(&text),
            None if name == "SKIPLINES" => {
                out.push_str(&format!(r"\n(?P<skiplines{skips}>(?:(?:.*\n)*?))"));
                skips += 1;
            }
            None => match custom(name) {
                Some((true, name)) if open.contains(&name) => out.push(')'),
                Some((false, name)) => {
                    open.push(name);
                    out.push_str(&format!("(?P<{}>", group_name(name)));
                }
                _ => out.push_str(tag),
            },
        }
    }
    out.push_str(rest);
    out
}

/// The group that a tag of this name fills: lower case, `ID` and `PORT` under their own names.
pub(super) fn group_name(tag: &str) -> String {
    match tag.to_lowercase().as_str() {
        "id" => "fid".to_owned(),
        "port" => "fport".to_owned(),
        name => name.to_owned(),
    }
}

/// Cuts a whole tag off the start of `text`, which begins with `<`: the tag,
/// what stands between its brackets, and the rest.
fn split_tag(text: &str) -> Option<(&str, &str, &str)> {
    let inner = text.strip_prefix('<')?;
    let body = inner.strip_prefix('/').unwrap_or(inner);
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))?;
    if end == 0 {
        return None;
    }
    let tail = body.get(end..)?;
    let after = tail.strip_prefix("/>").or_else(|| tail.strip_prefix('>'))?;
    let tag = text.get(..text.len() - after.len())?;
    let name = tag.strip_prefix('<')?.strip_suffix('>')?;
    Some((tag, name, after))
}

/// The tags that stand for one and the same text each time.
fn fixed(name: &str, usedns: UseDns) -> Option<String> {
    let addr = || format!(r"\[?(?:{IP4}|{IP6})\]?");
    Some(match name {
        "IP4" | "F-IP4/" => IP4.to_owned(),
        "IP6" | "F-IP6/" => IP6.to_owned(),
        "DNS" | "F-DNS/" => DNS.to_owned(),
        "CIDR" | "F-CIDR/" => CIDR.to_owned(),
        "ADDR" | "F-ADDR/" => addr(),
        "HOST" if usedns == UseDns::No => addr(),
        "HOST" => format!("(?:{}|{DNS})", addr()),
        "SUBNET" | "F-SUBNET/" => format!(r"\[?(?:{IP4}|{IP6})(?:/{CIDR})?\]?"),
        "F-ID/" => r"(?P<fid>\S+)".to_owned(),
        "F-PORT/" => r"(?P<fport>\w+)".to_owned(),
        _ => return None,
    })
}

/// `F-NAME` or `/F-NAME`: is it the closing one, and NAME.
fn custom(name: &str) -> Option<(bool, &str)> {
    let (closing, name) = match name.strip_prefix('/') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let name = name.strip_prefix("F-")?;
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (!name.is_empty() && name.bytes().all(fits)).then_some((closing, name))
}

/// Flags written as `((?i)x)` or `(?:(?i)x)` become `(?i:x)`, because Python
/// refuses global flags that do not stand at the very start.
pub(super) fn localise_flags(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut escaped = false;
    while let Some(c) = rest.chars().next() {
        if c == '(' && !escaped {
            let inner = rest.strip_prefix("(?:").filter(|t| t.starts_with("(?"));
            if let Some((flags, after)) = inner.or_else(|| rest.strip_prefix('(')).and_then(flag_group) {
                out.push_str("(?");
                out.push_str(flags);
                out.push(':');
                escaped = false;
                rest = after;
                continue;
            }
        }
        // The original looks at one preceding character only, whatever it is part of.
        escaped = c == '\\';
        out.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or("");
    }
    out
}

/// Cuts `(?letters)` off the start: the letters and the rest.
pub(super) fn flag_group(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix("(?")?;
    let (letters, after) = inner.split_once(')')?;
    (!letters.is_empty() && letters.bytes().all(|b| b.is_ascii_lowercase())).then_some((letters, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        assert_eq!(expand(input, UseDns::Warn), expected, "{input}");
    }

    #[test]
    fn named_groups_open_and_close() {
        check(r"user <F-USER>\S+|.*?</F-USER>$", r"user (?P<user>\S+|.*?)$");
        check("<F-ID>a</F-ID> <F-PORT/>", r"(?P<fid>a) (?P<fport>\w+)");
        check("<F-ALT_USER1>x</F-ALT_USER1>", "(?P<alt_user1>x)");
        check("a</F-USER>", "a</F-USER>");
    }

    #[test]
    fn what_is_no_known_tag_stays() {
        for text in ["<foo>", "<F-id>", "<F-X/>", "<>", "< HOST>", "a<b", "<W> \\<HOST", "x <"] {
            check(text, text);
        }
    }

    #[test]
    fn lines_to_skip_are_numbered() {
        check("^a<SKIPLINES>b<SKIPLINES>c", r"^a\n(?P<skiplines0>(?:(?:.*\n)*?))b\n(?P<skiplines1>(?:(?:.*\n)*?))c");
    }

    #[test]
    fn a_host_may_be_a_name_unless_names_are_off() {
        assert!(expand("<HOST>", UseDns::Warn).contains("?P<dns>"));
        assert!(expand("<HOST>", UseDns::Raw).contains("?P<dns>"));
        assert_eq!(expand("<HOST>", UseDns::No), expand("<ADDR>", UseDns::Yes));
        assert!(expand("<SUBNET>", UseDns::No).contains("(?:/(?P<cidr>"));
        assert!(expand("<DNS>", UseDns::No).contains("?P<dns>"));
    }

    #[test]
    fn leading_flags_of_a_group_become_its_own() {
        for (from, to) in [
            ("((?i)abc)d", "(?i:abc)d"),
            ("(?:(?i)abc)", "(?i:abc)"),
            (r"\((?i)x", r"\((?i)x"),
            ("(?i)x", "(?i)x"),
            ("((?:a))", "((?:a))"),
        ] {
            assert_eq!(localise_flags(from), to, "{from}");
        }
    }
}
