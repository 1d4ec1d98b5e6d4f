//! Makes the kernel and the action commands match the bans.
//!
//! [`Kernel`] owns what we have in the kernel: hand it a [`Layout`] (which jail
//! blocks which ports) and all living bans with [`Kernel::restore`], then each
//! turn's changes with [`Kernel::apply`]. [`lift()`] is the way out when nothing
//! of ours is alive.
#![forbid(unsafe_code)]

mod backend;
mod command;
mod content;
mod diag;
mod error;
mod fallback;
pub mod guard;
mod kernel;
mod layout;
mod lift;
pub mod link;
mod netlink;
mod nft;
mod owner;
mod ports;

pub use error::Error;
pub use guard::{Guard, Reason};
pub use kernel::{Applied, GroupCount, Held, Kernel, Loaded, Means, OnClose, Options, Progress, SetOp};
pub use layout::{JailBlock, Layout, Verdict};
pub use lift::{Lifted, lift};
pub use nft::events::KernelEvent;
pub use ports::{PortError, PortSpec, Services};
