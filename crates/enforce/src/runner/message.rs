//! What is said between the daemon and its runner: orders one way, news the
//! other. Frames of a length and a body, every length bounded.
//!
//! The format is private to one binary, which is both ends; it is never kept.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::actions::ActionSpec;

/// The longest frame; values are cut long before ([`Values::VALUE_BYTES_MAX`]).
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Number that the daemon gives a run, to find its end.
pub type RunId = u64;

/// Number that the daemon gives a prepared action.
pub type ActionId = u32;

/// What the runner is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// An action is known from now on.
    Prepare {
        /// Under this number.
        action: ActionId,
        /// Its texts.
        spec: ActionSpec,
        /// What an earlier process of ours left in force.
        state: ActionState,
        /// The tags' values where there is no ban: for start, stop, flush.
        idle: Values,
        /// Is there IPv6 on this host?
        ipv6: bool,
    },
    /// Something is to be done with an action, behind everything else in its lane.
    Run {
        /// Comes back with [`News::Done`].
        id: RunId,
        /// In which lane: its runs never overlap and keep their order.
        lane: u32,
        /// With which action.
        action: ActionId,
        /// What.
        verb: Verb,
        /// The tags' values.
        values: Values,
        /// Failures are told at DEBUG: the same was told before.
        quiet: bool,
    },
}

/// What can be done with an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// The jail starts.
    Start,
    /// Somebody is banned.
    Ban,
    /// A ban is repeated after a repair.
    Reban,
    /// A ban lasts longer.
    Prolong,
    /// A ban ends.
    Unban,
    /// All bans end at once.
    Flush,
    /// The jail stops.
    Stop,
    /// The properties changed; `actionreload` runs if `reload` is set.
    Renew {
        /// The new ones.
        spec: ActionSpec,
        /// Because of a reload, not a single `set`.
        reload: bool,
    },
    /// Are the effects in place? If not they are repaired.
    Check,
    /// Are the effects in place? Nothing is repaired; what isn't counts as never started.
    Probe,
    /// An ignore command is asked.
    Ask,
    /// The action is known no more.
    Forget,
}

/// What an action has in force: per family (`None` is a ban of no family)
/// whether it was started (1) and has bans (2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionState {
    /// In the order in which the families were started.
    pub families: Vec<(Option<Arc<str>>, u8)>,
}

/// Values of tags, already cut to size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `<tag>` by name; each name once.
    pub tags: Vec<(String, String)>,
    /// `<F-NAME>` by its name in lower case; each name once.
    pub groups: Vec<(String, String)>,
}

impl Values {
    /// The most bytes of one value: the kernel takes arguments up to 128 KiB.
    pub const VALUE_BYTES_MAX: usize = 64 << 10;
    /// The most bytes of all values of one run: the kernel takes 2 MiB of arguments.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Adds the value of a tag, cut to size and without NUL, which no argument can hold.
    pub fn tag(&mut self, name: &str, value: impl Into<String>) {
        let value = self.cut(value.into());
        self.tags.push((name.to_owned(), value));
    }

    /// Adds the value of a captured group.
    pub fn group(&mut self, name: &str, value: impl Into<String>) {
        let value = self.cut(value.into());
        self.groups.push((name.to_owned(), value));
    }

    /// The value of a tag.
    pub fn get(&self, tag: &str) -> Option<&str> {
        self.tags.iter().find(|(name, _)| name == tag).map(|(_, value)| value.as_str())
    }

    fn cut(&self, mut value: String) -> String {
        let held: usize = self.tags.iter().chain(&self.groups).map(|(_, value)| value.len()).sum();
        let room = Self::VALUE_BYTES_MAX.min(Self::BYTES_MAX.saturating_sub(held));
        if value.len() > room {
            let end = (0..=room).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
            value.truncate(end);
        }
        if value.contains('\0') {
            value.retain(|c| c != '\0');
        }
        value
    }
}

/// What the runner tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A line for the own log.
    Line {
        /// How loud.
        level: LineLevel,
        /// Which part of the original would say it.
        speaker: Speaker,
        /// The text.
        text: String,
    },
    /// A run ended.
    Done {
        /// Which one.
        id: RunId,
        /// Did it work? Else the original's words for it. For [`Verb::Ask`]
        /// and [`Verb::Probe`]: was the answer yes?
        result: Result<(), String>,
        /// What a command wrote to standard error although it ended well; empty if nothing.
        said: String,
        /// The effects were found missing; bans made before this may be, too.
        broken: bool,
        /// How many commands ran.
        commands: u32,
        /// What is in force now.
        state: ActionState,
    },
}

/// How loud a line is, as the original's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineLevel {
    /// For developers.
    Debug,
    /// A hint.
    Info,
    /// Something to look at.
    Warning,
    /// A command failed.
    Error,
    /// The environment can't be restored.
    Critical,
}

