//! Makes the kernel and the action commands match the bans.
//!
//! [`Kernel`] owns what we have in the kernel: hand it a [`Layout`] (which jail
//! blocks which ports) and all living bans with [`Kernel::restore`], then each
//! turn's changes with [`Kernel::apply`]. [`lift()`] is the way out when nothing
//! of ours is alive.
#![forbid(unsafe_code)]

pub mod actions;
mod backend;
mod change;
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
mod ops;
mod owner;
mod ports;
pub mod runner;
pub mod stock;

pub use backend::{Means, Options};
pub use error::Error;
pub use guard::{Guard, Reason};
pub use kernel::Kernel;
pub use layout::{JailBlock, Layout, Verdict};
pub use lift::{Lifted, Standing, lift, standing};
pub use nft::events::KernelEvent;
pub use ops::{Applied, GroupCount, Held, Loaded, OnClose, Progress, SetOp};
pub use ports::{PortError, PortSpec, Services};
