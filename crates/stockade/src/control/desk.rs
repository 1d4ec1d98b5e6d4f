//! The desk: what each request means, and who does it.
//!
//! Questions go to the thread that puts answers together, changes to the
//! operator; the socket's own thread never waits for either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stockade_core::judge::timespec::parse_seconds;
use stockade_core::judge::{Command, Outcome};
use stockade_core::{BanTime, FailureId, JailName, Net, Origin};
use stockade_wire::pickle::{self, Exception};
use stockade_wire::value as pickle_value;

use super::answers::{Answers, Page};
use super::fail2ban::{self, Bans, Rights, Route};
use super::server::{ANSWER_BYTES_MAX, Desk, Peer, ReplyTo, Request};
use super::{line, pickled, refusal, shutting_down, unreadable};
use crate::daemon::board::Board;
use crate::daemon::operator::Operator;
use crate::daemon::room::Room;
use crate::log::{Level, Log};
use crate::settings::shown;

/// How many bans by hand are under way at a time.
pub(crate) const BANS_AT_ONCE: usize = 32;
/// How many clients may sleep at a time.
const SLEEPERS_MAX: usize = 64;

/// The jail of bans by hand, where there is one.
const MANUAL: &str = "manual";

/// How long a list does not count after a `lift`.
pub(crate) const SUSPENDED: &str = "until that file changes, or a reload or restart";

/// How the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Stop; bans stay in the kernel or are lifted.
    Stop {
        /// Lift them?
        lift: bool,
    },
    /// Stop and become a new process.
    Restart,
}

/// What is said to whoever asked for the end, once everything has ended.
pub(crate) type LastWord = Box<dyn FnOnce() + Send>;

/// Tells the main thread to end.
pub(crate) type Ender = Arc<dyn Fn(End, LastWord) + Send + Sync>;

/// The front desk.
pub(crate) struct FrontDesk {
    pub(crate) answers: Room<Answers>,
    pub(crate) operator: Room<Operator>,
    /// Bans by hand, several at a time.
    pub(crate) bans: Vec<Room<Bans>>,
    pub(crate) end: Ender,
    pub(crate) log: Log,
    /// What is in force: who may look.
    pub(crate) board: Board,
    /// How many clients wait for the end of a `sleep`.
    pub(crate) sleepers: Arc<AtomicUsize>,
    /// Set once the daemon is stopping: nothing new is taken.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Desk for FrontDesk {
    fn request(&mut self, peer: Peer, request: Request<'_>, reply: ReplyTo) {
        match request {
            Request::Line(text) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(words)) => self.own(peer, &words, reply),
                Ok(_) => reply.send(refusal(true, "a request is a JSON array")),
                Err(e) => reply.send(refusal(true, &format!("the request is not JSON: {e}"))),
            },
            Request::Pickle(bytes) => match pickle::read(bytes, pickle::Limits::default()) {
                Ok(request) => self.original(peer, request, reply),
                Err(e) => {
                    let why = e.to_string();
                    reply.send(unreadable(&why));
                    self.refused(peer, &why);
                }
            },
        }
    }

    fn refused(&mut self, peer: Peer, why: &str) {
        let Peer { pid, uid, .. } = peer;
        self.log.warning(format!("refused a request of process {pid} (user {uid}): {why}; nothing of it was run"));
    }
}