/// Who says a line, in the original's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// `fail2ban.utils`: who runs commands.
    Utils,
    /// `fail2ban.CommandAction`: an action's logic.
    Action,
    /// `fail2ban.SMTPAction`.
    Mail,
}

impl Speaker {
    /// The logger's name.
    pub fn name(self) -> &'static str {
        match self {
            Speaker::Utils => "fail2ban.utils",
            Speaker::Action => "fail2ban.CommandAction",
            Speaker::Mail => "fail2ban.SMTPAction",
        }
    }
}

/// Something that can be put into a frame.
pub(super) trait Message: Sized {
    fn put(&self, to: &mut Body);
    fn take(from: &mut Reading<'_>) -> Option<Self>;
}

/// Writes one message as one frame.
pub(super) fn write(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let mut body = Body(vec![0; 4]);
    message.put(&mut body);
    let length = body.0.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message to the runner is longer than 8 MiB"));
    }
    let head = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    for (slot, byte) in body.0.iter_mut().zip(head) {
        *slot = byte;
    }
    to.write_all(&body.0)
}

/// Reads one message; `None` at the end of the stream.
pub(super) fn read<M: Message>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a message between daemon and runner is damaged");
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(|_| bad())?;
    if length > FRAME_BYTES_MAX {
        return Err(bad());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let mut reading = Reading(&body);
    let message = M::take(&mut reading).ok_or_else(bad)?;
    if reading.0.is_empty() { Ok(Some(message)) } else { Err(bad()) }
}

/// A body being written.
pub(super) struct Body(Vec<u8>);

impl Body {
    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }
    fn u32(&mut self, n: u32) {
        self.0.extend(n.to_le_bytes());
    }
    fn u64(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }
    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
    }
    fn pairs(&mut self, pairs: &[(String, String)]) {
        self.u32(u32::try_from(pairs.len()).unwrap_or(u32::MAX));
        for (name, value) in pairs {
            self.text(name);
            self.text(value);
        }
    }
}

/// A body being read; everything is `None` behind its end.
pub(super) struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }
    fn flag(&mut self) -> Option<bool> {
        Some(self.u8()? != 0)
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }
    fn pairs(&mut self) -> Option<Vec<(String, String)>> {
        (0..self.u32()?).map(|_| Some((self.text()?, self.text()?))).collect()
    }
}

impl Message for ActionSpec {
    fn put(&self, to: &mut Body) {
        to.text(&self.jail);
        to.text(&self.name);
        to.pairs(&self.properties);
        to.pairs(self.python.as_slice());
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        Some(ActionSpec {
            jail: from.text()?.into(),
            name: from.text()?.into(),
            properties: from.pairs()?,
            python: from.pairs()?.pop(),
        })
    }
}

impl Message for ActionState {
    fn put(&self, to: &mut Body) {
        to.u32(u32::try_from(self.families.len()).unwrap_or(u32::MAX));
        for (family, flags) in &self.families {
            to.u8(u8::from(family.is_some()));
            to.text(family.as_deref().unwrap_or_default());
            to.u8(*flags);
        }
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        let families = (0..from.u32()?).map(|_| {
            let named = from.flag()?;
            let name = from.text()?;
            Some((named.then(|| name.into()), from.u8()?))
        });
        Some(ActionState { families: families.collect::<Option<_>>()? })
    }
}

impl Message for Values {
    fn put(&self, to: &mut Body) {
        to.pairs(&self.tags);
        to.pairs(&self.groups);
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        Some(Values { tags: from.pairs()?, groups: from.pairs()? })
    }
}

/// Verbs without anything to them, by number.
const PLAIN: [Verb; 11] = [
    Verb::Start,
    Verb::Ban,
    Verb::Reban,
    Verb::Prolong,
    Verb::Unban,
    Verb::Flush,
    Verb::Stop,
    Verb::Check,
    Verb::Probe,
    Verb::Ask,
    Verb::Forget,
];
const RENEW: u8 = 255;

impl Message for Verb {
    fn put(&self, to: &mut Body) {
        if let Verb::Renew { spec, reload } = self {
            to.u8(RENEW);
            spec.put(to);
            to.u8(u8::from(*reload));
        } else {
            let number = PLAIN.iter().position(|verb| verb == self);
            to.u8(number.and_then(|n| u8::try_from(n).ok()).unwrap_or(RENEW));
        }
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        match from.u8()? {
            RENEW => Some(Verb::Renew { spec: ActionSpec::take(from)?, reload: from.flag()? }),
            number => PLAIN.get(usize::from(number)).cloned(),
        }
    }
}

