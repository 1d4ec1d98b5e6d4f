//! The control socket's one thread: accepts, reads requests, sends answers.
//!
//! Two tongues are spoken, told apart by a connection's first byte: JSON lines
//! (ours, they begin with `[`) and pickles behind an end marker (the original
//! client's). What a request means is the [`Desk`]'s affair, which answers at
//! once or later, from any thread, through [`ReplyTo`]. A connection has one
//! request under way at a time; further ones wait in its buffer.
//!
//! Bounds: 256 connections (the next one is closed at once), 1 MiB a JSON line
//! and 64 KiB a pickle (longer: an error, then the connection is closed),
//! 30 s for a request to become whole, 64 KiB read at a time, and a connection that does not read its answers is
//! closed when 64 MiB are waiting for it or after 30 s without progress.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

const CONNECTIONS_MAX: usize = 256;
const LINE_BYTES_MAX: usize = 1 << 20;
const PICKLE_BYTES_MAX: usize = 64 << 10;
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
    path: PathBuf,
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
        Ok(Socket { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

struct Connection {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    /// Bytes of the input that hold no end of a request.
    searched: usize,
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
        for (id, connection) in &mut connections {
            connection.work(*id, desk, &outbox);
        }
        connections.retain(|_, c| !c.finished());
        if stop() && connections.values().all(|c| !c.asking && c.output.is_empty()) {
            return Ok(());
        }
    }
}

/// Waits for anything to do; a stalled reader is looked at again in time.
fn wait(socket: &Socket, wake: &Waker, connections: &mut HashMap<u64, Connection>) -> io::Result<()> {
    let mut fds =
        vec![PollFd::new(&socket.listener, PollFlags::IN), PollFd::from_borrowed_fd(wake.0.as_fd(), PollFlags::IN)];
    let mut sending = false;
    for connection in connections.values() {
        let mut flags = PollFlags::empty();
        if !connection.asking && !connection.closing {
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
        if connections.len() >= CONNECTIONS_MAX || stream.set_nonblocking(true).is_err() {
            continue;
        }
        let Ok(cred) = rustix::net::sockopt::socket_peercred(&stream) else { continue };
        let peer = Peer { pid: cred.pid.as_raw_nonzero().get(), uid: cred.uid.as_raw() };
        let fresh = Connection {
            stream,
            peer,
            input: Vec::new(),
            searched: 0,
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

impl Connection {
    fn finished(&self) -> bool {
        (self.closing && self.output.is_empty())
            || (self.asking && self.hung)
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
        if !self.asking && !self.closing {
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
        let (mark, max): (&[u8], usize) = if json { (b"\n", LINE_BYTES_MAX) } else { (END_MARKER, PICKLE_BYTES_MAX) };
        let from = self.searched.saturating_sub(mark.len());
        let found = self.input.get(from..).and_then(|rest| memchr::memmem::find(rest, mark));
        let Some(end) = found.map(|at| from + at) else {
            self.searched = self.input.len();
            if self.input.len() > max {
                self.input = Vec::new();
                self.closing = true;
                self.answer(&super::refusal(json, "the request is too long"));
            }
            return;
        };
        self.searched = 0;
        let mut request: Vec<u8> = self.input.drain(..end + mark.len()).collect();
        request.truncate(end);
        if request == CLOSE_MARKER {
            self.closing = true;
            return;
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
