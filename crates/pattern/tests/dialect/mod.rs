//! A generator of patterns in Python's dialect, with texts they are likely to match.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "test support, shared by several tests"
)]

use std::collections::BTreeMap;

/// A small random number generator (xorshift64*).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const ASCII: &[char] = &['a', 'b', 'c', 'A', 'B', '1', '2', ' ', ':', '\n', '.', '-', '_', 'k', 's'];
const WIDE: &[char] = &[
    'a', 'b', 'A', '1', ' ', ':', '\n', '\u{fffd}', 'é', 'É', '٣', '²', 'ſ', 'K', 'ß', 'ẞ', 'σ', 'ς', 'Σ', '\u{1c}',
    '\u{301}', '\u{2028}', '漢', '😀', '𐐀', '𐐨', 'ı', 'İ', '\u{85}', '\u{a0}', 'k', 's', 'i',
];

/// A generated pattern part.
enum Part {
    /// One character: as written, and what it may match.
    One(String, Vec<char>),
    Seq(Vec<Part>),
    Alt(Vec<Part>),
    Repeat(Box<Part>, String, usize, usize),
    Group(usize, String, Box<Part>),
    Wrap(String, Box<Part>, &'static str),
    Nothing(String),
    Ahead(Box<Part>),
    Backref(usize, String),
    Cond(usize, String, Box<Part>, Option<Box<Part>>),
}

/// One pattern with texts.
pub(crate) struct Case {
    pub(crate) pattern: String,
    pub(crate) multiline: bool,
    pub(crate) ignorecase: bool,
    pub(crate) texts: Vec<String>,
}

/// Makes cases and counts the constructs that went into them.
pub(crate) struct Dialect {
    pub(crate) rng: Rng,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    groups: usize,
    closed: Vec<usize>,
    names: Vec<(usize, String)>,
    verbose: bool,
    wide: bool,
    behind: bool,
}

impl Dialect {
    pub(crate) fn new(seed: u64) -> Dialect {
        Dialect {
            rng: Rng::new(seed),
            counts: BTreeMap::new(),
            groups: 0,
            closed: Vec::new(),
            names: Vec::new(),
            verbose: false,
            wide: false,
            behind: false,
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn letter(&mut self) -> char {
        if self.wide { *self.rng.pick(WIDE) } else { *self.rng.pick(ASCII) }
    }

    /// The next case.
    pub(crate) fn case(&mut self, texts: usize) -> Case {
        self.groups = 0;
        self.closed.clear();
        self.names.clear();
        self.behind = false;
        self.wide = self.rng.chance(30);
        let mut head = String::new();
        self.verbose = false;
        if self.rng.chance(25) {
            let flags: Vec<char> = "imsxau".chars().filter(|_| self.rng.chance(25)).collect();
            let both = flags.contains(&'a') && flags.contains(&'u');
            if !flags.is_empty() && !both {
                self.verbose = flags.contains(&'x');
                self.count("global flags");
                if self.verbose {
                    self.count("verbose");
                }
                head = format!("(?{})", flags.iter().collect::<String>());
            }
        }
        let root = self.alternatives(4);
        let mut pattern = head;
        write(&root, &mut pattern);
        let mut case = Case {
            pattern,
            multiline: self.rng.chance(20),
            ignorecase: self.rng.chance(20),
            texts: Vec::with_capacity(texts),
        };
        if self.rng.chance(8) {
            self.count("damaged pattern");
            case.pattern = self.damage(&case.pattern);
        }
        for number in 0..texts {
            let loops = if number % 5 == 4 { 40 } else { 3 };
            let text = self.text(&root, loops);
            case.texts.push(text);
        }
        case
    }

    /// Inserts, drops or doubles a few characters of a pattern.
    pub(crate) fn damage(&mut self, pattern: &str) -> String {
        const BITS: &[&str] = &[
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "*",
            "+",
            "?",
            "|",
            "\\",
            "^",
            "$",
            "(?",
            "(?P<",
            "(?P=",
            "(?(",
            "(?<",
            "-",
            "{2,1}",
            "{,3}",
            "\\x",
            "\\u12",
            "\\9",
            "\\08",
            "\\777",
            "\\y",
            "(?i)",
            "(?-i:",
            "(?#",
            "(?=",
            "(?>",
            "a",
            ",",
            ":",
            "(?P<a>",
            "(?(1)",
            "(?(9)",
            "[z-a]",
            "[\\w-a]",
            "[a-\\d]",
            "\\U00110000",
            "\\U0001f600",
            "(?z)",
            "(?i-i:",
            "(?P>a)",
            "(?P<1a>",
            "(?L)",
            "{1}",
            "??",
            "*+",
            "\\N{x}",
            "(?(0)a)",
            "(?<=a|bc)",
            "(?-a:",
            "\n",
        ];
        let mut chars: Vec<char> = pattern.chars().collect();
        for _ in 0..1 + self.rng.below(3) {
            let at = self.rng.below(chars.len() + 1);
            match self.rng.below(3) {
                0 if at < chars.len() => {
                    chars.remove(at);
                }
                1 => {
                    let end = (at + 1 + self.rng.below(4)).min(chars.len());
                    let copy: Vec<char> = chars[at..end].to_vec();
                    let to = self.rng.below(chars.len() + 1);
                    chars.splice(to..to, copy);
                }
                _ => {
                    let bit = *self.rng.pick(BITS);
                    chars.splice(at..at, bit.chars());
                }
            }
        }
        chars.into_iter().collect()
    }

    /// A text made by walking the pattern, with random errors around and within.
    fn text(&mut self, root: &Part, loops: usize) -> String {
        let mut text = String::new();
        for _ in 0..*self.rng.pick(&[0, 0, 0, 1, 2, 5]) {
            text.push(self.letter());
        }
        let mut groups = vec![None; self.groups + 1];
        self.walk(root, &mut text, &mut groups, loops);
        for _ in 0..*self.rng.pick(&[0, 0, 1, 3]) {
            text.push(self.letter());
        }
        let mut chars: Vec<char> = text.chars().take(2000).collect();
        for _ in 0..*self.rng.pick(&[0, 0, 0, 1, 1, 2, 4]) {
            let at = self.rng.below(chars.len() + 1);
            match self.rng.below(4) {
                0 if at < chars.len() => {
                    chars.remove(at);
                }
                1 if at < chars.len() => chars[at] = self.letter(),
                2 => {
                    // A stretch many times over.
                    let end = (at + 1 + self.rng.below(4)).min(chars.len());
                    let times = *self.rng.pick(&[2, 3, 10, 40]);
                    let copy = chars[at..end].repeat(times);
                    chars.splice(at..at, copy);
                }
                _ => {
                    let c = self.letter();
                    chars.insert(at, c);
                }
            }
        }
        if self.rng.chance(30) {
            chars.push('\n');
        }
        chars.into_iter().collect()
    }

    fn alternatives(&mut self, depth: usize) -> Part {
        if depth > 0 && self.rng.chance(22) {
            self.count("alternation");
            let many = 2 + self.rng.below(3);
            return Part::Alt((0..many).map(|_| self.sequence(depth - 1)).collect());
        }
        self.sequence(depth)
    }

    fn sequence(&mut self, depth: usize) -> Part {
        let many = *self.rng.pick(&[0, 1, 1, 2, 2, 3, 3, 4]);
        let mut parts = Vec::new();
        for _ in 0..many {
            let part = self.item(depth);
            parts.push(part);
            if self.verbose && self.rng.chance(30) {
                let blank = *self.rng.pick(&[" ", "\n", " # note (\n", "\t"]);
                parts.push(Part::Nothing(blank.into()));
            }
        }
        Part::Seq(parts)
    }

    fn item(&mut self, depth: usize) -> Part {
        let part = match self.rng.below(if depth == 0 { 14 } else { 26 }) {
            0..=6 => self.one(),
            7..=9 => self.class(),
            10 => self.any(),
            11 => return self.anchor(),
            12 => self.escape(),
            13 => self.backref(),
            14..=17 => self.group(depth),
            18 | 19 => self.wrap(depth),
            20 => return self.look(depth),
            21 => self.cond(depth),
            22 if self.rng.chance(50) => {
                self.count("comment");
                return Part::Nothing("(?#note)".into());
            }
            22 => return self.tempered(),
            _ => self.repeated_run(),
        };
        if self.rng.chance(35) { self.repeat(part) } else { part }
    }

    /// `(?:(?!ab).)*ab`, the way filters say "up to".
    fn tempered(&mut self) -> Part {
        self.count("tempered");
        let mut stop = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            stop.push(self.one());
        }
        let mut text = String::from("(?!");
        write(&Part::Seq(stop), &mut text);
        let one = if self.rng.chance(60) { self.any() } else { self.class() };
        let part = self.repeat(Part::Wrap(
            "(?:".into(),
            Box::new(Part::Seq(vec![Part::Nothing(text.clone() + ")"), one])),
            ")",
        ));
        if self.rng.chance(60) {
            let stop = text.split_off(3);
            return Part::Seq(vec![part, Part::Nothing(stop)]);
        }
        part
    }

    fn repeated_run(&mut self) -> Part {
        let part = if self.rng.chance(50) { self.class() } else { self.any() };
        self.repeat(part)
    }

    fn one(&mut self) -> Part {
        self.count("literal");
        let c = self.letter();
        Part::One(self.quote(c), cases(c))
    }

    fn quote(&mut self, c: char) -> String {
        match c {
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | '{' | '|' | '^' | '$' | '\\' => format!("\\{c}"),
            '\n' => {
                if self.rng.chance(50) {
                    "\\n".into()
                } else {
                    "\\x0a".into()
                }
            }
            ' ' | '#' if self.verbose => format!("\\{c}"),
            c if self.verbose && c.is_whitespace() => format!("\\{c}"),
            c if !c.is_alphanumeric() && c != '_' && self.rng.chance(20) => format!("\\{c}"),
            c => c.to_string(),
        }
    }

    fn any(&mut self) -> Part {
        self.count("dot");
        let c = self.letter();
        Part::One(".".into(), vec![c, 'x'])
    }

    fn anchor(&mut self) -> Part {
        let (what, text) =
            *self.rng.pick(&[("^", "^"), ("$", "$"), ("\\A", "\\A"), ("\\Z", "\\Z"), ("\\b", "\\b"), ("\\B", "\\B")]);
        self.count(what);
        Part::Nothing(text.into())
    }

    fn escape(&mut self) -> Part {
        let (what, text, sample) = *self.rng.pick(&[
            ("octal", "\\141", "a"),
            ("octal", "\\0", "\0"),
            ("octal", "\\012", "\n"),
            ("hex", "\\x61", "a"),
            ("unicode escape", "\\u0062", "b"),
            ("unicode escape", "\\u00e9", "é"),
            ("long unicode escape", "\\U0001f600", "😀"),
            ("control escape", "\\t", "\t"),
            ("control escape", "\\v", "\x0b"),
            ("needless escape", "\\<", "<"),
            ("needless escape", "\\-", "-"),
            ("literal brace", "{", "{"),
            ("literal brace", "{a", "{a"),
            ("literal bracket", "]", "]"),
            ("literal bracket", "}", "}"),
        ]);
        self.count(what);
        let chars: Vec<Part> = match text {
            "{a" => vec![Part::One("{".into(), vec!['{']), Part::One("a".into(), vec!['a'])],
            _ => vec![Part::One(text.into(), sample.chars().collect())],
        };
        Part::Seq(chars)
    }

    fn class(&mut self) -> Part {
        if self.rng.chance(40) {
            let (text, samples) = *self.rng.pick(&[
                ("\\d", "12٣"),
                ("\\D", "ab: "),
                ("\\s", " \n\u{1c}"),
                ("\\S", "ab1:"),
                ("\\w", "ab_1é²"),
                ("\\W", " :.-"),
            ]);
            self.count("class escape");
            let samples = samples.chars().filter(|c| self.wide || c.is_ascii()).collect();
            return Part::One(text.into(), samples);
        }
        self.count("class");
        let negated = self.rng.chance(30);
        let mut text = String::from(if negated { "[^" } else { "[" });
        let mut samples: Vec<char> = Vec::new();
        if self.rng.chance(8) {
            self.count("bracket first in class");
            text.push(']');
            samples.push(']');
        }
        for _ in 0..1 + self.rng.below(4) {
            match self.rng.below(10) {
                0..=4 => {
                    let c = self.letter();
                    match c {
                        ']' | '\\' | '^' | '-' => text.extend(['\\', c]),
                        c => text.push(c),
                    }
                    samples.extend(cases(c));
                }
                5 | 6 => {
                    self.count("range in class");
                    let ranges = [("a-c", 'b'), ("A-Z", 'A'), ("0-9", '1'), ("\\x20-:", '.'), (" -~", 'a')];
                    let wide = [("à-ÿ", 'é'), ("a-\\u0101", 'é'), ("\\uff00-\\U00010440", '𐐀'), ("Α-ω", 'σ')];
                    let (range, sample) = if self.wide { *self.rng.pick(&wide) } else { *self.rng.pick(&ranges) };
                    text.push_str(range);
                    samples.push(sample);
                }
                7 => {
                    self.count("class escape in class");
                    let (class, sample) =
                        *self.rng.pick(&[("\\d", '1'), ("\\w", 'a'), ("\\s", ' '), ("\\S", 'b'), ("\\W", ':')]);
                    text.push_str(class);
                    samples.push(sample);
                }
                8 => {
                    self.count("open bracket in class");
                    text.push('[');
                    samples.push('[');
                }
                _ => {
                    self.count("escape in class");
                    let (escape, sample) =
                        *self.rng.pick(&[("\\b", '\x08'), ("\\x41", 'A'), ("\\n", '\n'), ("\\>", '>')]);
                    text.push_str(escape);
                    samples.push(sample);
                }
            }
        }
        if self.rng.chance(10) {
            self.count("dash last in class");
            text.push('-');
            samples.push('-');
        }
        text.push(']');
        if negated {
            self.count("negated class");
            let all: Vec<char> = if self.wide { WIDE.to_vec() } else { ASCII.to_vec() };
            samples = all.into_iter().filter(|c| !samples.contains(c)).collect();
            samples.push('z');
        }
        Part::One(text, samples)
    }

    fn repeat(&mut self, part: Part) -> Part {
        let (text, min, max, what) = *self.rng.pick(&[
            ("*", 0, 9, "star"),
            ("*", 0, 9, "star"),
            ("+", 1, 9, "plus"),
            ("+", 1, 9, "plus"),
            ("?", 0, 1, "optional"),
            ("{2}", 2, 2, "counted"),
            ("{1,3}", 1, 3, "counted"),
            ("{0,2}", 0, 2, "counted"),
            ("{,2}", 0, 2, "counted without lower"),
            ("{2,}", 2, 9, "counted without upper"),
            ("{,}", 0, 9, "counted without both"),
        ]);
        self.count(what);
        let mut text = text.to_owned();
        match self.rng.below(10) {
            0 | 1 => {
                self.count("lazy");
                text.push('?');
            }
            // CPython 3.11 mixes up the groups of a body that is repeated possessively.
            2 if !has_group(&part) => {
                self.count("possessive");
                text.push('+');
            }
            _ => {}
        }
        Part::Repeat(Box::new(part), text, min, max)
    }

    fn group(&mut self, depth: usize) -> Part {
        self.groups += 1;
        let number = self.groups;
        let named = self.rng.chance(40);
        let head = if named {
            self.count("named group");
            let name = format!("g{number}");
            self.names.push((number, name.clone()));
            format!("(?P<{name}>")
        } else {
            self.count("group");
            "(".into()
        };
        let body = self.alternatives(depth - 1);
        self.closed.push(number);
        Part::Group(number, head, Box::new(body))
    }

    fn wrap(&mut self, depth: usize) -> Part {
        let (head, what) = *self.rng.pick(&[
            ("(?:", "plain group"),
            ("(?:", "plain group"),
            ("(?>", "atomic"),
            ("(?i:", "scoped flags on"),
            ("(?-i:", "scoped flags off"),
            ("(?s:", "scoped flags on"),
            ("(?m:", "scoped flags on"),
            ("(?m-i:", "scoped flags on and off"),
            ("(?a:", "scoped ascii"),
            ("(?x:", "scoped verbose"),
            ("(?-x:", "scoped verbose off"),
        ]);
        self.count(what);
        let outer = self.verbose;
        match head {
            "(?x:" => self.verbose = true,
            "(?-x:" => self.verbose = false,
            _ => {}
        }
        let body = self.alternatives(depth - 1);
        self.verbose = outer;
        Part::Wrap(head.into(), Box::new(body), ")")
    }

    fn look(&mut self, depth: usize) -> Part {
        match self.rng.below(4) {
            0 => {
                self.count("look-ahead");
                let body = self.alternatives(depth.min(2) - 1);
                Part::Ahead(Box::new(body))
            }
            1 => {
                self.count("negative look-ahead");
                let body = self.alternatives(depth.min(2) - 1);
                let mut text = String::from("(?!");
                write(&body, &mut text);
                Part::Nothing(text + ")")
            }
            kind => {
                self.count(if kind == 2 { "look-behind" } else { "negative look-behind" });
                let mut text = String::from(if kind == 2 { "(?<=" } else { "(?<!" });
                let outer = std::mem::replace(&mut self.behind, true);
                let mut body = Vec::new();
                for _ in 0..self.rng.below(3) {
                    let part = if self.rng.chance(50) { self.class() } else { self.one() };
                    body.push(part);
                }
                if self.rng.chance(20) {
                    let part = self.anchor();
                    body.push(part);
                }
                self.behind = outer;
                write(&Part::Seq(body), &mut text);
                Part::Nothing(text + ")")
            }
        }
    }

    fn backref(&mut self) -> Part {
        let Some(&group) = self.closed.get(self.rng.below(self.closed.len())) else { return self.one() };
        let name = self.names.iter().find(|(number, _)| *number == group).map(|(_, name)| name.clone());
        match name {
            Some(name) => {
                self.count("named backreference");
                Part::Backref(group, format!("(?P={name})"))
            }
            None => {
                self.count("backreference");
                Part::Backref(group, format!("(?:\\{group})"))
            }
        }
    }

    fn cond(&mut self, depth: usize) -> Part {
        if self.groups == 0 {
            return self.group(depth);
        }
        // A group that is closed, or one that comes later (set only in a loop). Testing a group from
        // within is left out: CPython then looks at what an abandoned attempt left behind.
        let Some(&group) = self.closed.get(self.rng.below(self.closed.len())) else { return self.group(depth) };
        let name = self.names.iter().find(|(number, _)| *number == group).map(|(_, name)| name.clone());
        let head = match name {
            Some(name) if self.rng.chance(70) => {
                self.count("conditional by name");
                format!("(?({name})")
            }
            _ => {
                self.count("conditional by number");
                format!("(?({group})")
            }
        };
        let yes = self.sequence(depth - 1);
        let no = self.rng.chance(60).then(|| Box::new(self.sequence(depth - 1)));
        Part::Cond(group, head, Box::new(yes), no)
    }

    fn walk(&mut self, part: &Part, out: &mut String, groups: &mut Vec<Option<String>>, loops: usize) {
        match part {
            Part::One(_, samples) => {
                if !samples.is_empty() {
                    out.push(*self.rng.pick(samples));
                }
            }
            Part::Seq(parts) => parts.iter().for_each(|part| self.walk(part, out, groups, loops)),
            Part::Alt(parts) => {
                let at = self.rng.below(parts.len());
                self.walk(&parts[at], out, groups, loops);
            }
            Part::Repeat(body, _, min, max) => {
                let most = if *max == 9 { loops.max(*min) } else { *max };
                for _ in 0..min + self.rng.below(most - min + 1) {
                    if out.len() > 3000 {
                        break;
                    }
                    self.walk(body, out, groups, loops);
                }
            }
            Part::Group(number, _, body) => {
                let from = out.len();
                self.walk(body, out, groups, loops);
                groups[*number] = Some(out[from..].to_owned());
            }
            Part::Wrap(_, body, _) => self.walk(body, out, groups, loops),
            Part::Nothing(_) => {}
            Part::Ahead(body) => {
                if self.rng.chance(50) {
                    self.walk(body, out, groups, loops);
                }
            }
            Part::Backref(group, _) => {
                if let Some(Some(text)) = groups.get(*group) {
                    out.push_str(text);
                }
            }
            Part::Cond(group, _, yes, no) => match (groups.get(*group), no) {
                (Some(Some(_)), _) => self.walk(yes, out, groups, loops),
                (_, Some(no)) => self.walk(no, out, groups, loops),
                _ => {}
            },
        }
    }
}

fn has_group(part: &Part) -> bool {
    match part {
        Part::Group(..) => true,
        Part::Seq(parts) | Part::Alt(parts) => parts.iter().any(has_group),
        Part::Repeat(body, ..) | Part::Wrap(_, body, _) | Part::Ahead(body) => has_group(body),
        Part::Cond(_, _, yes, no) => has_group(yes) || no.as_ref().is_some_and(|no| has_group(no)),
        Part::One(..) | Part::Nothing(_) | Part::Backref(..) => false,
    }
}

/// A character with its other cases.
fn cases(c: char) -> Vec<char> {
    let mut out = vec![c];
    out.extend(c.to_lowercase());
    out.extend(c.to_uppercase());
    out
}

fn write(part: &Part, out: &mut String) {
    match part {
        Part::One(text, _) | Part::Nothing(text) | Part::Backref(_, text) => out.push_str(text),
        Part::Seq(parts) => parts.iter().for_each(|part| write(part, out)),
        Part::Alt(parts) => {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    out.push('|');
                }
                write(part, out);
            }
        }
        Part::Repeat(body, text, ..) => {
            match **body {
                Part::One(..) | Part::Group(..) | Part::Wrap(..) => write(body, out),
                _ => {
                    out.push_str("(?:");
                    write(body, out);
                    out.push(')');
                }
            }
            out.push_str(text);
        }
        Part::Group(_, head, body) => {
            out.push_str(head);
            write(body, out);
            out.push(')');
        }
        Part::Wrap(head, body, tail) => {
            out.push_str(head);
            write(body, out);
            out.push_str(tail);
        }
        Part::Ahead(body) => {
            out.push_str("(?=");
            write(body, out);
            out.push(')');
        }
        Part::Cond(_, head, yes, no) => {
            // Branches of a conditional may not hold a bare alternation.
            out.push_str(head);
            write(yes, out);
            if let Some(no) = no {
                out.push('|');
                write(no, out);
            }
            out.push(')');
        }
    }
}
