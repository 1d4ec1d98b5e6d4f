//! The brain of stockade: log lines become failures ([`matcher`]), failures,
//! commands, answers and time become decisions ([`judge`]).
//!
//! Nothing in here reads a file, opens a socket, starts a thread, looks at the
//! clock or draws a random number: `(now, seed, input) -> outputs`. Everything
//! that other rooms exchange with each other is spelt in the types of this
//! crate, so that they need not know each other.
#![forbid(unsafe_code)]

pub mod block;
pub mod decision;
pub mod failure;
pub mod id;
pub mod jail;
pub mod judge;
pub mod matcher;
pub mod text;
pub mod time;

pub use block::{Block, LineEnd, Position, SourceKey, Stamp};
pub use decision::{Decision, DecisionKind, Origin, Seq, Subject, Turn, Watermark};
pub use failure::{Batch, Failure, GroupValue, Groups, Matches, Who};
pub use id::{FailureId, Net};
pub use jail::JailName;
pub use time::{BanTime, Span, Timestamp};
