//! Who is not counted: the ignore rules of a jail and their caches.
//!
//! Order (matching.md 7): ignorecache, ignoreself, single addresses, the other
//! entries in their order, ignorecommand. `stockade allow` stands with the
//! single addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::log::IgnoreSource;
use super::netset::NetSet;
use super::output::About;
use super::spec::{IgnoreCache, IgnoreEntry, JailSpec};
use crate::failure::GroupValue;
use crate::id::Net;
use crate::time::{Span, Timestamp};

/// A stretch of `ignoreip` entries that can be looked up at once.
#[derive(Clone, Debug)]
enum Segment {
    Nets(NetSet),
    Name(Box<str>),
    File { path: Arc<str>, nets: NetSet },
}

/// The compiled ignore rules of one jail.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `ignoreip`'s single addresses.
    single: BTreeSet<Net>,
    segments: Vec<Segment>,
    ignoreself: bool,
    command: Option<Box<str>>,
    cache: Option<Cache>,
    /// `stockade allow` for this jail.
    pub(super) allowed: NetSet,
}

/// What the rules say about one failure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Count,
    Ignore(IgnoreSource),
    /// Ignored by a remembered answer; nothing is logged.
    IgnoreSilently,
    AskName(Box<str>),
    AskCommand(Box<str>),
}

/// What the rules need to know besides the failure.
pub(super) struct Surroundings<'a> {
    pub(super) own: &'a BTreeSet<IpAddr>,
    pub(super) names: &'a Names,
    pub(super) allowed: &'a NetSet,
    pub(super) now: Timestamp,
    /// The ignore command's answer, if it was asked.
    pub(super) command: Option<bool>,
    /// Ask nothing any more: what is not known does not match.
    pub(super) no_asking: bool,
}

impl Rules {
    pub(super) fn new(spec: &JailSpec, allowed: NetSet) -> Self {
        let mut rules = Rules {
            ignoreself: spec.ignoreself,
            command: spec.ignorecommand.clone().filter(|c| !c.trim().is_empty()),
            cache: spec.ignorecache.clone().map(Cache::new),
            allowed,
            ..Rules::default()
        };
        for entry in &spec.ignoreip {
            match entry {
                IgnoreEntry::Net(net) if net.is_host() => {
                    rules.single.insert(*net);
                }
                IgnoreEntry::Net(net) => match rules.segments.last_mut() {
                    Some(Segment::Nets(nets)) => {
                        nets.insert(*net);
                    }
                    _ => rules.segments.push(Segment::Nets(NetSet::from_iter([*net]))),
                },
                IgnoreEntry::Name(name) => rules.segments.push(Segment::Name(name.clone())),
                IgnoreEntry::File { path, nets } => {
                    rules.segments.push(Segment::File { path: path.clone(), nets: nets.iter().copied().collect() });
                }
            }
        }
        rules
    }

    /// Replaces what a file held.
    pub(super) fn file_read(&mut self, read: &Arc<str>, content: &[Net]) {
        for segment in &mut self.segments {
            if let Segment::File { path, nets } = segment
                && path == read
            {
                *nets = content.iter().copied().collect();
            }
        }
    }

    /// Judges one failure. Answers that were just computed are remembered.
    pub(super) fn judge(&mut self, about: &About, around: &Surroundings<'_>) -> Verdict {
        let key = self.cache.as_ref().map(|cache| expand(&cache.spec.key, about));
        if let (Some(cache), Some(key)) = (&mut self.cache, &key) {
            match cache.get(key, around.now) {
                Some(true) => return Verdict::IgnoreSilently,
                Some(false) => return Verdict::Count,
                None => {}
            }
        }
        let (verdict, remember) = self.judge_uncached(about, around);
        let ignore = match &verdict {
            Verdict::Count => false,
            Verdict::Ignore(_) => true,
            _ => return verdict,
        };
        if let (Some(cache), Some(key), true) = (&mut self.cache, key, remember) {
            cache.set(key, ignore, around.now);
        }
        verdict
    }

    /// Do they remember no answers?
    pub(super) fn forgets(&self) -> bool {
        self.cache.is_none()
    }

    /// As [`Rules::judge`] without the cache: what the rules themselves say.
    pub(super) fn peek(&self, about: &About, around: &Surroundings<'_>) -> Verdict {
        self.judge_uncached(about, around).0
    }

