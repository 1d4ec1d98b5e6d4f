//! Reading: a stack machine over an arena, so that shared and nested values
//! cost what they weigh and cannot refer to themselves.

use std::fmt;

use super::{Answer, Refusal};
use crate::value::Value;

/// What a request may weigh.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Values in all, counted each time they appear.
    pub values: usize,
    /// Bytes of text in all, counted each time they appear.
    pub text_bytes: usize,
    /// Lists in lists.
    pub depth: usize,
}

impl Default for Limits {
    /// 1,000,000 values, 16 MiB of text, 32 deep.
    fn default() -> Self {
        Limits { values: 1_000_000, text_bytes: 16 << 20, depth: 32 }
    }
}

/// Why a pickle is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It ends before its STOP.
    Truncated,
    /// An opcode that is not plain data; its number and place.
    Forbidden {
        /// The opcode.
        opcode: u8,
        /// Offset of the opcode.
        at: usize,
    },
    /// A stack or memo is used wrongly, or a text is not UTF-8; the place.
    Malformed {
        /// Offset of the opcode.
        at: usize,
    },
    /// A limit is exceeded; which one.
    TooLarge(&'static str),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Truncated => f.write_str("the pickle breaks off"),
            ReadError::Forbidden { opcode, at } => {
                write!(f, "opcode 0x{opcode:02x} at byte {at} is not plain data and is not executed")
            }
            ReadError::Malformed { at } => write!(f, "the pickle is malformed at byte {at}"),
            ReadError::TooLarge(what) => write!(f, "the pickle holds too many {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A value under construction; members are indices into the arena.
enum Node {
    Leaf(Value),
    /// The name of a class; only in answers.
    Class(String, String),
    /// A class called with arguments; only in answers, and never really called.
    Call(usize, usize),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
}

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    opcode_at: usize,
    arena: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: Vec<Option<usize>>,
    limits: Limits,
    /// Are names of classes read (and taken as names)?
    classes: bool,
}

/// Reads one pickle. Bytes behind its STOP are ignored, as Python does.
///
/// # Errors
/// See [`ReadError`]; nothing is kept then.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Value, ReadError> {
    let mut machine = Machine::new(bytes, limits, false);
    let root = machine.run()?;
    machine.build(root, 0, &mut Weight::default())
}

/// Reads a server's answer: `(0, result)`, `(1, exception)`, or a value that is
/// neither, which is what a server says that could not read the request.
///
/// Exceptions are read as the name of their class and their arguments; nothing
/// is called. The one other class that occurs is `builtins.str`, as which
/// addresses travel; it is read as the text.
///
/// # Errors
/// See [`ReadError`]; nothing is kept then.
pub fn read_answer(bytes: &[u8], limits: Limits) -> Result<Answer, ReadError> {
    let mut machine = Machine::new(bytes, limits, true);
    let root = machine.run()?;
    let mut weight = Weight::default();
    let pair = match machine.arena.get(root) {
        Some(Node::Tuple(items)) => match items.as_slice() {
            [code, payload] => Some((*code, *payload)),
            _ => None,
        },
        _ => None,
    };
    let Some((code, payload)) = pair else { return Ok(Answer::Other(machine.build(root, 0, &mut weight)?)) };
    if let Some(Node::Call(class, args)) = machine.arena.get(payload)
        && let Some(Node::Class(module, class)) = machine.arena.get(*class)
        && !is_text(module, class)
    {
        let args = machine.build(*args, 0, &mut weight)?.as_items().unwrap_or_default().to_vec();
        return Ok(Answer::Refused(Refusal { module: module.clone(), class: class.clone(), args }));
    }
    let code = machine.build(code, 0, &mut weight)?;
    let result = machine.build(payload, 0, &mut weight)?;
    Ok(if code == Value::Int(0) { Answer::Result(result) } else { Answer::Other(Value::Tuple(vec![code, result])) })
}

fn is_text(module: &str, class: &str) -> bool {
    matches!((module, class), ("builtins" | "__builtin__", "str" | "unicode"))
}

#[derive(Default)]
struct Weight {
    values: usize,
    text_bytes: usize,
}

impl<'b> Machine<'b> {
    fn new(bytes: &'b [u8], limits: Limits, classes: bool) -> Self {
        Machine {
            bytes,
            at: 0,
            opcode_at: 0,
            arena: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            limits,
            classes,
        }
    }

