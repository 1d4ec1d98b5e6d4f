//! The control socket's one thread: accepts, reads requests, sends answers.
//!
//! Two tongues are spoken, told apart by a connection's first byte: JSON lines
//! (ours, they begin with `[`) and pickles behind an end marker (the original
//! client's). What a request means is the [`Desk`]'s affair, which answers at
//! once or later, from any thread, through [`ReplyTo`]. A connection has one
//! request under way at a time; further ones wait in its buffer.
//!
//! Bounds: 256 connections (one more takes the place of the one that has been
//! idle for longest), 32 of a user who is not root; 1 MiB a JSON line and
//! 256 KiB a pickle (16 MiB a stream, 64 KiB for who is not root), refused as
//! soon as it can't become a request; 30 s for a request to become whole, 64 KiB
//! read at a time. A connection's next request is looked at when it has read the
//! answer to the last one; it is closed when 64 MiB are waiting for it or after
//! 30 s without progress.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use stockade_wire::pickle::{Limits, Skimmer};

const CONNECTIONS_MAX: usize = 256;
const LINE_BYTES_MAX: usize = 1 << 20;
const PICKLE_BYTES_MAX: usize = 256 << 10;
/// A configuration as one request: 1,000 jails need about 3 MiB.
const STREAM_BYTES_MAX: usize = 16 << 20;
/// Who may only look needs few words, and few connections.
const GUEST_BYTES_MAX: usize = 64 << 10;
const GUEST_CONNECTIONS_MAX: usize = 32;
/// The largest answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What ends a request and an answer of the original client.
pub(crate) const END_MARKER: &[u8] = b"<F2B_END_COMMAND>";
/// What ends a conversation.
pub(crate) const CLOSE_MARKER: &[u8] = b"<F2B_CLOSE_COMMAND>";
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Who asks, as the kernel vouches for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Process.
    pub(crate) pid: i32,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// One request as it came.
