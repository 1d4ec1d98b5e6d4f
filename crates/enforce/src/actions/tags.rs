//! `<tag>` in a text.

use stockade_core::text::find_tag;

/// All tags of a text, in order.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (_, name, end) = find_tag(text, from)?;
        from = end;
        Some(name)
    })
}

/// `text` with each tag for which `value` has something replaced, once; what
/// was put in is not looked at again.
pub fn replace(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut from, mut copied) = (0, 0);
    while let Some((start, name, end)) = find_tag(text, from) {
        from = end;
        if let Some(value) = value(name) {
            out.push_str(text.get(copied..start).unwrap_or_default());
            out.push_str(&value);
            copied = end;
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_no_blanks_and_no_brackets_inside() {
        let all = |text: &'static str| names(text).collect::<Vec<_>>().join("|");
        assert_eq!(all("a <b> <c d> <e<f>> <> <g"), "b|f");
        assert_eq!(all("x << y <z>\n<a\nb>"), "z|a\nb");
        assert_eq!(replace("<a> <b> <a>", |name| (name == "a").then(|| "<b>".to_owned())), "<b> <b> <b>");
    }
}
