//! The ways of blocking, and what each is asked to do.

use stockade_core::Net;

use crate::change::ElementOp;
use crate::error::Error;
use crate::fallback::Fallback;
use crate::layout::Layout;
use crate::nft::Nft;
use crate::nft::events::Watch;

/// How to enforce.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of our table in the family `inet`.
    pub table: String,
    /// Use exactly this; `None` is the best that works here.
    pub means: Option<Means>,
    /// Do without what Linux got in 6.3 (removing what may be absent) and 6.9
    /// (tables with an owner that outlive it), as on older kernels; for tests.
    pub as_old_kernel: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { table: "stockade".to_owned(), means: None, as_old_kernel: false }
    }
}

/// What enforces the bans here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Our own nftables table over netlink.
    Nftables,
    /// Sets of `ipset` in rules of `iptables`.
    Ipset,
    /// A rule of `iptables` for each ban.
    Iptables,
    /// Nothing: bans are only accounted for.
    DryRun,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Nft(Box<Nft>),
    Tools(Box<Fallback>),
    Dry,
}

impl Backend {
    pub(crate) fn build(&mut self, layout: &Layout, reuse: &[Option<usize>]) -> Result<(), Error> {
        match self {
            Backend::Nft(nft) => nft.build(layout, reuse),
            Backend::Tools(tools) => tools.build(layout, reuse),
            Backend::Dry => Ok(()),
        }
    }

    pub(crate) fn retire(&mut self) -> Result<(), Error> {
        match self {
            Backend::Nft(nft) => nft.retire(),
            Backend::Tools(tools) => tools.retire(),
            Backend::Dry => Ok(()),
        }
    }

    pub(crate) fn change(&mut self, ops: &[ElementOp]) -> Vec<(usize, Error)> {
        match self {
            Backend::Nft(nft) => {
                nft.change(ops).into_iter().map(|(i, errno)| (i, Error::errno("change a set", errno))).collect()
            }
            Backend::Tools(tools) => tools.change(ops),
            Backend::Dry => Vec::new(),
        }
    }

    pub(crate) fn holds(&mut self, group: usize, net: Net) -> Result<bool, Error> {
        match self {
            Backend::Nft(nft) => {
                nft.holds(group, net).map_err(|e| Error::errno(format!("look {net} up in the kernel"), e))
            }
            Backend::Tools(tools) => Ok(tools.holds(group, net)),
            Backend::Dry => Ok(false),
        }
    }

    /// Is there a set for networks of that length, or can't that be said?
    pub(crate) fn may_hold(&self, group: usize, net: Net) -> bool {
        match self {
            Backend::Nft(nft) => nft.has_set_for(group, net),
            Backend::Tools(_) => true,
            Backend::Dry => false,
        }
    }

    pub(crate) fn is_whole(&mut self) -> Result<bool, Error> {
        match self {
            Backend::Nft(nft) => nft.is_whole(),
            Backend::Tools(tools) => tools.is_whole(),
            Backend::Dry => Ok(true),
        }
    }
}

/// Our own table.
pub(crate) fn open_nft(options: &Options) -> Result<(Backend, Option<Watch>, String), Error> {
    let nft = Nft::open(&options.table, options.as_old_kernel)?;
    let owned = nft.features().owned;
    let why = if owned {
        "nobody else can change it, and it outlives us".to_owned()
    } else {
        "foreign changes are watched and repaired".to_owned()
    };
    let watch = if owned { None } else { Some(Watch::open(&options.table)?) };
    Ok((Backend::Nft(Box::new(nft)), watch, why))
}

pub(crate) fn by_tools(tools: Fallback, why: &str) -> (Backend, Option<Watch>, String) {
    let why = format!("{why}{}", tools.limits());
    (Backend::Tools(Box::new(tools)), None, why)
}