    /// The verdict, and whether the cache may remember it (a hit among the
    /// single addresses is not remembered, nor an answer nobody gave).
    fn judge_uncached(&self, about: &About, around: &Surroundings<'_>) -> (Verdict, bool) {
        let net = about.id.net();
        if let Some(net) = net {
            if self.ignoreself && net.is_host() && around.own.contains(&net.addr()) {
                return (Verdict::Ignore(IgnoreSource::IgnoreSelf), true);
            }
            if self.single.contains(&net) {
                return (Verdict::Ignore(IgnoreSource::Ip), false);
            }
        }
        // Unlike the original's rules, `allow` also looks at the address behind an id.
        if net.into_iter().chain(about.ip).any(|net| around.allowed.covers(net) || self.allowed.covers(net)) {
            return (Verdict::Ignore(IgnoreSource::Allowed), false);
        }
        let mut complete = true;
        for segment in self.segments.iter().filter(|_| net.is_some()) {
            let Some(net) = net else { break };
            match segment {
                Segment::Nets(nets) if nets.covers(net) => return (Verdict::Ignore(IgnoreSource::Ip), true),
                Segment::File { path, nets } if nets.covers(net) => {
                    return (Verdict::Ignore(IgnoreSource::File(path.clone())), true);
                }
                Segment::Name(name) => match around.names.get(name, around.now) {
                    Some(ips) if net.is_host() && ips.contains(&net.addr()) => {
                        return (Verdict::Ignore(IgnoreSource::Dns), true);
                    }
                    Some(_) => {}
                    None if around.no_asking => complete = false,
                    None => return (Verdict::AskName(name.clone()), false),
                },
                Segment::Nets(_) | Segment::File { .. } => {}
            }
        }
        match (&self.command, around.command) {
            (None, _) => (Verdict::Count, complete),
            (Some(_), Some(true)) => (Verdict::Ignore(IgnoreSource::Command), true),
            (Some(_), Some(false)) => (Verdict::Count, complete),
            (Some(_), None) if around.no_asking => (Verdict::Count, false),
            (Some(command), None) => (Verdict::AskCommand(command.clone()), false),
        }
    }
}

/// `template` with its tags replaced by values of the failure; unknown groups
/// are empty, other unknown tags stay.
fn expand(template: &str, about: &About) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('<') {
        text.push_str(before);
        let Some((tag, after)) = tail.split_once('>') else {
            text.push('<');
            rest = tail;
            continue;
        };
        let ip = about.ip.or(about.id.net());
        match (tag, tag.strip_prefix("F-")) {
            ("ip", _) => match ip {
                Some(ip) => text.push_str(&ip.to_string()),
                None => text.push_str(&about.id.to_string()),
            },
            ("fid", _) | (_, Some("ID")) => text.push_str(&about.id.to_string()),
            ("family", _) => text.push_str(ip.map_or("None", |ip| if ip.is_ipv4() { "inet4" } else { "inet6" })),
            (_, Some(group)) => {
                let found = about.groups.iter().find(|(name, _)| name.eq_ignore_ascii_case(group));
                match found.map(|(_, value)| value) {
                    Some(GroupValue::Text(value)) => text.push_str(&value),
                    Some(GroupValue::List(values)) => values.iter().for_each(|value| text.push_str(value)),
                    None => {}
                }
            }
            _ => {
                text.push('<');
                rest = tail;
                continue;
            }
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// `ignorecache`: remembered answers, the oldest go first.
#[derive(Clone, Debug)]
struct Cache {
    spec: IgnoreCache,
    answers: BTreeMap<String, (bool, Timestamp)>,
    order: VecDeque<(Timestamp, String)>,
}

/// However large `max-count` is set.
const CACHE_COUNT_MAX: usize = 100_000;

impl Cache {
    fn new(spec: IgnoreCache) -> Self {
        Cache { spec, answers: BTreeMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: &str, now: Timestamp) -> Option<bool> {
        self.answers.get(key).filter(|(_, until)| *until > now).map(|(ignore, _)| *ignore)
    }

    fn set(&mut self, key: String, ignore: bool, now: Timestamp) {
        let count_max = usize::try_from(self.spec.count_max).unwrap_or(usize::MAX).clamp(1, CACHE_COUNT_MAX);
        let until = now + self.spec.time_max;
        if self.answers.insert(key.clone(), (ignore, until)).is_some() {
            self.order.retain(|(_, there)| *there != key);
        }
        self.order.push_back((until, key));
        while self.answers.len() > count_max || self.order.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.answers.remove(&oldest);
        }
    }
}

/// The addresses of host names, for a while.
///
/// Source: fail2ban `server/ipdns.py`: 1000 names for 5 minutes, failures too.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<Box<str>, (Vec<IpAddr>, Timestamp)>,
    order: VecDeque<Box<str>>,
}

const NAMES_MAX: usize = 1000;
const NAMES_TIME: Span = Span::from_secs(300);

impl Names {
    pub(super) fn get(&self, name: &str, now: Timestamp) -> Option<&[IpAddr]> {
        self.known.get(name).filter(|(_, until)| *until > now).map(|(ips, _)| ips.as_slice())
    }

    pub(super) fn set(&mut self, name: &str, ips: Vec<IpAddr>, now: Timestamp) {
        if self.known.insert(name.into(), (ips, now + NAMES_TIME)).is_none() {
            self.order.push_back(name.into());
        }
        while self.known.len() > NAMES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.known.remove(&oldest);
        }
    }

    /// Forgets all; a reload of everything does that.
    pub(super) fn clear(&mut self) {
        *self = Names::default();
    }
}
