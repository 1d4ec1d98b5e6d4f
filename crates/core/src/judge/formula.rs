//! Arithmetic that operators write into options: `bantime.formula`,
//! `bantime.factor`, and (through [`super::timespec`]) every length of time.
//!
//! The original hands these texts to Python's `eval`. Here they are a small
//! closed language, read once and evaluated without side effects:
//!
//! | construct | forms |
//! |---|---|
//! | numbers | `600`, `1_000`, `0.5`, `2.`, `1e3` (no leading zeros, no hex) |
//! | operators | `**`, unary `+ -`, `* / // %`, `+ -`, `<< >>`, `< <= > >= == !=` |
//! | choice | `x if condition else y` |
//! | functions | `min(..)`, `max(..)`, `int(x)`, `float(x)`, `math.exp/log/pow/sqrt` |
//! | names | `ban.Time`, `ban.Count`, `banFactor` |
//!
//! Anything else is refused with its place. Precedence, integer and float
//! arithmetic are Python's; a value that leaves 127 bits or is not finite is an
//! error, where Python would go on with a longer number or raise.

use std::fmt;

/// Longest text that is read as a formula, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses and operators.
const DEPTH_MAX: u32 = 64;

/// Why a text is no formula, or why a formula has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Byte offset in the text at which reading stopped; `None` if the text is
    /// fine but its value can't be computed.
    pub position: Option<usize>,
    /// What is wrong there, lower case, one line.
    pub message: Box<str>,
}

impl Error {
    fn at(position: usize, message: impl Into<Box<str>>) -> Self {
        Error { position: Some(position), message: message.into() }
    }

    fn value(message: impl Into<Box<str>>) -> Self {
        Error { position: None, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(at) => write!(f, "{} at character {}", self.message, at.saturating_add(1)),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

/// A number as Python tells them apart: whole or with a fraction.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i128),
    /// A finite floating-point number.
    Float(f64),
}

impl Number {
    /// The nearest floating-point value.
    #[expect(clippy::cast_precision_loss, reason = "Python's float(int) rounds the same way")]
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }

    fn is_true(self) -> bool {
        match self {
            Number::Int(i) => i != 0,
            Number::Float(f) => f != 0.0,
        }
    }

    fn finite(value: f64) -> Result<Number, Error> {
        if value.is_finite() {
            Ok(Number::Float(value))
        } else {
            Err(Error::value("the result is not a finite number"))
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        compare(*self, *other) == Some(std::cmp::Ordering::Equal)
    }
}

fn compare(a: Number, b: Number) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        _ => a.as_f64().partial_cmp(&b.as_f64()),
    }
}

/// What the names in a formula stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Names {
    /// `ban.Time`: the jail's bantime in seconds.
    pub time: Number,
    /// `ban.Count`: the number of earlier bans.
    pub count: u32,
    /// `banFactor`: the value of `bantime.factor`.
    pub factor: Number,
}

/// A formula that was read and can be evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Formula {
    text: Box<str>,
    root: Node,
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Formula {}

impl Formula {
    /// Reads `text`, in which the three names are allowed.
    ///
    /// # Errors
    /// With the place of the first thing that is not understood.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Formula { text: text.into(), root: Reader::new(text, true)?.all()? })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value.
    ///
    /// # Errors
    /// Division by zero, a root or logarithm outside its domain, a result that
    /// is too large.
    pub fn value(&self, names: &Names) -> Result<Number, Error> {
        eval(&self.root, Some(names))
    }
}

/// Reads and evaluates a text without names, such as `bantime.factor`.
///
/// # Errors
/// As [`Formula::parse`] and [`Formula::value`].
pub fn parse_constant(text: &str) -> Result<Number, Error> {
    eval(&Reader::new(text, false)?.all()?, None)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Shl,
    Shr,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Min,
    Max,
    Int,
    Float,
    Exp,
    Log,
    Pow,
    Sqrt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Time,
    Count,
    Factor,
}

