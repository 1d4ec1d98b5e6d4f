//! Reads the small part of the shell's language in which firewall actions are written.
//!
//! Source: POSIX.1-2017, "Shell Command Language". Whatever is outside of that
//! part is refused with its name: an action that we don't understand runs as
//! the shell action that it is.

/// What a text does, in order.
pub(super) type List = Vec<Node>;

/// One command, simple or compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A program and its words.
    Run(Vec<Word>, Quiet),
    /// Each one's output is the next one's input.
    Pipe(List),
    /// `A && B`
    Both(Box<Node>, Box<Node>),
    /// `A || B`
    Either(Box<Node>, Box<Node>),
    /// `{ A; B; }`
    Group(List),
    /// `for NAME in WORDS; do ..; done`
    For(String, Vec<Word>, List),
    /// `while read -r NAME; do ..; done`
    EachLine(String, List),
    /// `if A; then ..; else ..; fi`
    If(List, List, List),
}

/// Where the output of a command goes, if not where it always goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quiet {
    /// `>/dev/null`
    pub(super) out: bool,
    /// `2>/dev/null`
    pub(super) err: bool,
}

/// One word, before it is expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) Vec<Piece>);

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) what: What,
    /// Inside of quotes, or behind a backslash.
    pub(super) quoted: bool,
}

/// What a part of a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Itself. Tags of the ban such as `<ip>` stand in it as they are written.
    Text(String),
    /// `$NAME`
    Variable(String),
    /// `$(..)`
    Output(List),
}

/// The tags of a ban that firewall commands may hold.
pub(super) const TAGS: [&str; 2] = ["<ip>", "<bantime>"];

/// Words that begin or end a compound command, or that we don't understand in that place.
const RESERVED: [&str; 16] =
    ["!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until", "while"];

/// Nesting deeper than this is no firewall action.
const DEPTH_MAX: usize = 16;

