//! The fast program: what a pattern becomes for most searches.
//!
//! A tree is lowered to bytes for one kind of text (pure ASCII, or UTF-8),
//! emitted from its end to its start as nodes that know what can follow them,
//! and run by a backtracker over a stack of small frames. Every pass can be
//! switched off ([`Options`]), and the answers never change with it.

mod emit;
mod finish;
mod lower;
mod memo;
mod node;
mod run;
mod step;
mod stretch;

use crate::tree::Tree;

pub(crate) use memo::Memo;
pub(crate) use node::Program;

/// Which passes are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Adjacent literals are compared as words.
    pub(crate) words: bool,
    /// Runs whose bytes cannot begin what follows give nothing back.
    pub(crate) possessive: bool,
    /// Choices are made by the next byte.
    pub(crate) tables: bool,
    /// Runs give back only to bytes that can follow.
    pub(crate) follow: bool,
    /// The end of the line is looked up once for all dots.
    pub(crate) line: bool,
    /// Groups outside of any choice are saved without a way back.
    pub(crate) spine: bool,
    /// Conditionals are decided at compile time where possible.
    pub(crate) conditionals: bool,
    /// Branches that need a literal later look for it first.
    pub(crate) needs: bool,
    /// Failed states are remembered after many steps.
    pub(crate) memo: bool,
    /// After how many.
    pub(crate) memo_from: u32,
    /// `(?:(?!literal).)*` is a run.
    pub(crate) tempered: bool,
    /// Small counted repeats are written out.
    pub(crate) unroll: bool,
}

impl Options {
    pub(crate) const ALL: Options = Options {
        words: true,
        possessive: true,
        tables: true,
        follow: true,
        line: true,
        spine: true,
        conditionals: true,
        needs: true,
        memo: true,
        memo_from: 2000,
        tempered: true,
        unroll: true,
    };
}

/// Compiles a tree for ASCII texts or for any; nothing if it would grow too large.
pub(crate) fn compile(tree: &Tree, ascii: bool, options: Options) -> Option<Program> {
    let lowered = lower::lower(tree, ascii, options);
    let emitted = emit::emit(&lowered, options)?;
    finish::finish(emitted, &lowered, options)
}