impl Message for Order {
    fn put(&self, to: &mut Body) {
        match self {
            Order::Prepare { action, spec, state, idle, ipv6 } => {
                to.u8(0);
                to.u32(*action);
                spec.put(to);
                state.put(to);
                idle.put(to);
                to.u8(u8::from(*ipv6));
            }
            Order::Run { id, lane, action, verb, values, quiet } => {
                to.u8(1);
                to.u64(*id);
                to.u32(*lane);
                to.u32(*action);
                verb.put(to);
                values.put(to);
                to.u8(u8::from(*quiet));
            }
        }
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        Some(match from.u8()? {
            0 => Order::Prepare {
                action: from.u32()?,
                spec: ActionSpec::take(from)?,
                state: ActionState::take(from)?,
                idle: Values::take(from)?,
                ipv6: from.flag()?,
            },
            1 => Order::Run {
                id: from.u64()?,
                lane: from.u32()?,
                action: from.u32()?,
                verb: Verb::take(from)?,
                values: Values::take(from)?,
                quiet: from.flag()?,
            },
            _ => return None,
        })
    }
}

const LEVELS: [LineLevel; 5] =
    [LineLevel::Debug, LineLevel::Info, LineLevel::Warning, LineLevel::Error, LineLevel::Critical];
const SPEAKERS: [Speaker; 3] = [Speaker::Utils, Speaker::Action, Speaker::Mail];

impl Message for News {
    fn put(&self, to: &mut Body) {
        match self {
            News::Line { level, speaker, text } => {
                to.u8(0);
                to.u8(*level as u8);
                to.u8(*speaker as u8);
                to.text(text);
            }
            News::Done { id, result, said, broken, commands, state } => {
                to.u8(1);
                to.u64(*id);
                to.u8(u8::from(result.is_ok()));
                to.text(result.as_ref().err().map_or("", String::as_str));
                to.text(said);
                to.u8(u8::from(*broken));
                to.u32(*commands);
                state.put(to);
            }
        }
    }

    fn take(from: &mut Reading<'_>) -> Option<Self> {
        Some(match from.u8()? {
            0 => News::Line {
                level: *LEVELS.get(usize::from(from.u8()?))?,
                speaker: *SPEAKERS.get(usize::from(from.u8()?))?,
                text: from.text()?,
            },
            1 => {
                let id = from.u64()?;
                let well = from.flag()?;
                let why = from.text()?;
                News::Done {
                    id,
                    result: if well { Ok(()) } else { Err(why) },
                    said: from.text()?,
                    broken: from.flag()?,
                    commands: from.u32()?,
                    state: ActionState::take(from)?,
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
        let mut frame = Vec::new();
        write(&mut frame, message).unwrap();
        assert_eq!(read::<M>(&mut frame.as_slice()).unwrap().as_ref(), Some(message));
        for end in 0..frame.len() {
            let cut = read::<M>(&mut &frame[..end]);
            assert!(matches!(cut, Ok(None) | Err(_)), "cut at {end}");
        }
        let mut longer = frame.clone();
        longer[0] += 1;
        longer.push(0);
        assert!(read::<M>(&mut longer.as_slice()).is_err());
    }

    #[test]
    fn messages_come_out_as_they_went_in_and_damaged_ones_are_refused() {
        let spec = ActionSpec {
            jail: "sshd".into(),
            name: "fw".into(),
            properties: vec![("actionban".into(), "x <ip>".into())],
            python: Some(("/a.py".into(), "{}".into())),
        };
        let state = ActionState { families: vec![(None, 3), (Some("".into()), 1), (Some("inet6".into()), 2)] };
        let mut values = Values::default();
        values.tag("ip", "192.0.2.1");
        values.group("user", "a'b\n");
        round(&Order::Prepare {
            action: 7,
            spec: spec.clone(),
            state: state.clone(),
            idle: values.clone(),
            ipv6: true,
        });
        for verb in PLAIN.into_iter().chain([Verb::Renew { spec, reload: true }]) {
            round(&Order::Run { id: 1 << 40, lane: 3, action: 7, verb, values: values.clone(), quiet: false });
        }
        for (level, speaker) in LEVELS.into_iter().zip(SPEAKERS.into_iter().cycle()) {
            round(&News::Line { level, speaker, text: "a\nb".into() });
        }
        round(&News::Done { id: 1, result: Ok(()), said: "x".into(), broken: true, commands: 4, state: state.clone() });
        round(&News::Done { id: 1, result: Err("why".into()), said: String::new(), broken: false, commands: 0, state });
        assert!(read::<Order>(&mut [255, 255, 255, 255, 0].as_slice()).is_err());
    }

    #[test]
    fn values_are_cut_and_lose_their_nul() {
        let mut values = Values::default();
        values.tag("matches", "ä".repeat(1 << 20));
        values.tag("x", "a\0b");
        assert_eq!(values.get("matches").unwrap().len(), Values::VALUE_BYTES_MAX);
        assert_eq!(values.get("x"), Some("ab"));
        for n in 0..40 {
            values.group(&n.to_string(), "y".repeat(1 << 20));
        }
        let held: usize = values.tags.iter().chain(&values.groups).map(|(_, v)| v.len()).sum();
        assert_eq!(held, Values::BYTES_MAX);
    }
}