pub(crate) enum Request<'r> {
    /// A JSON line without its end.
    Line(&'r str),
    /// A pickle without its end marker.
    Pickle(&'r [u8]),
}

/// Understands requests.
pub(crate) trait Desk: Send {
    /// Takes one request. Must not block: what takes time is handed on,
    /// together with `reply`.
    fn request(&mut self, peer: Peer, request: Request<'_>, reply: ReplyTo);
    /// Told of a request that can't be read, after it was answered so.
    fn refused(&mut self, peer: Peer, why: &str);
    /// Called whenever the thread woke up, before requests are handled.
    fn woken(&mut self) {}
}

/// The way back to the one who asked. Dropping it unanswered closes the connection.
pub(crate) struct ReplyTo {
    connection: u64,
    outbox: Arc<Outbox>,
    sent: bool,
}

impl ReplyTo {
    /// Sends the answer, with its line end or end marker.
    pub(crate) fn send(mut self, answer: Vec<u8>) {
        self.sent = true;
        self.outbox.push(self.connection, Some(answer));
    }
}

#[cfg(test)]
impl ReplyTo {
    /// A way to nobody's connection, and what was sent on it so far.
    pub(crate) fn kept() -> (ReplyTo, impl Fn() -> Vec<Option<Vec<u8>>>) {
        let outbox = Arc::new(Outbox { answers: Mutex::default(), wake: Waker::new().unwrap() });
        let there = Arc::clone(&outbox);
        let sent = move || there.answers.lock().unwrap().iter().map(|(_, answer)| answer.clone()).collect();
        (ReplyTo { connection: 0, outbox, sent: false }, sent)
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !self.sent {
            self.outbox.push(self.connection, None);
        }
    }
}

/// Answers on their way to the socket's thread.
struct Outbox {
    answers: Mutex<Vec<(u64, Option<Vec<u8>>)>>,
    wake: Waker,
}

impl Outbox {
    fn push(&self, connection: u64, answer: Option<Vec<u8>>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((connection, answer));
        self.wake.wake();
    }
}

/// Wakes a thread that waits in `poll`; clones wake the same thread.
#[derive(Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new one, not set.
    pub(crate) fn new() -> io::Result<Waker> {
        Ok(Waker(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// Makes the next `poll` return.
    pub(crate) fn wake(&self) {
        // It can only fail when it is set already.
        rustix::io::write(&*self.0, &1_u64.to_ne_bytes()).unwrap_or_default();
    }

    /// What `poll` waits for.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Makes `poll` wait again.
    pub(crate) fn clear(&self) {
        rustix::io::read(&*self.0, &mut [0_u8; 8]).unwrap_or_default();
    }
}

/// The listening socket; its file is removed on drop.
pub(crate) struct Socket {
    listener: UnixListener,
    place: SocketPlace,
}

impl Socket {
    /// Takes the place. A socket that nobody answers is replaced; one that
    /// somebody answers is refused with [`ErrorKind::AddrInUse`]. The file is
    /// for its owner alone (mode 0700), as fail2ban's is.
    pub(crate) fn bind(path: &Path) -> io::Result<Socket> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        if std::fs::symlink_metadata(path).is_ok() {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(ErrorKind::AddrInUse, "another daemon answers at this socket"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        listener.set_nonblocking(true)?;
        let made = std::fs::symlink_metadata(path)?;
        Ok(Socket { listener, place: SocketPlace { file: Some((path.to_owned(), made.dev(), made.ino())) } })
    }

    /// The socket that the service manager made for us, if it did: of those it
    /// hands over the one named `fail2ban` or `stockade`, else the first.
    ///
    /// Source: systemd's `sd_listen_fds(3)`.
    pub(crate) fn handed_over() -> io::Result<Option<Socket>> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut all = listenfd::ListenFd::from_env();
        if all.len() == 0 {
            return Ok(None);
        }
        let ours = names.split(':').position(|name| matches!(name, "fail2ban" | "stockade")).unwrap_or(0);
        let Some(listener) = all.take_unix_listener(ours)? else { return Ok(None) };
        listener.set_nonblocking(true)?;
        Ok(Some(Socket { listener, place: SocketPlace { file: None } }))
    }

    /// Where it is.
    pub(crate) fn place(&self) -> SocketPlace {
        self.place.clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.place.leave();
    }
}

/// A socket's file, if it is ours: its path, device and number.
#[derive(Clone, Debug)]
pub(crate) struct SocketPlace {
    file: Option<(PathBuf, u64, u64)>,
}

impl SocketPlace {
    /// Removes the file, unless another daemon's is there by now.
    pub(crate) fn leave(&self) {
        let Some((path, dev, ino)) = &self.file else { return };
        let now = std::fs::symlink_metadata(path);
        if now.is_ok_and(|now| (now.dev(), now.ino()) == (*dev, *ino)) {
            drop(std::fs::remove_file(path));
        }
    }

    /// Did the service manager make it?
    pub(crate) fn is_handed_over(&self) -> bool {
        self.file.is_none()
    }
}

struct Connection {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    /// Bytes of the input that hold no end of a JSON line.
    searched: usize,
    /// How far a pickle was looked over.
    skimmer: Skimmer,
    output: Vec<u8>,
    asking: bool,
    closing: bool,
    hung: bool,
    moved: Instant,
}

/// Serves until `stop` says so (it is asked after each wake-up).
pub(crate) fn serve(socket: &Socket, wake: &Waker, desk: &mut dyn Desk, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let outbox = Arc::new(Outbox { answers: Mutex::default(), wake: wake.clone() });
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = 0_u64;
    loop {
        wait(socket, wake, &mut connections)?;
        wake.clear();
        desk.woken();
        for (id, answer) in std::mem::take(&mut *outbox.answers.lock().unwrap_or_else(PoisonError::into_inner)) {
            if let Some(connection) = connections.get_mut(&id) {
                connection.asking = false;
                match answer {
                    Some(answer) => connection.answer(&answer),
                    None => connection.closing = true,
                }
            }
        }
        accept(socket, &mut connections, &mut next);
        let mut waited_for = waited_for_by_guests(&connections);
        let before = waited_for.len();
        for (id, connection) in &mut connections {
            if connection.peer.is_root() || connection.is_waited_for() || !waited_for.contains(&connection.peer.uid) {
                connection.work(*id, desk, &outbox);
            }
            if !connection.peer.is_root() && connection.is_waited_for() {
                waited_for.insert(connection.peer.uid);
            }
        }
        connections.retain(|_, c| !c.finished());
        if waited_for_by_guests(&connections).len() < before {
            // Whose turn it is now has perhaps been read already.
            wake.wake();
        }
        if stop() && connections.values().all(|c| !c.asking && c.output.is_empty()) {
            return Ok(());
        }
    }
}

/// Users other than root with an answer under way. Each gets one at a time, on whatever
/// connection: who asks for much and reads nothing must not fill the memory.
fn waited_for_by_guests(connections: &HashMap<u64, Connection>) -> HashSet<u32> {
    let guests = connections.values().filter(|c| !c.peer.is_root() && c.is_waited_for());
    guests.map(|c| c.peer.uid).collect()
}

/// Waits for anything to do; a stalled reader is looked at again in time.
fn wait(socket: &Socket, wake: &Waker, connections: &mut HashMap<u64, Connection>) -> io::Result<()> {
    let mut fds =
        vec![PollFd::new(&socket.listener, PollFlags::IN), PollFd::from_borrowed_fd(wake.0.as_fd(), PollFlags::IN)];
    let mut sending = false;
    let waited_for = waited_for_by_guests(connections);
    for connection in connections.values() {
        let mut flags = PollFlags::empty();
        let may_ask = connection.peer.is_root() || !waited_for.contains(&connection.peer.uid);
        if may_ask && !connection.closing && !connection.is_waited_for() {
            flags |= PollFlags::IN;
        }
        // A request that is not whole yet has a time limit.
        sending |= !connection.asking && !connection.input.is_empty();
        if !connection.output.is_empty() {
            flags |= PollFlags::OUT;
            sending = true;
        }
        fds.push(PollFd::new(&connection.stream, flags));
    }
    let timeout = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    match poll(&mut fds, sending.then_some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let hung: Vec<bool> =
        fds.iter().skip(2).map(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)).collect();
    for (connection, hung) in connections.values_mut().zip(hung) {
        connection.hung = hung;
    }
    Ok(())
}

fn accept(socket: &Socket, connections: &mut HashMap<u64, Connection>, next: &mut u64) {
    while let Ok((stream, _)) = socket.listener.accept() {
        if stream.set_nonblocking(true).is_err() {
            continue;
        }
        let Ok(cred) = rustix::net::sockopt::socket_peercred(&stream) else { continue };
        let peer = Peer { pid: cred.pid.as_raw_nonzero().get(), uid: cred.uid.as_raw(), gid: cred.gid.as_raw() };
        if !make_room(connections, peer) {
            continue;
        }
        let fresh = Connection {
            stream,
            peer,
            input: Vec::new(),
            searched: 0,
            skimmer: Skimmer::default(),
            output: Vec::new(),
            asking: false,
            closing: false,
            hung: false,
            moved: Instant::now(),
        };
        connections.insert(*next, fresh);
        *next += 1;
    }
}

/// Is there room for one more connection of this peer? The one that has been idle
/// for longest makes room, so that nobody can keep root out by sitting there.
fn make_room(connections: &mut HashMap<u64, Connection>, peer: Peer) -> bool {
    if !peer.is_root() && connections.values().filter(|c| c.peer.uid == peer.uid).count() >= GUEST_CONNECTIONS_MAX {
        return false;
    }
    if connections.len() < CONNECTIONS_MAX {
        return true;
    }
    let idle = connections.iter().filter(|(_, c)| !c.asking && c.output.is_empty());
    let oldest = idle.min_by_key(|(_, c)| c.moved).map(|(id, _)| *id);
    oldest.and_then(|id| connections.remove(&id)).is_some()
}

impl Peer {
    /// Root, or the daemon's own user where that is not root.
    pub(crate) fn is_root(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// What stands at the beginning of a connection's input.
enum Next {
    /// Nothing whole.
    Unfinished,
    /// A request of so many bytes, and the bytes of its mark behind it.
    Whole(usize, usize),
    /// The end of the conversation.
    Close,
    /// Nothing that can become a request.
    Bad(String),
}

impl Connection {
    /// Is an answer under way, made or not?
    fn is_waited_for(&self) -> bool {
        self.asking || !self.output.is_empty()
    }

    fn finished(&self) -> bool {
        (self.closing && self.output.is_empty())
            // A reader changes nothing, so nothing is lost with what he did not wait for.
            || (self.hung && (self.asking || !self.peer.is_root()))
            || self.output.len() > ANSWER_BYTES_MAX
            || ((!self.output.is_empty() || (!self.asking && !self.input.is_empty()))
                && self.moved.elapsed() > STALLED_AFTER)
    }

    fn answer(&mut self, answer: &[u8]) {
        if self.output.is_empty() {
            self.moved = Instant::now();
        }
        self.output.extend_from_slice(answer);
    }

    fn work(&mut self, id: u64, desk: &mut dyn Desk, outbox: &Arc<Outbox>) {
        self.write();
        // Who does not read answers gets no further ones.
        let ready = !self.asking && !self.closing && self.output.is_empty();
        if ready {
            self.ask(id, desk, outbox);
        }
        // No more is read than the next request needs.
        if ready && !self.asking && !self.closing {
            self.read();
            self.ask(id, desk, outbox);
        }
        self.write();
    }

    fn read(&mut self) {
        let mut part = [0_u8; 65_536];
        match self.stream.read(&mut part) {
            Ok(0) => self.closing = true,
            Ok(n) => {
                if self.input.is_empty() {
                    self.moved = Instant::now();
                }
                self.input.extend(part.iter().take(n));
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.closing = true,
        }
    }

    /// Hands the next whole request of the input to the desk.
    fn ask(&mut self, id: u64, desk: &mut dyn Desk, outbox: &Arc<Outbox>) {
        let json = self.input.first() == Some(&b'[');
        let (length, mark) = match if json { self.next_line() } else { self.next_pickle() } {
            Next::Whole(length, mark) => (length, mark),
            Next::Unfinished => return,
            Next::Close => {
                self.closing = true;
                return;
            }
            Next::Bad(why) => {
                self.input = Vec::new();
                self.closing = true;
                self.answer(&super::refusal(json, &why));
                desk.refused(self.peer, &why);
                return;
            }
        };
        self.searched = 0;
        self.skimmer = Skimmer::default();
        self.moved = Instant::now();
        let mut request: Vec<u8> = self.input.drain(..length + mark).collect();
        request.truncate(length);
        if self.input.is_empty() {
            // A large request's memory is given back.
            self.input = Vec::new();
        }
        let reply = ReplyTo { connection: id, outbox: Arc::clone(outbox), sent: false };
        self.asking = true;
        self.closing = false;
        if !json {
            desk.request(self.peer, Request::Pickle(&request), reply);
            return;
        }
        match std::str::from_utf8(&request) {
            Ok(line) => desk.request(self.peer, Request::Line(line), reply),
            Err(_) => reply.send(super::refusal(true, "the request is not UTF-8")),
        }
    }

    fn next_line(&mut self) -> Next {
        let found = self.input.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest));
        match found {
            Some(at) => Next::Whole(self.searched + at, 1),
            None if self.input.len() > LINE_BYTES_MAX => Next::Bad("the request is too long".to_owned()),
            None => {
                self.searched = self.input.len();
                Next::Unfinished
            }
        }
    }

    /// A pickle ends with its STOP, and behind it stands the end marker. So a
    /// text that holds the marker is only a text.
    fn next_pickle(&mut self) -> Next {
        if self.input.first() == Some(&b'<') {
            return next_mark(&self.input);
        }
        let end = match self.skimmer.advance(&self.input, Limits::default()) {
            Ok(Some(end)) => end,
            Ok(None) if self.input.len() > self.pickle_max() => return Next::Bad("the request is too long".to_owned()),
            Ok(None) => return Next::Unfinished,
            Err(e) => return Next::Bad(e.to_string()),
        };
        match self.input.get(end..) {
            Some(rest) if rest.starts_with(END_MARKER) => Next::Whole(end, END_MARKER.len()),
            Some(rest) if END_MARKER.starts_with(rest) => Next::Unfinished,
            _ => Next::Bad("something other than the end marker stands behind the pickle".to_owned()),
        }
    }

    fn pickle_max(&self) -> usize {
        if !self.peer.is_root() {
            return GUEST_BYTES_MAX;
        }
        // The command word of a stream stands within the first bytes.
        let begin = self.input.get(..64).unwrap_or(&self.input);
        let stream = [&b"server-stream"[..], b"reload"].iter().any(|word| memchr::memmem::find(begin, word).is_some());
        if stream { STREAM_BYTES_MAX } else { PICKLE_BYTES_MAX }
    }

    fn write(&mut self) {
        let mut sent = 0;
        while let Some(rest) = self.output.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) if n > 0 => {
                    sent += n;
                    self.moved = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => {
                    sent = self.output.len();
                    self.closing = true;
                }
            }
        }
        self.output.drain(..sent);
    }
}

/// A marker without a pickle: the end of the conversation, or an empty request.
fn next_mark(input: &[u8]) -> Next {
    let close: Vec<u8> = [CLOSE_MARKER, END_MARKER].concat();
    if input.starts_with(&close) {
        Next::Close
    } else if input.starts_with(END_MARKER) {
        Next::Whole(0, END_MARKER.len())
    } else if close.starts_with(input) || END_MARKER.starts_with(input) {
        Next::Unfinished
    } else {
        Next::Bad("this is neither a pickle nor a marker".to_owned())
    }
}