/// Reads a whole text.
///
/// # Errors
///
/// What we don't understand, in words.
pub(super) fn parse(text: &str) -> Result<List, String> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0 };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(c) => Err(format!("unexpected '{c}'")),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at.saturating_add(ahead)).copied()
    }

    fn step(&mut self, by: usize) {
        self.at = self.at.saturating_add(by);
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.step(1);
        c
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.step(1);
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n')) {
            self.step(1);
        }
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c))
    }

    /// Is the next word this reserved one?
    fn at_reserved(&self, word: &str) -> bool {
        let ends = |c: Option<char>| c.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | ';' | '|' | '&' | ')'));
        self.starts_with(word) && ends(self.peek_at(word.len()))
    }

    /// Commands up to one of these words, to a closing parenthesis or to the end.
    fn list(&mut self, ends: &[&str]) -> Result<List, String> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let mut list = Vec::new();
        loop {
            self.space();
            if matches!(self.peek(), None | Some(')')) || ends.iter().any(|word| self.at_reserved(word)) {
                break;
            }
            list.push(self.and_or()?);
            self.blanks();
            match self.peek() {
                Some(';') if self.peek_at(1) == Some(';') => return Err("';;'".to_owned()),
                Some(';' | '\n') => self.step(1),
                None | Some(')') => {}
                Some(c) => return Err(format!("unexpected '{c}'")),
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(list)
    }

    fn and_or(&mut self) -> Result<Node, String> {
        let mut left = self.pipeline()?;
        loop {
            self.blanks();
            let both = self.starts_with("&&");
            if !both && !self.starts_with("||") {
                return Ok(left);
            }
            self.step(2);
            self.space();
            let right = self.pipeline()?;
            left = if both {
                Node::Both(Box::new(left), Box::new(right))
            } else {
                Node::Either(Box::new(left), Box::new(right))
            };
        }
    }

    fn pipeline(&mut self) -> Result<Node, String> {
        let first = self.command()?;
        let mut all = vec![first];
        loop {
            self.blanks();
            if self.peek() != Some('|') || self.peek_at(1) == Some('|') {
                break;
            }
            self.step(1);
            self.space();
            all.push(self.command()?);
        }
        if all.len() > 1 {
            return Ok(Node::Pipe(all));
        }
        all.pop().ok_or_else(|| "nothing".to_owned())
    }

    fn command(&mut self) -> Result<Node, String> {
        self.blanks();
        let compound = if self.reserved("{") {
            let list = self.body("}")?;
            Node::Group(list)
        } else if self.reserved("for") {
            let name = self.name()?;
            self.space();
            self.expect("in")?;
            let words = self.words()?;
            self.separator()?;
            self.expect("do")?;
            Node::For(name, words, self.body("done")?)
        } else if self.reserved("while") {
            self.blanks();
            self.expect("read")?;
            self.blanks();
            self.expect("-r")?;
            let name = self.name()?;
            self.separator()?;
            self.expect("do")?;
            Node::EachLine(name, self.body("done")?)
        } else if self.reserved("if") {
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            let then = self.list(&["else", "fi"])?;
            let other = if self.reserved("else") { self.list(&["fi"])? } else { Vec::new() };
            self.expect("fi")?;
            if condition.is_empty() || then.is_empty() {
                return Err("an empty branch".to_owned());
            }
            Node::If(condition, then, other)
        } else {
            return self.simple();
        };
        self.blanks();
        match self.peek() {
            Some('<' | '>' | '0'..='9') => Err("a redirection behind a compound command".to_owned()),
            _ => Ok(compound),
        }
    }

    fn reserved(&mut self, word: &str) -> bool {
        let here = self.at_reserved(word);
        if here {
            self.step(word.len());
        }
        here
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.reserved(word) { Ok(()) } else { Err(format!("'{word}' is missing")) }
    }

    fn body(&mut self, end: &str) -> Result<List, String> {
        let list = self.list(&[end])?;
        self.expect(end)?;
        if list.is_empty() { Err(format!("nothing before '{end}'")) } else { Ok(list) }
    }

    fn separator(&mut self) -> Result<(), String> {
        self.blanks();
        match self.next() {
            Some(';' | '\n') => {
                self.space();
                Ok(())
            }
            _ => Err("';' is missing".to_owned()),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        self.blanks();
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.step(1);
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a variable's name is missing".to_owned());
        }
        Ok(name)
    }

    fn words(&mut self) -> Result<Vec<Word>, String> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            match self.word()? {
                Some(word) => words.push(word),
                None => return Ok(words),
            }
        }
    }

    fn simple(&mut self) -> Result<Node, String> {
        let (mut words, mut quiet) = (Vec::new(), Quiet::default());
        loop {
            self.blanks();
            if self.redirection(&mut quiet)? {
                continue;
            }
            match self.word()? {
                Some(word) if words.is_empty() => {
                    self.check_first(&word)?;
                    words.push(word);
                }
                Some(word) => words.push(word),
                None => break,
            }
        }
        if words.is_empty() {
            return Err(match self.peek() {
                Some(c) => format!("unexpected '{c}'"),
                None => "an unexpected end".to_owned(),
            });
        }
        Ok(Node::Run(words, quiet))
    }

    #[expect(clippy::unused_self, reason = "reads as a rule of the grammar")]
    fn check_first(&self, word: &Word) -> Result<(), String> {
        let Some(Piece { what: What::Text(text), quoted: false }) = word.0.first() else {
            return Err("a command whose name is not plain".to_owned());
        };
        if text.contains('=') || (word.0.len() == 1 && RESERVED.contains(&text.as_str())) {
            return Err(format!("'{text}' in place of a command"));
        }
        Ok(())
    }

    /// `>/dev/null`, `2>/dev/null`, `2>&1`.
    fn redirection(&mut self, quiet: &mut Quiet) -> Result<bool, String> {
        let (err, operator) = match (self.peek(), self.peek_at(1)) {
            (Some('2'), Some('>')) => (true, 2),
            (Some('>'), _) => (false, 1),
            _ => return Ok(false),
        };
        self.step(operator);
        if err && self.starts_with("&1") {
            self.step(2);
            if !quiet.out {
                return Err("errors sent to the output".to_owned());
            }
        } else {
            self.blanks();
            if !self.reserved("/dev/null") {
                return Err("a redirection to other than /dev/null".to_owned());
            }
        }
        let slot = if err { &mut quiet.err } else { &mut quiet.out };
        if std::mem::replace(slot, true) {
            return Err("two redirections".to_owned());
        }
        match self.peek() {
            None | Some(' ' | '\t' | '\n' | ';' | '|' | '&' | ')') => Ok(true),
            Some(c) => Err(format!("unexpected '{c}'")),
        }
    }

    /// One of the tags of a ban, right here.
    fn tag(&mut self) -> Option<&'static str> {
        let tag = TAGS.into_iter().find(|tag| self.starts_with(tag))?;
        self.step(tag.len());
        Some(tag)
    }

    fn word(&mut self) -> Result<Option<Word>, String> {
        let mut word = Word::default();
        if self.peek() == Some('#') {
            return Err("a comment".to_owned());
        }
        loop {
            if let Some(tag) = self.tag() {
                word.push(tag, false);
                continue;
            }
            let Some(c) = self.peek() else { break };
            match c {
                ' ' | '\t' | '\n' | ';' | '|' | ')' => break,
                '&' => break,
                '<' | '>' => return Err(format!("'{c}' inside of a word")),
                '(' | '`' => return Err(format!("'{c}'")),
                '\\' => {
                    self.step(1);
                    match self.next() {
                        None | Some('\n' | '<' | '>') => return Err("a backslash in an odd place".to_owned()),
                        Some(c) => word.push(&c.to_string(), true),
                    }
                }
                '\'' => {
                    self.step(1);
                    self.single(&mut word)?;
                }
                '"' => {
                    self.step(1);
                    self.double(&mut word)?;
                }
                '$' => {
                    let what = self.dollar()?;
                    word.0.push(Piece { what, quoted: false });
                }
                c => {
                    word.push(&c.to_string(), false);
                    self.step(1);
                }
            }
        }
        Ok(if word.0.is_empty() { None } else { Some(word) })
    }

    fn single(&mut self, word: &mut Word) -> Result<(), String> {
        word.push("", true);
        loop {
            if let Some(tag) = self.tag() {
                word.push(tag, true);
                continue;
            }
            match self.next() {
                Some('\'') => return Ok(()),
                None | Some('<' | '>') => return Err("a quoted text that is not plain".to_owned()),
                Some(c) => word.push(&c.to_string(), true),
            }
        }
    }

    fn double(&mut self, word: &mut Word) -> Result<(), String> {
        word.push("", true);
        loop {
            if let Some(tag) = self.tag() {
                word.push(tag, true);
                continue;
            }
            match self.peek() {
                Some('"') => {
                    self.step(1);
                    return Ok(());
                }
                Some('$') => {
                    let what = self.dollar()?;
                    word.0.push(Piece { what, quoted: true });
                }
                None | Some('<' | '>' | '`' | '\\' | '\n') => return Err("a quoted text that is not plain".to_owned()),
                Some(c) => {
                    self.step(1);
                    word.push(&c.to_string(), true);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<What, String> {
        self.step(1);
        if self.peek() != Some('(') {
            let named = self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            let name = if named { self.name() } else { Err(String::new()) };
            return name.map(What::Variable).map_err(|_| "'$'".to_owned());
        }
        if self.peek_at(1) == Some('(') {
            return Err("arithmetic".to_owned());
        }
        self.step(1);
        let list = self.list(&[])?;
        if self.next() != Some(')') || list.is_empty() {
            return Err("'$(' without its end".to_owned());
        }
        Ok(What::Output(list))
    }
}

impl Word {
    /// Adds text, to the piece before it where that is alike.
    fn push(&mut self, more: &str, quoted: bool) {
        if let Some(Piece { what: What::Text(text), quoted: before }) = self.0.last_mut()
            && *before == quoted
        {
            text.push_str(more);
            return;
        }
        self.0.push(Piece { what: What::Text(more.to_owned()), quoted });
    }
}
