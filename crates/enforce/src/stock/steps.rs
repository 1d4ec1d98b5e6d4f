//! What a text of an action comes down to: programs with their arguments, in order.
//!
//! Loops over lists that are known beforehand are unrolled, `$(echo .. | sed ..)`
//! and comparisons of known words are worked out. What is left depends on the
//! machine, and is compared with the shapes of stock actions.

use std::collections::HashMap;

use super::shell::{List, Node, Piece, Quiet, TAGS, What, Word};

/// One step, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A program and its arguments.
    Run(Vec<String>, Quiet),
    /// Each one's output is the next one's input.
    Pipe(Vec<Step>),
    /// The second only if the first fails.
    Either(Box<Step>, Box<Step>),
    /// The second only if the first does not fail.
    Both(Box<Step>, Box<Step>),
    /// Several steps in the place of one.
    Group(Vec<Step>),
    /// The steps for each line of the input; `$NAME` stands in their arguments.
    EachLine(String, Vec<Step>),
}

/// An argument that stands for the time of a ban, as far as ipset can count: see [`bantime_up_to`].
const BANTIME_UP_TO: &str = "<bantime> up to ";

/// The variables that are known.
#[derive(Clone, Debug, Default)]
struct Known(HashMap<String, String>);

/// Works a text out.
///
/// # Errors
///
/// What can't be known beforehand, in words.
pub(super) fn steps(list: &List) -> Result<Vec<Step>, String> {
    run(list, &Known::default())
}

/// The bound in an argument `$([ "<bantime>" -le BOUND ] && echo "<bantime>" || echo 0)`.
pub(super) fn bantime_up_to(argument: &str) -> Option<u64> {
    argument.strip_prefix(BANTIME_UP_TO)?.parse().ok()
}

fn run(list: &List, known: &Known) -> Result<Vec<Step>, String> {
    let mut all = Vec::new();
    for node in list {
        match node {
            Node::For(name, words, body) => {
                let mut inner = known.clone();
                for value in fields(words, known)? {
                    inner.0.insert(name.clone(), value);
                    all.extend(run(body, &inner)?);
                }
            }
            Node::If(condition, then, other) => {
                let branch = if test(condition, known)? { then } else { other };
                all.extend(run(branch, known)?);
            }
            other => all.push(step(other, known)?),
        }
    }
    Ok(all)
}

fn step(node: &Node, known: &Known) -> Result<Step, String> {
    Ok(match node {
        Node::Run(words, quiet) => Step::Run(fields(words, known)?, *quiet),
        Node::Pipe(list) => Step::Pipe(list.iter().map(|n| step(n, known)).collect::<Result<_, _>>()?),
        Node::Both(a, b) => Step::Both(Box::new(step(a, known)?), Box::new(step(b, known)?)),
        Node::Either(a, b) => Step::Either(Box::new(step(a, known)?), Box::new(step(b, known)?)),
        Node::Group(list) => {
            let mut inner = run(list, known)?;
            match (inner.len(), inner.pop()) {
                (1, Some(only)) => only,
                (_, last) => Step::Group(inner.into_iter().chain(last).collect()),
            }
        }
        Node::EachLine(name, body) => {
            let mut inner = known.clone();
            inner.0.insert(name.clone(), format!("${name}"));
            Step::EachLine(name.clone(), run(body, &inner)?)
        }
        Node::For(..) | Node::If(..) => return Err("a loop or a choice inside of a chain of commands".to_owned()),
    })
}

/// `[ A = B ]` and `[ A != B ]` of known words.
fn test(condition: &List, known: &Known) -> Result<bool, String> {
    if let [Node::Run(words, quiet)] = condition.as_slice()
        && *quiet == Quiet::default()
        && let [open, a, op, b, close] = fields(words, known)?.as_slice()
        && (open.as_str(), close.as_str()) == ("[", "]")
        && [a, b].iter().all(|word| !word.is_empty() && is_plain(word))
    {
        match op.as_str() {
            "=" => return Ok(a == b),
            "!=" => return Ok(a != b),
            _ => {}
        }
    }
    Err("a condition that can't be known beforehand".to_owned())
}

/// The arguments that words become.
fn fields(words: &[Word], known: &Known) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for word in words {
        let (mut open, mut current) = (false, String::new());
        for (i, piece) in word.0.iter().enumerate() {
            let Piece { what, quoted } = piece;
            let value = match what {
                What::Text(text) if *quoted => {
                    open = true;
                    current.push_str(text);
                    continue;
                }
                What::Text(text) => {
                    check_plain(text, i == 0, word.0.len() == 1)?;
                    open = true;
                    current.push_str(text);
                    continue;
                }
                What::Variable(name) => {
                    known.0.get(name).cloned().ok_or_else(|| format!("the variable ${name}, which nobody sets"))?
                }
                What::Output(list) => output(list, known)?,
            };
            if *quoted {
                open = true;
                current.push_str(&value);
                continue;
            }
            if value.contains(['*', '?', '[', '\\']) || value.starts_with('~') {
                return Err(format!("'{value}', which the shell would take for a pattern"));
            }
            // One field of its own, whatever it looks like.
            if value.starts_with(BANTIME_UP_TO) {
                if word.0.len() > 1 {
                    return Err("a time inside of a word".to_owned());
                }
                all.push(value);
                continue;
            }
            for (part, text) in value.split([' ', '\t', '\n']).enumerate() {
                if part > 0 && std::mem::take(&mut open) {
                    all.push(std::mem::take(&mut current));
                }
                open |= !text.is_empty();
                current.push_str(text);
            }
        }
        if open {
            all.push(current);
        }
    }
    Ok(all)
}