#[derive(Clone, Debug)]
enum Node {
    Number(Number),
    Name(Name),
    Negate(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
    /// `a < b <= c`: every neighbouring pair must hold.
    Compare(Box<Node>, Vec<(Op, Node)>),
    Choice {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Box<Node>,
    },
    Call(Function, Vec<Node>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Number),
    Word(Box<str>),
    Op(Op),
    Open,
    Close,
    Comma,
    End,
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
    names: bool,
    depth: u32,
}

impl Reader {
    fn new(text: &str, names: bool) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::at(TEXT_BYTES_MAX, "the expression is too long"));
        }
        Ok(Reader { tokens: tokens(text)?, next: 0, names, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(w) if **w == *word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<(), Error> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(what)) }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.peek() {
            Token::End => "the end".to_owned(),
            Token::Word(word) => format!("`{word}`"),
            Token::Number(_) => "a number".to_owned(),
            Token::Op(_) => "an operator".to_owned(),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
        };
        Error::at(self.place(), format!("expected {wanted}, found {found}"))
    }

    fn all(mut self) -> Result<Node, Error> {
        let node = self.choice()?;
        if *self.peek() == Token::End { Ok(node) } else { Err(self.unexpected("an operator or the end")) }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::at(self.place(), "the expression is nested too deeply"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn choice(&mut self) -> Result<Node, Error> {
        let then = self.comparison()?;
        if !self.take_word("if") {
            return Ok(then);
        }
        let condition = self.comparison()?;
        if !self.take_word("else") {
            return Err(self.unexpected("`else`"));
        }
        let otherwise = self.deeper(Self::choice)?;
        Ok(Node::Choice { condition: Box::new(condition), then: Box::new(then), otherwise: Box::new(otherwise) })
    }

    fn comparison(&mut self) -> Result<Node, Error> {
        let first = self.binary(0)?;
        let mut rest = Vec::new();
        while let Token::Op(op @ (Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Eq | Op::Ne)) = *self.peek() {
            self.next += 1;
            rest.push((op, self.binary(0)?));
        }
        Ok(if rest.is_empty() { first } else { Node::Compare(Box::new(first), rest) })
    }

    /// Left-associative operators by rising strength: shifts, sums, products.
    fn binary(&mut self, level: u8) -> Result<Node, Error> {
        if level == 3 {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        let mut links = 0u32;
        loop {
            let op = match (level, self.peek()) {
                (0, Token::Op(op @ (Op::Shl | Op::Shr)))
                | (1, Token::Op(op @ (Op::Add | Op::Sub)))
                | (2, Token::Op(op @ (Op::Mul | Op::Div | Op::FloorDiv | Op::Rem))) => *op,
                _ => return Ok(left),
            };
            links += 1;
            if links > DEPTH_MAX {
                return Err(Error::at(self.place(), "the expression has too many parts"));
            }
            self.next += 1;
            let right = self.binary(level + 1)?;
            left = Node::Binary(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Node, Error> {
        if self.take(&Token::Op(Op::Sub)) {
            return Ok(Node::Negate(Box::new(self.deeper(Self::unary)?)));
        }
        if self.take(&Token::Op(Op::Add)) {
            return self.deeper(Self::unary);
        }
        let base = self.atom()?;
        if self.take(&Token::Op(Op::Pow)) {
            let exponent = self.deeper(Self::unary)?;
            return Ok(Node::Binary(Op::Pow, Box::new(base), Box::new(exponent)));
        }
        Ok(base)
    }

    fn atom(&mut self) -> Result<Node, Error> {
        let (at, token) = self.tokens.get(self.next).cloned().unwrap_or((self.place(), Token::End));
        match token {
            Token::Number(number) => {
                self.next += 1;
                Ok(Node::Number(number))
            }
            Token::Open => {
                self.next += 1;
                let inner = self.deeper(Self::choice)?;
                self.expect(&Token::Close, "`)`")?;
                Ok(inner)
            }
            Token::Word(word) => {
                let name = match &*word {
                    "ban.Time" => Some(Name::Time),
                    "ban.Count" => Some(Name::Count),
                    "banFactor" => Some(Name::Factor),
                    _ => None,
                };
                if let Some(name) = name.filter(|_| self.names) {
                    self.next += 1;
                    return Ok(Node::Name(name));
                }
                let function = match &*word {
                    "min" => Function::Min,
                    "max" => Function::Max,
                    "int" => Function::Int,
                    "float" => Function::Float,
                    "math.exp" => Function::Exp,
                    "math.log" => Function::Log,
                    "math.pow" => Function::Pow,
                    "math.sqrt" => Function::Sqrt,
                    _ => return Err(Error::at(at, format!("unknown name `{word}`"))),
                };
                self.next += 1;
                self.call(at, &word, function)
            }
            _ => Err(self.unexpected("a number, a name or `(`")),
        }
    }

    fn call(&mut self, at: usize, word: &str, function: Function) -> Result<Node, Error> {
        self.expect(&Token::Open, "`(`")?;
        let mut args = Vec::new();
        while *self.peek() != Token::Close {
            args.push(self.deeper(Self::choice)?);
            if !self.take(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::Close, "`,` or `)`")?;
        let right = match function {
            Function::Min | Function::Max => args.len() >= 2,
            Function::Log => args.len() == 1 || args.len() == 2,
            Function::Pow => args.len() == 2,
            Function::Int | Function::Float | Function::Exp | Function::Sqrt => args.len() == 1,
        };
        if right {
            Ok(Node::Call(function, args))
        } else {
            Err(Error::at(at, format!("`{word}` takes another number of arguments")))
        }
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some(&(at, c)) = rest.peek() {
        let two = {
            let mut ahead = rest.clone();
            ahead.next();
            ahead.next().map(|(_, c)| c)
        };
        if c.is_ascii_whitespace() {
            rest.next();
            continue;
        }
        if c.is_ascii_digit() || (c == '.' && two.is_some_and(|c| c.is_ascii_digit())) {
            found.push((at, Token::Number(number(at, &mut rest)?)));
            continue;
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let mut word = String::new();
            while let Some((_, c)) = rest.next_if(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
                word.push(c);
            }
            found.push((at, Token::Word(word.into())));
            continue;
        }
        let (token, width) = match (c, two) {
            ('*', Some('*')) => (Token::Op(Op::Pow), 2),
            ('/', Some('/')) => (Token::Op(Op::FloorDiv), 2),
            ('<', Some('<')) => (Token::Op(Op::Shl), 2),
            ('>', Some('>')) => (Token::Op(Op::Shr), 2),
            ('<', Some('=')) => (Token::Op(Op::Le), 2),
            ('>', Some('=')) => (Token::Op(Op::Ge), 2),
            ('=', Some('=')) => (Token::Op(Op::Eq), 2),
            ('!', Some('=')) => (Token::Op(Op::Ne), 2),
            ('<', _) => (Token::Op(Op::Lt), 1),
            ('>', _) => (Token::Op(Op::Gt), 1),
            ('+', _) => (Token::Op(Op::Add), 1),
            ('-', _) => (Token::Op(Op::Sub), 1),
            ('*', _) => (Token::Op(Op::Mul), 1),
            ('/', _) => (Token::Op(Op::Div), 1),
            ('%', _) => (Token::Op(Op::Rem), 1),
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (',', _) => (Token::Comma, 1),
            _ => return Err(Error::at(at, format!("unexpected character {c:?}"))),
        };
        for _ in 0..width {
            rest.next();
        }
        found.push((at, token));
    }
    found.push((text.len(), Token::End));
    Ok(found)
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn number(at: usize, rest: &mut Chars<'_>) -> Result<Number, Error> {
    let mut digits = String::new();
    let mut whole = true;
    let mut last = ' ';
    loop {
        let sign = matches!(last, 'e' | 'E');
        let next = rest.next_if(|(_, c)| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || (sign && !whole && matches!(c, '+' | '-'))
        });
        let Some((_, c)) = next else { break };
        if c == '_' && !last.is_ascii_digit() || last == '_' && !c.is_ascii_digit() {
            return Err(Error::at(at, "misplaced `_` in a number"));
        }
        whole &= !matches!(c, '.' | 'e' | 'E');
        if c != '_' {
            digits.push(c);
        }
        last = c;
    }
    let bad = || Error::at(at, format!("`{digits}` is not a decimal number"));
    if last == '_' {
        return Err(bad());
    }
    if !whole {
        let value: f64 = digits.parse().map_err(|_| bad())?;
        return Number::finite(value).map_err(|_| bad());
    }
    let zeros = digits.bytes().all(|b| b == b'0');
    if digits.starts_with('0') && !zeros {
        return Err(Error::at(at, format!("`{digits}`: a number may not begin with zero")));
    }
    digits.parse().map(Number::Int).map_err(|_| bad())
}

fn eval(node: &Node, names: Option<&Names>) -> Result<Number, Error> {
    match node {
        Node::Number(number) => Ok(*number),
        Node::Name(name) => {
            let names = names.ok_or_else(|| Error::value("names have no value here"))?;
            Ok(match name {
                Name::Time => names.time,
                Name::Count => Number::Int(names.count.into()),
                Name::Factor => names.factor,
            })
        }
        Node::Negate(inner) => match eval(inner, names)? {
            Number::Int(i) => i.checked_neg().map(Number::Int).ok_or_else(too_large),
            Number::Float(f) => Ok(Number::Float(-f)),
        },
        Node::Binary(op, left, right) => binary(*op, eval(left, names)?, eval(right, names)?),
        Node::Compare(first, rest) => {
            let mut left = eval(first, names)?;
            for (op, right) in rest {
                let right = eval(right, names)?;
                let order = compare(left, right);
                let holds = match op {
                    Op::Lt => order.is_some_and(|o| o.is_lt()),
                    Op::Le => order.is_some_and(|o| o.is_le()),
                    Op::Gt => order.is_some_and(|o| o.is_gt()),
                    Op::Ge => order.is_some_and(|o| o.is_ge()),
                    Op::Eq => order.is_some_and(|o| o.is_eq()),
                    _ => !order.is_some_and(|o| o.is_eq()),
                };
                if !holds {
                    return Ok(Number::Int(0));
                }
                left = right;
            }
            Ok(Number::Int(1))
        }
        Node::Choice { condition, then, otherwise } => {
            eval(if eval(condition, names)?.is_true() { then } else { otherwise }, names)
        }
        Node::Call(function, args) => {
            let args: Vec<Number> = args.iter().map(|arg| eval(arg, names)).collect::<Result<_, _>>()?;
            call(*function, &args)
        }
    }
}

fn too_large() -> Error {
    Error::value("the result is too large")
}

fn binary(op: Op, a: Number, b: Number) -> Result<Number, Error> {
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        let whole = match op {
            Op::Add => a.checked_add(b),
            Op::Sub => a.checked_sub(b),
            Op::Mul => a.checked_mul(b),
            Op::FloorDiv if b != 0 => {
                a.checked_div_euclid(b).map(|q| if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q })
            }
            Op::Rem if b != 0 => a.checked_rem_euclid(b).map(|r| if b < 0 && r != 0 { r + b } else { r }),
            Op::Pow if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            Op::Shl | Op::Shr if b < 0 => return Err(Error::value("negative shift count")),
            Op::Shl => u32::try_from(b).ok().and_then(|b| 2i128.checked_pow(b)).and_then(|p| a.checked_mul(p)),
            Op::Shr => Some(a >> b.min(127)),
            _ => return floats(op, Number::Int(a).as_f64(), Number::Int(b).as_f64()),
        };
        return whole.map(Number::Int).ok_or_else(too_large);
    }
    floats(op, a.as_f64(), b.as_f64())
}

fn floats(op: Op, a: f64, b: f64) -> Result<Number, Error> {
    if matches!(op, Op::Div | Op::FloorDiv | Op::Rem) && b == 0.0 {
        return Err(Error::value("division by zero"));
    }
    Number::finite(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::FloorDiv => floor_div(a, b),
        Op::Rem => remainder(a, b),
        Op::Pow => a.powf(b),
        _ => return Err(Error::value("shifts need whole numbers")),
    })
}

/// Python's `%` of floats: it has the divisor's sign.
fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
}

/// Python's `//` of floats, consistent with its `%`.
fn floor_div(a: f64, b: f64) -> f64 {
    let quotient = (a - remainder(a, b)) / b;
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

fn call(function: Function, args: &[Number]) -> Result<Number, Error> {
    let first = args.first().copied().unwrap_or(Number::Int(0));
    let second = args.get(1).copied();
    let domain = || Error::value("math domain error");
    match function {
        Function::Min | Function::Max => {
            // As in Python, the first of equal values wins.
            let wanted = if function == Function::Min { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
            Ok(args
                .iter()
                .skip(1)
                .fold(first, |best, arg| if compare(*arg, best) == Some(wanted) { *arg } else { best }))
        }
        Function::Int => match first {
            Number::Int(_) => Ok(first),
            Number::Float(f) if f.abs() < 1e38 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "checked against the range of i128 above")]
                Ok(Number::Int(f.trunc() as i128))
            }
            Number::Float(_) => Err(too_large()),
        },
        Function::Float => Number::finite(first.as_f64()),
        Function::Exp => Number::finite(first.as_f64().exp()),
        Function::Sqrt if first.as_f64() < 0.0 => Err(domain()),
        Function::Sqrt => Number::finite(first.as_f64().sqrt()),
        Function::Log if first.as_f64() <= 0.0 => Err(domain()),
        Function::Log => match second {
            None => Number::finite(first.as_f64().ln()),
            Some(base) if base.as_f64() <= 0.0 => Err(domain()),
            Some(base) => Number::finite(first.as_f64().ln() / base.as_f64().ln()),
        },
        Function::Pow => Number::finite(first.as_f64().powf(second.unwrap_or(Number::Int(1)).as_f64())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { time: Number::Int(600), count: 3, factor: Number::Int(2) }
    }

    #[track_caller]
    fn check(text: &str, expected: f64) {
        let value = Formula::parse(text).and_then(|f| f.value(&names())).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!((value.as_f64() - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{text}: {value:?}");
    }

    #[track_caller]
    fn refuse(text: &str, position: usize) {
        let error = Formula::parse(text).expect_err(text);
        assert_eq!(error.position, Some(position), "{text}: {error}");
    }

    #[track_caller]
    fn no_value(text: &str) {
        let error = Formula::parse(text).and_then(|f| f.value(&names())).expect_err(text);
        assert_eq!(error.position, None, "{text}: {error}");
    }

    #[test]
    fn arithmetic_is_pythons() {
        check("1 + 2 * 3", 7.0);
        check("(1 + 2) * 3", 9.0);
        check("2 ** 3 ** 2", 512.0);
        check("-2 ** 2", -4.0);
        check("2 ** -1", 0.5);
        check("7 / 2", 3.5);
        check("7 // 2", 3.0);
        check("-7 // 2", -4.0);
        check("7 // -2", -4.0);
        check("-7 % 3", 2.0);
        check("7 % -3", -2.0);
        check("-7 % -3", -1.0);
        check("7.5 // 2", 3.0);
        check("1 << 2 + 1", 8.0);
        check("1 << 20", 1_048_576.0);
        check("1_000 + .5 + 2.", 1002.5);
        check("1e3", 1000.0);
        check("1.5e-1", 0.15);
        check("1 < 2 < 3", 1.0);
        check("1 < 2 > 5", 0.0);
        check("5 if 0 else 6", 6.0);
        check("5 if 1 else 6 if 1 else 7", 5.0);
        check("5 if 0 else 6 if 0 else 7", 7.0);
        check("min(3, 1, 2) + max(4, 5)", 6.0);
        check("int(2.9) + float(1)", 3.0);
        check("math.log(8, 2) + math.sqrt(16) + math.pow(2, 3)", 15.0);
    }

    #[test]
    fn the_names_of_a_ban_are_known() {
        check("ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor", 9600.0);
        check("ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)", 600.0 * 6f64.exp());
    }

    #[test]
    fn what_is_not_in_the_language_is_refused_with_its_place() {
        refuse("", 0);
        refuse("1 +", 3);
        refuse("foo", 0);
        refuse("1 + foo", 4);
        refuse("__import__('os')", 11);
        refuse("ban.time", 0);
        refuse("1 if 2", 6);
        refuse("(1", 2);
        refuse("1)", 1);
        refuse("010", 0);
        refuse("0x10", 0);
        refuse("1__0", 0);
        refuse("1 2", 2);
        refuse("min(1)", 0);
        refuse("math.exp(1, 2)", 0);
        refuse("math.floor(1)", 0);
        refuse("1 = 2", 2);
        refuse("lambda: 1", 6);
        refuse("1 if 1 else", 11);
        assert!(Formula::parse(&"(".repeat(5000)).is_err());
        assert!(Formula::parse(&"-".repeat(4000)).is_err());
        assert!(Formula::parse(&"1+".repeat(1500)).is_err());
        assert!(parse_constant("ban.Time").is_err());
    }

    #[test]
    fn a_value_that_cannot_be_computed_is_an_error() {
        no_value("1 / 0");
        no_value("1 // 0");
        no_value("1 % 0");
        no_value("2 ** 1000");
        no_value("2.0 ** 10000");
        no_value("1 << 200");
        no_value("1 << (0 - 1)");
        no_value("1.5 << 2");
        no_value("math.sqrt(-1)");
        no_value("math.log(0)");
        no_value("math.exp(1000)");
    }
}