impl FrontDesk {
    /// A request in the original's tongue.
    fn original(&mut self, peer: Peer, request: pickle_value::Value, reply: ReplyTo) {
        if self.stopping.load(Ordering::Relaxed) {
            return reply.send(shutting_down());
        }
        let route = fail2ban::route(&request);
        let rights = self.rights(peer);
        let may = match route {
            Route::Now(_) | Route::Ask => rights != Rights::None,
            Route::Bans | Route::Change | Route::Sleep(_) | Route::Stop { .. } => rights == Rights::All,
        };
        let command = match request {
            pickle_value::Value::List(items) | pickle_value::Value::Tuple(items) => items,
            other => vec![other],
        };
        if !may {
            let text = format!("user {} may not do that; ask root", peer.uid);
            self.log.warning(format!("refused {} of process {}: {text}", shown(&command), peer.pid));
            return reply.send(pickled(&Err(Exception::builtin("PermissionError", text))));
        }
        let log = self.log.clone();
        match route {
            Route::Now(answer) => respond_original(&log, &command, reply, &answer),
            Route::Ask => self.answers.send(move |answers| {
                let answer = fail2ban::ask(answers, &command);
                respond_original(&log, &command, reply, &answer);
            }),
            Route::Bans => {
                self.audit(peer, &shown(&command));
                // One after another of few; each waits for the disk.
                self.bans.rotate_left(1);
                if let Some(room) = self.bans.first() {
                    room.send(move |bans| {
                        let answer = fail2ban::about_bans(bans, &command);
                        respond_original(&log, &command, reply, &answer);
                    });
                }
            }
            Route::Change => {
                self.audit(peer, &shown(&command));
                if fail2ban::is_call(&command) {
                    return self.operator.send(move |operator| {
                        let words = command.clone();
                        let done = move |answer| respond_original(&log, &words, reply, &answer);
                        fail2ban::call(operator, &command, Box::new(done));
                    });
                }
                self.operator.send(move |operator| {
                    let answer = fail2ban::change(operator, &command);
                    respond_original(&log, &command, reply, &answer);
                });
            }
            Route::Sleep(seconds) => self.sleep(seconds, reply),
            Route::Stop { keep } => {
                self.audit(peer, &shown(&command));
                let (ender, stopping) = (Arc::clone(&self.end), Arc::clone(&self.stopping));
                self.operator.send(move |operator| {
                    stopping.store(true, Ordering::Relaxed);
                    let lift = !keep && operator.lift_on_stop();
                    // The original answers when it has stopped: whoever waits for that may start it anew at once.
                    let done = move || reply.send(pickled(&Ok(pickle_value::Value::None)));
                    ender(End::Stop { lift }, Box::new(done));
                });
            }
        }
    }