/// Unquoted text in which no shell sees more than its letters.
fn check_plain(text: &str, first: bool, alone: bool) -> Result<(), String> {
    let bare = TAGS.iter().fold(text.to_owned(), |text, tag| text.replace(tag, ""));
    // Some shells make several words of `a{b,c}`; a brace alone is one everywhere.
    // A bracket alone is the name of a command or its end.
    let braces = bare.contains(['{', '}']) && !(alone && bare.len() == 1);
    let brackets = bare.contains(['[', ']']) && !(alone && bare.len() == 1);
    if braces || brackets || bare.contains(['*', '?']) || (first && bare.starts_with('~')) {
        return Err(format!("'{text}', which the shell may take for a pattern"));
    }
    Ok(())
}

/// Letters, digits and what stands in lists of ports and protocols.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ',' | ':' | '/' | '+' | ' '))
}

/// What `$(..)` yields, for the two forms that can be known beforehand.
fn output(list: &List, known: &Known) -> Result<String, String> {
    let unknown = || "the output of commands that can't be known beforehand".to_owned();
    match list.as_slice() {
        [Node::Pipe(parts)] => {
            let [Node::Run(echo, q1), Node::Run(sed, q2)] = parts.as_slice() else { return Err(unknown()) };
            let (echo, sed) = (fields(echo, known)?, fields(sed, known)?);
            let Some(("echo", words)) = echo.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
                return Err(unknown());
            };
            let dash = words.first().is_some_and(|word| word.starts_with('-'));
            if [*q1, *q2] != [Quiet::default(); 2] || dash || !words.iter().all(|word| is_plain(word)) {
                return Err(unknown());
            }
            let [program, expression] = sed.as_slice() else { return Err(unknown()) };
            if program != "sed" {
                return Err(unknown());
            }
            replaced(&words.join(" "), expression).ok_or_else(unknown)
        }
        [node] => bounded_bantime(&step(node, known)?).ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

/// What `sed s/a/b/` or `sed s/a/b/g` makes of a line, for single plain characters.
fn replaced(line: &str, expression: &str) -> Option<String> {
    let mut parts = expression.strip_prefix("s/")?.split('/');
    let (from, to, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let single = |text: &str| text.chars().count() == 1 && is_plain(text) && text != ".";
    if parts.next().is_some() || !single(from) || !single(to) {
        return None;
    }
    match flags {
        "g" => Some(line.replace(from, to)),
        "" => Some(line.replacen(from, to, 1)),
        _ => None,
    }
}

/// `[ "<bantime>" -le N ] && echo "<bantime>" || echo 0`
fn bounded_bantime(step: &Step) -> Option<String> {
    let Step::Either(both, zero) = step else { return None };
    let Step::Both(test, yes) = both.as_ref() else { return None };
    let [test, yes, zero] = [test.as_ref(), yes.as_ref(), zero.as_ref()].map(|step| match step {
        Step::Run(argv, quiet) if *quiet == Quiet::default() => argv.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    });
    let ["[", "<bantime>", "-le", bound, "]"] = test.as_slice() else { return None };
    let plain = yes == ["echo", "<bantime>"] && zero == ["echo", "0"];
    let number = !bound.is_empty() && bound.len() < 18 && bound.chars().all(|c| c.is_ascii_digit());
    (plain && number).then(|| format!("{BANTIME_UP_TO}{bound}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stock::shell::parse;

    fn of(text: &str) -> Result<Vec<Step>, String> {
        steps(&parse(text)?)
    }

    fn argvs(text: &str) -> Vec<Vec<String>> {
        of(text)
            .unwrap()
            .into_iter()
            .map(|step| match step {
                Step::Run(argv, _) => argv,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn loops_and_known_choices_are_worked_out() {
        assert_eq!(
            argvs("for p in $(echo 'a,b' | sed 's/,/ /g'); do\nx $p 1\ndone"),
            [["x", "a", "1"], ["x", "b", "1"]]
        );
        assert_eq!(argvs("x $(echo '1:2,3:4' | sed s/:/-/g) \\{ y\\; \\}"), [["x", "1-2,3-4", "{", "y;", "}"]]);
        assert_eq!(argvs("x $(echo '1:2,3:4' | sed s/:/-/)"), [["x", "1-2,3:4"]]);
        assert_eq!(argvs("if [ 'tcp' != \"all\" ]; then\nx\nelse\ny\nfi"), [["x"]]);
        assert_eq!(argvs("if [ all != all ]; then x; else y; fi"), [["y"]]);
        assert_eq!(argvs("x '' a\"b\"c <ip>"), [["x", "", "abc", "<ip>"]]);
        let bounded = argvs("x $([ \"<bantime>\" -le 2147483 ] && echo \"<bantime>\" || echo 0)");
        assert_eq!(bantime_up_to(&bounded[0][1]), Some(2_147_483));
    }

    #[test]
    fn what_depends_on_the_machine_is_refused() {
        for text in [
            "x $y",
            "x `y`",
            "x *",
            "x ~",
            "x a{b,c}",
            "y=1 x",
            "x > /tmp/y",
            "x < y",
            "x &",
            "(x)",
            "x $(y)",
            "x # y",
            "! x",
            "case x in x) ;; esac",
            "x $(echo '*' | sed s/a/b/)",
            "x $(echo a | sed s/./b/)",
            "x <matches>",
            "x 'a",
            "x \\",
            "{ x }",
            "for a in b; do done",
            "if x; then y; fi",
            "x 2>&1",
            "x >/dev/nullx",
            "x ;; y",
            "x $((1))",
            "for y in a; do x $ y; done",
            "\"x\" y",
            "x '<' y",
            "{ x; } >/dev/null",
            "x [a]",
            "x $(echo -n a | sed s/a/b/)",
        ] {
            assert!(of(text).is_err(), "{text}: {:?}", of(text));
        }
    }
}
