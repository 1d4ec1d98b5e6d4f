//! Netlink: one socket, one way to write messages, one way to read them.
//!
//! Source: Linux `include/uapi/linux/netlink.h`. Lengths and types are in host
//! order, attribute values in whatever order the subsystem wants.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// `NLM_F_REQUEST`
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_MULTI`: more messages of the same answer follow.
const MULTI: u16 = 0x2;
/// `NLM_F_ACK`
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_DUMP`
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub(crate) const APPEND: u16 = 0x800;
/// `NLM_F_DUMP_INTR`: the dump was disturbed by a change.
const DUMP_INTR: u16 = 0x10;

/// `NLMSG_ERROR`
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`
pub(crate) const DONE: u16 = 3;

/// Bytes of a message header.
const HEADER: usize = 16;
/// One read takes at most this much; the kernel's dump messages are at most 32 KiB.
const READ_BYTES: usize = 64 * 1024;
/// Room for a whole transaction and for all of its answers. A limit, not memory that is taken.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// An answer that takes longer than this does not come any more.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// A dump disturbed this often in a row is given up.
const DUMP_TRIES: u32 = 8;

/// One netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    port_id: u32,
    seq: u32,
    buffer: Vec<u8>,
}

/// One message that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) port_id: u32,
    pub(crate) payload: &'a [u8],
}

impl Socket {
    /// Opens a socket of this netlink protocol, subscribed to the groups of the mask.
    pub(crate) fn open(protocol: Option<Protocol>, groups: u32) -> Result<Self, Errno> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        // Without rights to pass the system's limit the ordinary limit has to do.
        if sockopt::set_socket_send_buffer_size_force(&fd, BUFFER_BYTES).is_err() {
            sockopt::set_socket_send_buffer_size(&fd, BUFFER_BYTES)?;
        }
        if sockopt::set_socket_recv_buffer_size_force(&fd, BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, BUFFER_BYTES)?;
        }
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_TIME_MAX))?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        let port_id = SocketAddrNetlink::try_from(rustix::net::getsockname(&fd)?)?.pid();
        Ok(Socket { fd, port_id, seq: 0, buffer: vec![0; READ_BYTES] })
    }

    /// The number by which the kernel knows this socket.
    pub(crate) fn port_id(&self) -> u32 {
        self.port_id
    }

    /// A writer whose message numbers continue this socket's.
    pub(crate) fn writer(&self) -> Writer {
        Writer { bytes: Vec::with_capacity(4096), next_seq: self.seq.wrapping_add(1), open: 0 }
    }

    /// Sends what was written, as one datagram.
    pub(crate) fn send(&mut self, writer: &Writer) -> Result<(), Errno> {
        self.seq = writer.next_seq.wrapping_sub(1);
        loop {
            match rustix::net::send(&self.fd, &writer.bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Reads what is there without waiting and hands each message over; `false` if nothing was there.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Message<'_>)) -> Result<bool, Errno> {
        self.read(RecvFlags::DONTWAIT, &mut each)
    }

    fn read(&mut self, flags: RecvFlags, each: &mut impl FnMut(Message<'_>)) -> Result<bool, Errno> {
        loop {
            match rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), flags) {
                Ok((_, len)) => {
                    for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                        each(message);
                    }
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Sends one request and hands every message of the answer over.
    ///
    /// A disturbed dump is asked again from its beginning, so `each` may see an
    /// object twice; `restart` is called before that.
    pub(crate) fn request<T: Default>(
        &mut self,
        write: impl Fn(&mut Writer),
        each: impl Fn(&mut T, Message<'_>),
    ) -> Result<T, Errno> {
        for _ in 0..DUMP_TRIES {
            let mut writer = self.writer();
            write(&mut writer);
            let mut answer = T::default();
            match self.ask(&writer, |message| each(&mut answer, message)) {
                Ok(false) => return Ok(answer),
                Ok(true) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Sends and reads until the last message; `true` if the dump was disturbed.
    fn ask(&mut self, writer: &Writer, mut each: impl FnMut(Message<'_>)) -> Result<bool, Errno> {
        self.send(writer)?;
        let seq = self.seq;
        let (mut done, mut disturbed, mut error) = (false, false, None);
        while !done {
            // The kernel answers in the same call that takes the request, so waiting is never for long.
            let arrived = self.read(RecvFlags::empty(), &mut |message| {
                if message.seq != seq {
                    return;
                }
                disturbed |= message.flags & DUMP_INTR != 0;
                match message.kind {
                    DONE => done = true,
                    ERROR => {
                        done = true;
                        error = error_of(message.payload);
                    }
                    _ => {
                        each(message);
                        done |= message.flags & MULTI == 0;
                    }
                }
            })?;
            if !arrived {
                return Err(Errno::TIMEDOUT);
            }
        }
        match error {
            Some(errno) => Err(errno),
            None => Ok(disturbed),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The error number in an error message; `None` is an acknowledgement.
pub(crate) fn error_of(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    if code == 0 { None } else { Some(Errno::from_raw_os_error(code.wrapping_neg())) }
}

/// Splits a datagram into messages; stops at the first one that is cut.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
        let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = bytes.get(HEADER..len)?;
        let message = Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            seq: u32::from_ne_bytes([s0, s1, s2, s3]),
            port_id: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Splits attributes: type without its flag bits, value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let ([l0, l1, t0, t1], _) = bytes.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = bytes.get(4..len)?;
        let kind = u16::from_ne_bytes([*t0, *t1]) & 0x3fff;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of that type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A big-endian number of four bytes.
pub(crate) fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// A big-endian number of eight bytes.
pub(crate) fn be64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// Text that ends with a zero byte.
pub(crate) fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    value.get(..end).and_then(|v| std::str::from_utf8(v).ok()).unwrap_or("")
}

/// Writes messages one behind the other.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    next_seq: u32,
    open: usize,
}

impl Writer {
    /// Starts a message with its fixed part and returns its number. Attributes follow; [`Writer::end`] closes it.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> u32 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
        seq
    }

    /// Closes the message that is open.
    pub(crate) fn end(&mut self) {
        let len = u32::try_from(self.bytes.len().saturating_sub(self.open)).unwrap_or(u32::MAX);
        self.patch(self.open, &len.to_ne_bytes());
    }

    /// An attribute with these bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// Bytes as they are: the fixed part inside a nested attribute.
    pub(crate) fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// An attribute with a big-endian number.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute with text and its closing zero byte.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut zeroed = Vec::with_capacity(value.len().saturating_add(1));
        zeroed.extend_from_slice(value.as_bytes());
        zeroed.push(0);
        self.bytes(kind, &zeroed);
    }

    /// An attribute that holds attributes. The result must fit 64 KiB.
    #[inline]
    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | 0x8000).to_ne_bytes());
        inner(self);
        let len = u16::try_from(self.bytes.len().saturating_sub(at)).unwrap_or(u16::MAX);
        self.patch(at, &len.to_ne_bytes());
    }

    #[inline]
    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    #[inline]
    fn patch(&mut self, at: usize, value: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(at).zip(value) {
            *slot = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer { bytes: Vec::new(), next_seq: 7, open: 0 }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut w = writer();
        w.begin(0x0a09, CREATE, &[1, 0, 0, 0]);
        w.text(1, "stockade");
        w.nest(4, |w| w.be32(2, 0xffff_fed4));
        w.end();
        w.begin(0x11, 0, &[]);
        w.end();
        let all: Vec<_> = messages(&w.bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].seq, all[1].seq), (0x0a09, 7, 8));
        let body = &all[0].payload[4..];
        assert_eq!(attribute(body, 1).map(text), Some("stockade"));
        assert_eq!(attribute(body, 4).and_then(|v| attribute(v, 2)).and_then(be32), Some(0xffff_fed4));
        assert_eq!(attribute(body, 9), None);
    }

    #[test]
    fn cut_and_lying_messages_end_the_reading() {
        let mut w = writer();
        w.begin(1, 0, &[]);
        w.bytes(1, &[1, 2, 3]);
        w.end();
        for len in 0..w.bytes.len() {
            assert_eq!(messages(&w.bytes[..len]).count(), 0, "{len}");
        }
        for length in [0u32, 1, 15, 4000, u32::MAX] {
            w.bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&w.bytes).count(), 0, "{length}");
        }
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0]).count(), 1);
    }
}