    fn run(&mut self) -> Result<usize, ReadError> {
        loop {
            self.opcode_at = self.at;
            let opcode = self.byte()?;
            match opcode {
                0x80 => drop(self.byte()?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'N' => self.leaf(Value::None)?,
                0x88 => self.leaf(Value::Bool(true))?,
                0x89 => self.leaf(Value::Bool(false))?,
                b'J' => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.leaf(Value::Int(n.into()))?;
                }
                b'K' => {
                    let n = self.byte()?;
                    self.leaf(Value::Int(n.into()))?;
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.array()?);
                    self.leaf(Value::Int(n.into()))?;
                }
                0x8a => self.long()?,
                b'G' => {
                    let n = f64::from_be_bytes(self.array()?);
                    self.leaf(Value::Float(n))?;
                }
                0x8c => self.text(1)?,
                b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b'U' => self.ascii(1)?,
                b'T' => self.ascii(4)?,
                b'C' => self.raw(1)?,
                b'B' => self.raw(4)?,
                0x8e => self.raw(8)?,
                b']' => self.push(Node::List(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                b'(' => self.marks.push(self.stack.len()),
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.append(&items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.insert(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.insert(&items)?;
                }
                b'l' => {
                    let items = self.pop_mark()?;
                    self.push(Node::List(items))?;
                }
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Node::Tuple(items))?;
                }
                0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or(self.malformed())?;
                    let items = self.stack.split_off(from);
                    self.push(Node::Tuple(items))?;
                }
                b'q' => {
                    let slot = usize::from(self.byte()?);
                    self.remember(slot)?;
                }
                b'r' => {
                    let slot = self.length(4)?;
                    self.remember(slot)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'h' => {
                    let slot = usize::from(self.byte()?);
                    self.recall(slot)?;
                }
                b'j' => {
                    let slot = self.length(4)?;
                    self.recall(slot)?;
                }
                0x93 if self.classes => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Some(Node::Leaf(Value::Str(module))), Some(Node::Leaf(Value::Str(name)))) =
                        (self.arena.get(module), self.arena.get(name))
                    else {
                        return Err(self.malformed());
                    };
                    let class = Node::Class(module.clone(), name.clone());
                    self.push(class)?;
                }
                b'R' if self.classes => {
                    let (args, class) = (self.pop()?, self.pop()?);
                    self.push(Node::Call(class, args))?;
                }
                // The state of an exception says nothing that its arguments don't say.
                b'b' if self.classes => drop(self.pop()?),
                _ => return Err(ReadError::Forbidden { opcode, at: self.opcode_at }),
            }
        }
    }

    fn malformed(&self) -> ReadError {
        ReadError::Malformed { at: self.opcode_at }
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        let byte = self.bytes.get(self.at).copied().ok_or(ReadError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, n: usize) -> Result<&[u8], ReadError> {
        let end = self.at.checked_add(n).ok_or(ReadError::Truncated)?;
        let part = self.bytes.get(self.at..end).ok_or(ReadError::Truncated)?;
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        self.take(N)?.try_into().map_err(|_| ReadError::Truncated)
    }

    /// A little-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, ReadError> {
        let mut all = [0_u8; 8];
        for (to, from) in all.iter_mut().zip(self.take(width)?) {
            *to = *from;
        }
        usize::try_from(u64::from_le_bytes(all)).map_err(|_| ReadError::Truncated)
    }

    fn text(&mut self, width: usize) -> Result<(), ReadError> {
        let n = self.length(width)?;
        let malformed = self.malformed();
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| malformed)?.to_owned();
        self.leaf(Value::Str(text))
    }

    /// What Python 2 and encoders of protocol 2 write for a text: Python 3 reads it as ASCII.
    fn ascii(&mut self, width: usize) -> Result<(), ReadError> {
        let n = self.length(width)?;
        let malformed = self.malformed();
        let bytes = self.take(n)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => {
                let text = text.to_owned();
                self.leaf(Value::Str(text))
            }
            _ => Err(malformed),
        }
    }

    fn raw(&mut self, width: usize) -> Result<(), ReadError> {
        let n = self.length(width)?;
        let raw = self.take(n)?.to_vec();
        self.leaf(Value::Bytes(raw))
    }

    /// A whole number of up to eight bytes, two's complement.
    fn long(&mut self) -> Result<(), ReadError> {
        let n = usize::from(self.byte()?);
        let malformed = self.malformed();
        let part = self.take(n)?;
        let negative = part.last().is_some_and(|b| b & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        if part.len() > all.len() {
            return Err(malformed);
        }
        for (to, from) in all.iter_mut().zip(part) {
            *to = *from;
        }
        self.leaf(Value::Int(i64::from_le_bytes(all)))
    }

    fn leaf(&mut self, value: Value) -> Result<(), ReadError> {
        self.push(Node::Leaf(value))
    }

    fn push(&mut self, node: Node) -> Result<(), ReadError> {
        if self.arena.len() >= self.limits.values {
            return Err(ReadError::TooLarge("values"));
        }
        self.stack.push(self.arena.len());
        self.arena.push(node);
        Ok(())
    }

    /// Takes the top of the stack; what lies below a mark is out of reach.
    fn pop(&mut self) -> Result<usize, ReadError> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return Err(self.malformed());
        }
        self.stack.pop().ok_or(self.malformed())
    }

    fn pop_mark(&mut self) -> Result<Vec<usize>, ReadError> {
        let mark = self.marks.pop().ok_or(self.malformed())?;
        if mark > self.stack.len() {
            return Err(self.malformed());
        }
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: &[usize]) -> Result<(), ReadError> {
        let malformed = self.malformed();
        let list = self.stack.last().and_then(|top| self.arena.get_mut(*top));
        let Some(Node::List(list)) = list else { return Err(malformed) };
        list.extend_from_slice(items);
        Ok(())
    }

    fn insert(&mut self, items: &[usize]) -> Result<(), ReadError> {
        let malformed = self.malformed();
        let dict = self.stack.last().and_then(|top| self.arena.get_mut(*top));
        let Some(Node::Dict(dict)) = dict else { return Err(malformed) };
        for pair in items.chunks(2) {
            let [key, value] = pair else { return Err(malformed) };
            dict.push((*key, *value));
        }
        Ok(())
    }

    fn remember(&mut self, slot: usize) -> Result<(), ReadError> {
        if slot >= self.limits.values {
            return Err(ReadError::TooLarge("values"));
        }
        let top = *self.stack.last().ok_or(self.malformed())?;
        if slot >= self.memo.len() {
            self.memo.resize(slot + 1, None);
        }
        if let Some(place) = self.memo.get_mut(slot) {
            *place = Some(top);
        }
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), ReadError> {
        let index = self.memo.get(slot).copied().flatten().ok_or(self.malformed())?;
        if self.stack.len() >= self.limits.values {
            return Err(ReadError::TooLarge("values"));
        }
        self.stack.push(index);
        Ok(())
    }

    /// Turns a node into a value. A node that contains itself runs into the depth limit.
    fn build(&self, index: usize, depth: usize, weight: &mut Weight) -> Result<Value, ReadError> {
        weight.values += 1;
        if weight.values > self.limits.values {
            return Err(ReadError::TooLarge("values"));
        }
        if depth > self.limits.depth {
            return Err(ReadError::TooLarge("lists in lists"));
        }
        let node = self.arena.get(index).ok_or(ReadError::Truncated)?;
        Ok(match node {
            Node::Leaf(value) => {
                weight.text_bytes += match value {
                    Value::Str(text) => text.len(),
                    Value::Bytes(bytes) => bytes.len(),
                    _ => 0,
                };
                if weight.text_bytes > self.limits.text_bytes {
                    return Err(ReadError::TooLarge("bytes of text"));
                }
                value.clone()
            }
            Node::Class(..) => return Err(ReadError::Forbidden { opcode: 0x93, at: self.at }),
            Node::Call(class, args) => self.build_text(*class, *args, depth, weight)?,
            Node::List(items) => Value::List(self.build_all(items, depth, weight)?),
            Node::Tuple(items) => Value::Tuple(self.build_all(items, depth, weight)?),
            Node::Dict(pairs) => {
                let mut dict = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    dict.push((self.build(*key, depth + 1, weight)?, self.build(*value, depth + 1, weight)?));
                }
                Value::Dict(dict)
            }
        })
    }

    /// The text that `builtins.str` was called with; no other class becomes a value.
    fn build_text(&self, class: usize, args: usize, depth: usize, weight: &mut Weight) -> Result<Value, ReadError> {
        let foreign = ReadError::Forbidden { opcode: b'R', at: self.at };
        match self.arena.get(class) {
            Some(Node::Class(module, class)) if is_text(module, class) => {}
            _ => return Err(foreign),
        }
        match self.build(args, depth + 1, weight)?.as_items() {
            Some([Value::Str(text)]) => Ok(Value::Str(text.clone())),
            _ => Err(foreign),
        }
    }

    fn build_all(&self, items: &[usize], depth: usize, weight: &mut Weight) -> Result<Vec<Value>, ReadError> {
        items.iter().map(|item| self.build(*item, depth + 1, weight)).collect()
    }
}