    /// Answers later. The original's server does nothing else meanwhile.
    fn sleep(&self, seconds: f64, reply: ReplyTo) {
        let held = Arc::clone(&self.sleepers);
        let refused = |why: &str| pickled(&Err(Exception::builtin("RuntimeError", why)));
        if held.fetch_add(1, Ordering::Relaxed) >= SLEEPERS_MAX {
            held.fetch_sub(1, Ordering::Relaxed);
            return reply.send(refused("too many clients are asleep"));
        }
        let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let thread = std::thread::Builder::new().name("sleeper".into()).stack_size(64 << 10);
        let spawned = thread.spawn(move || {
            std::thread::sleep(time);
            held.fetch_sub(1, Ordering::Relaxed);
            reply.send(pickled(&Ok(pickle_value::Value::None)));
        });
        if spawned.is_err() {
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What the peer may do.
    fn rights(&self, peer: Peer) -> Rights {
        let readers = self.board.read().settings.server_text("stockade.readers");
        Rights::of(peer, readers.as_deref().filter(|name| !name.is_empty()))
    }

    /// Every change leaves a line that says who wanted it.
    fn audit(&self, peer: Peer, what: &str) {
        self.log.line(Level::Info, "stockade.control", format!("{what} by user {}, process {}", peer.uid, peer.pid));
    }

    /// `["stockade", WORD, {ARGUMENTS}]`
    fn own(&mut self, peer: Peer, words: &[Value], reply: ReplyTo) {
        let (Some("stockade"), Some(word)) =
            (words.first().and_then(Value::as_str), words.get(1).and_then(Value::as_str))
        else {
            reply.send(refusal(true, "a request begins with \"stockade\" and a word"));
            return;
        };
        if self.stopping.load(Ordering::Relaxed) {
            reply.send(refusal(true, "the daemon is stopping"));
            return;
        }
        let args = Args(words.get(2).cloned().unwrap_or_default());
        let looks = matches!(word, "status" | "banned" | "why");
        let rights = self.rights(peer);
        match rights {
            Rights::All => {}
            Rights::Look if looks => {}
            _ => {
                self.log.warning(format!("refused '{word}' of process {} (user {})", peer.pid, peer.uid));
                reply.send(refusal(true, &format!("user {} may not do that; ask root", peer.uid)));
                return;
            }
        }
        match word {
            "status" => self.ask(reply, move |a| a.status(args.text("jail"))),
            "banned" => self.ask(reply, move |a| a.banned(&args.page())),
            "why" => self.ask(reply, move |a| a.why(args.text("id").unwrap_or_default(), rights == Rights::All)),
            _ => {
                self.audit(peer, &format!("command '{word}'"));
                self.change(word, args, reply);
            }
        }
    }

    fn change(&mut self, word: &str, args: Args, reply: ReplyTo) {
        match word {
            "ban" => self.tell(reply, move |o| ban(o, &args)),
            "unban" => self.tell(reply, move |o| unban(o, &args)),
            "import" => self.tell(reply, move |o| super::import::import(o, args.list("bans"))),
            "lift" => self.tell(reply, move |o| lift(o, &args)),
            "allow" => self.tell(reply, move |o| allow(o, &args, true)),
            "disallow" => self.tell(reply, move |o| allow(o, &args, false)),
            "reload" => {
                let log = self.log.clone();
                self.tell(reply, move |o| {
                    let result = o.reload();
                    match &result {
                        Ok((jails, problems)) => {
                            log.info(format!("configuration read again: {jails} jails run"));
                            problems.iter().for_each(|problem| log.warning(problem.clone()));
                        }
                        Err(why) => log.error(format!("reload refused: {why}")),
                    }
                    let off = o.off().len();
                    result.map(|(jails, problems)| json!({ "jails": jails, "off": off, "problems": problems }))
                });
            }
            "stop" | "restart" => {
                let restart = word == "restart";
                let (lift, keep) = (args.flag("lift"), args.flag("keep"));
                let (ender, stopping) = (Arc::clone(&self.end), Arc::clone(&self.stopping));
                self.operator.send(move |operator| {
                    // A mistake in the tree must not turn a restart into a stop.
                    if restart && let Err(why) = operator.check() {
                        reply.send(refusal(true, &why));
                        return;
                    }
                    stopping.store(true, Ordering::Relaxed);
                    let bans = operator.kernel.state().bans;
                    let lift = !restart && (lift || !keep && operator.lift_on_stop());
                    let left = if lift { 0 } else { operator.kernel.state().bans };
                    reply.send(line(&json!({ "ok": { "bans": bans, "left": left } })));
                    ender(if restart { End::Restart } else { End::Stop { lift } }, Box::new(|| {}));
                });
            }
            other => reply.send(refusal(true, &format!("unknown word '{other}'"))),
        }
    }

    fn ask(&self, reply: ReplyTo, answer: impl FnOnce(&Answers) -> Result<Value, String> + Send + 'static) {
        self.answers.send(move |answers| respond(reply, answer(answers)));
    }

    fn tell(&self, reply: ReplyTo, change: impl FnOnce(&mut Operator) -> Result<Value, String> + Send + 'static) {
        self.operator.send(move |operator| respond(reply, change(operator)));
    }
}

fn respond_original(log: &Log, command: &[pickle_value::Value], reply: ReplyTo, answer: &fail2ban::Answer) {
    if let Err(exception) = answer {
        let text = format!("Command {} has failed. Received {}", shown(command), fail2ban::shown(exception));
        log.line(Level::Error, "fail2ban.transmitter", text);
    }
    let bytes = pickled(answer);
    if bytes.len() > ANSWER_BYTES_MAX {
        let text = "the answer is larger than 64 MiB; ask for one jail";
        reply.send(pickled(&Err(Exception::builtin("RuntimeError", text))));
    } else {
        reply.send(bytes);
    }
}

fn respond(reply: ReplyTo, result: Result<Value, String>) {
    let answer = match result {
        Ok(value) => line(&json!({ "ok": value })),
        Err(why) => refusal(true, &why),
    };
    if answer.len() > ANSWER_BYTES_MAX {
        reply
            .send(refusal(true, "the answer is larger than 64 MiB; ask for one jail, or for addresses only (--plain)"));
    } else {
        reply.send(answer);
    }
}

/// The arguments of one of our own words.
struct Args(Value);

impl Args {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn page(&self) -> Page {
        let from = match self.list("from") {
            [jail, place] => jail.as_str().zip(place.as_u64().and_then(|at| u32::try_from(at).ok())),
            _ => None,
        };
        Page {
            jail: self.text("jail").map(str::to_owned),
            plain: self.flag("plain"),
            from: from.map(|(jail, at)| (jail.to_owned(), at)),
        }
    }

    fn addresses(&self) -> Vec<&str> {
        self.list("addresses").iter().filter_map(Value::as_str).collect()
    }

    /// Addresses and networks; what is neither is refused by name.
    fn nets(&self) -> Result<Vec<Net>, String> {
        let net = |text: &str| match FailureId::parse(text) {
            FailureId::Net(net) => Ok(net),
            FailureId::Text(_) => {
                Err(format!("'{text}' is not an address or network such as 192.0.2.1 or 2001:db8::/32"))
            }
        };
        self.addresses().into_iter().map(net).collect()
    }

    fn jail(&self, operator: &Operator) -> Result<Option<JailName>, String> {
        let Some(name) = self.text("jail") else { return Ok(None) };
        let jail = JailName::new(name);
        if operator.jail_names().contains(&jail) {
            return Ok(Some(jail));
        }
        let names: Vec<String> = operator.jail_names().iter().map(ToString::to_string).collect();
        Err(format!("there is no jail '{name}'; there are: {}", names.join(", ")))
    }
}

fn ban(operator: &mut Operator, args: &Args) -> Result<Value, String> {
    let nets = args.nets()?;
    let jail = match args.jail(operator)? {
        Some(jail) => jail,
        None => {
            let names = operator.jail_names();
            let manual =
                names.iter().find(|name| name.as_str() == MANUAL).or(names.first().filter(|_| names.len() == 1));
            manual.cloned().ok_or("there is no jail 'manual' here; say which one with --jail")?
        }
    };
    let bantime = match args.text("time") {
        None => None,
        Some(text) => {
            let secs = parse_seconds(text).map_err(|e| format!("--time {text}: {e}; write 30m, 2h, 1d or -1"))?;
            Some(BanTime::from_secs_f64(secs))
        }
    };
    let ids: Vec<FailureId> = nets.iter().map(|net| FailureId::Net(*net)).collect();
    let command = Command::Ban { jail: jail.clone(), ids: ids.clone(), bantime, force: false, origin: Origin::Manual };
    let Outcome::Banned { new, already, withheld } = operator.command(command)? else {
        return Err(format!("there is no jail '{jail}'"));
    };
    let results: Vec<Value> = ids
        .iter()
        .map(|id| {
            let guarded = withheld.iter().find(|(who, _)| who == id);
            let why = match guarded {
                Some((_, why)) => format!("withheld ({why})"),
                None if already.contains(id) => "it is banned already".to_owned(),
                None => String::new(),
            };
            json!({ "id": id.to_string(), "jail": jail.as_str(), "done": why.is_empty(), "why": why })
        })
        .collect();
    Ok(json!({ "changed": new, "results": results, "not_saved": operator.not_saved() }))
}

fn unban(operator: &mut Operator, args: &Args) -> Result<Value, String> {
    let jail = args.jail(operator)?;
    if args.flag("all") {
        return unban_all(operator, jail);
    }
    let all: Vec<FailureId> = args.addresses().into_iter().map(FailureId::parse).collect();
    let (mut ids, mut results, mut lifted) = (Vec::new(), Vec::new(), 0);
    for id in all {
        let mut keepers = id.net().map(|net| operator.blacklists.keepers(net)).unwrap_or_default();
        keepers.retain(|(keeper, _)| jail.as_ref().is_none_or(|jail| jail == keeper));
        if keepers.is_empty() {
            ids.push(id);
        } else {
            let (count, row) = unban_kept(operator, jail.is_some(), &id, &keepers)?;
            results.push(row);
            lifted += count;
        }
    }
    let waiting = operator.withheld_among(jail.clone(), ids.clone())?;
    let command = Command::Unban { jail: jail.clone(), targets: ids.clone() };
    let Outcome::Unbanned { count, absent } = operator.command(command)? else {
        return Err("the jail has gone".to_owned());
    };
    operator.forget(jail.as_ref(), &ids);
    let forgotten = ids.iter().filter(|id| absent.contains(id) && waiting.contains(id)).count() as u64;
    let around = operator.networks_around(ids.iter().filter_map(FailureId::net).collect())?;
    results.extend(ids.iter().map(|id| {
        let (missing, waited) = (absent.contains(id), waiting.contains(id));
        let mut why = match (missing, waited) {
            (true, true) => "(its ban was only withheld, and is forgotten)".to_owned(),
            (true, false) => "it is not banned".to_owned(),
            (false, _) => String::new(),
        };
        why += &still_held(&around, id.net(), "unban");
        json!({ "id": id.to_string(), "done": !missing || waited, "why": why })
    }));
    Ok(json!({ "changed": count + lifted + forgotten, "results": results, "not_saved": operator.not_saved() }))
}

/// Unbans everybody. Whom the lists keep is told, too.
fn unban_all(operator: &Operator, jail: Option<JailName>) -> Result<Value, String> {
    let kept = operator.blacklists.kept(jail.as_ref()).into_iter().map(
        |kept| json!({ "jail": kept.jail.as_str(), "file": kept.file.display().to_string(), "number": kept.number }),
    );
    let kept: Vec<Value> = kept.collect();
    let outcome = operator.command(Command::UnbanAll { jail })?;
    let count = if let Outcome::Unbanned { count, .. } = outcome { count } else { 0 };
    Ok(json!({ "changed": count, "results": [], "kept": kept, "not_saved": operator.not_saved() }))
}

/// Unbans somebody whom the lists of these jails keep: not there, but (unless
/// `only` those were meant) in all other jails.
fn unban_kept(
    operator: &Operator,
    only: bool,
    id: &FailureId,
    keepers: &[(JailName, String)],
) -> Result<(u64, Value), String> {
    let keeps = |name: &JailName| keepers.iter().any(|(keeper, _)| keeper == name);
    let mut lifted = 0;
    for other in operator.jail_names().into_iter().filter(|name| !only && !keeps(name)) {
        let command = Command::Unban { jail: Some(other.clone()), targets: vec![id.clone()] };
        if let Outcome::Unbanned { count, .. } = operator.command(command)? {
            lifted += count;
        }
        operator.forget(Some(&other), std::slice::from_ref(id));
    }
    let places: Vec<String> = keepers.iter().map(|(jail, place)| format!("'{jail}' keeps it, by {place}")).collect();
    let also = if lifted > 0 { "; it was unbanned in the other jails" } else { "" };
    let why = format!("{}: remove the line, and it is unbanned{also}", places.join(", "));
    Ok((lifted, json!({ "id": id.to_string(), "done": false, "why": why })))
}

/// Says which banned networks hold an address all the same.
fn still_held(around: &[(Net, JailName, Net)], net: Option<Net>, word: &str) -> String {
    let mut holds: Vec<(Net, Vec<&str>)> = Vec::new();
    for (_, jail, wide) in around.iter().filter(|(inside, ..)| Some(*inside) == net) {
        match holds.iter_mut().find(|(other, _)| other == wide) {
            Some((_, jails)) => jails.push(jail.as_str()),
            None => holds.push((*wide, vec![jail.as_str()])),
        }
    }
    let part = |(wide, jails): &(Net, Vec<&str>)| {
        let jails = jails.join(" and ");
        format!("; the network {wide} is banned in {jails} and holds it: {word} it, too, if you mean it")
    };
    holds.iter().map(part).collect()
}

/// `lift` with the daemon alive: as `unban`, but the jails' own lists do not
/// keep anybody of these until they change. It is the way out of a mistake in them.
fn lift(operator: &mut Operator, args: &Args) -> Result<Value, String> {
    let jail = args.jail(operator)?;
    if args.flag("all") {
        operator.blacklists.let_go(jail.as_ref(), None);
        return unban_all(operator, jail);
    }
    let nets = args.nets()?;
    let keepers: Vec<Vec<(JailName, String)>> = nets.iter().map(|net| operator.blacklists.keepers(*net)).collect();
    operator.blacklists.let_go(jail.as_ref(), Some(&nets));
    let ids: Vec<FailureId> = nets.iter().copied().map(FailureId::Net).collect();
    let command = Command::Unban { jail: jail.clone(), targets: ids.clone() };
    let Outcome::Unbanned { count, absent } = operator.command(command)? else {
        return Err("the jail has gone".to_owned());
    };
    operator.forget(jail.as_ref(), &ids);
    let around = operator.networks_around(nets.clone())?;
    let results = nets.iter().zip(&ids).zip(keepers).map(|((net, id), keepers)| {
        let missing = absent.contains(id);
        let mut why = if missing { "it is not banned".to_owned() } else { String::new() };
        for (_, place) in keepers.iter().filter(|(keeper, _)| jail.as_ref().is_none_or(|jail| jail == keeper)) {
            why += &format!("; {place} keeps it: not {SUSPENDED}; remove the line");
        }
        why += &still_held(&around, Some(*net), "lift");
        json!({ "id": id.to_string(), "done": !missing, "why": why })
    });
    let results: Vec<Value> = results.collect();
    Ok(json!({ "changed": count, "results": results, "not_saved": operator.not_saved() }))
}

fn allow(operator: &mut Operator, args: &Args, on: bool) -> Result<Value, String> {
    let nets = args.nets()?;
    if on && let Some(all) = nets.iter().find(|net| net.prefix() == 0) {
        return Err(format!(
            "{all} is everybody: that would switch all protection off; stop the daemon if you mean it"
        ));
    }
    let command = if on {
        Command::Allow { jail: None, nets: nets.clone() }
    } else {
        Command::Disallow { jail: None, nets: nets.clone() }
    };
    let Outcome::Allowed { entries, lifted } = operator.command(command)? else {
        return Err("that did not work".to_owned());
    };
    operator.keep_allowed(&nets, on.then(crate::daemon::now));
    let why = match (on, entries, lifted) {
        (true, 0, _) => "(it was allowed already)".to_owned(),
        (true, _, 0) => String::new(),
        (true, _, 1) => "(1 ban lifted)".to_owned(),
        (true, _, n) => format!("({n} bans lifted)"),
        (false, 0, _) => "it was not allowed".to_owned(),
        (false, ..) => String::new(),
    };
    let done = on || entries > 0;
    let around = if on { operator.networks_around(nets.clone())? } else { Vec::new() };
    let result = |net: &Net| {
        let why = format!("{why}{}", still_held(&around, Some(*net), "unban"));
        json!({ "id": net.to_string(), "done": done, "why": why })
    };
    let results: Vec<Value> = nets.iter().map(result).collect();
    let changed = if on { nets.len() as u64 } else { entries };
    Ok(json!({ "changed": changed, "results": results, "not_saved": operator.not_saved() }))
}
