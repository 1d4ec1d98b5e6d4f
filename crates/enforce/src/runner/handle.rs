//! The daemon's end: starts the runner, gives orders, takes news.

use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::message::{self, News, Order};

/// The way to the runner. When it is dropped the runner ends.
pub struct Runner {
    orders: UnixStream,
    child: Option<Child>,
}

/// The way back: blocks until there is news.
pub struct NewsReader {
    socket: BufReader<UnixStream>,
}

impl Runner {
    /// Starts this very program anew with a hidden word; that process serves
    /// its standard input, see [`super::serve_stdin`]. Start it before anything
    /// else is opened.
    ///
    /// # Errors
    /// If no process or socket can be made.
    pub fn spawn(word: &str) -> io::Result<(Runner, NewsReader)> {
        let (ours, theirs) = UnixStream::pair()?;
        #[expect(clippy::disallowed_methods, reason = "starts this very program, without a shell")]
        let mut command = Command::new("/proc/self/exe");
        let child = command
            .arg0("stockade")
            .arg(word)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Runner::at(ours, Some(child))
    }

    /// A runner that serves at the other end of a socket already.
    ///
    /// # Errors
    /// If the socket can't be shared.
    pub fn on(socket: UnixStream) -> io::Result<(Runner, NewsReader)> {
        Runner::at(socket, None)
    }

    fn at(socket: UnixStream, child: Option<Child>) -> io::Result<(Runner, NewsReader)> {
        let news = NewsReader { socket: BufReader::new(socket.try_clone()?) };
        Ok((Runner { orders: socket, child }, news))
    }

    /// Gives an order; waits if the runner takes none at the moment.
    ///
    /// # Errors
    /// If the runner has gone.
    pub fn order(&mut self, order: &Order) -> io::Result<()> {
        message::write(&mut self.orders, order)
    }

    /// Its process, for the operator.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It sees the end of the stream, and what it runs has a moment to end.
        self.orders.shutdown(std::net::Shutdown::Both).ok();
        if let Some(mut child) = self.child.take() {
            child.wait().ok();
        }
    }
}

impl NewsReader {
    /// The next news; `None` when the runner has gone.
    ///
    /// # Errors
    /// If what comes is damaged.
    pub fn wait(&mut self) -> io::Result<Option<News>> {
        match message::read(&mut self.socket) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            other => other,
        }
    }
}
