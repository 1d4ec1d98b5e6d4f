//! Names of services and their ports.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// `/etc/services` is read up to this size (Debian's has 12 kB, the largest known 700 kB).
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// What is known everywhere, also where `/etc/services` is missing (containers).
/// A name stands for all protocols here.
const EMBEDDED: &[(&str, u16)] = &[
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("whois", 43),
    ("domain", 53),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("imap3", 143),
    ("snmp", 161),
    ("xdmcp", 177),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("smtps", 465),
    ("ssmtp", 465),
    ("urd", 465),
    ("submissions", 465),
    ("rtsp", 554),
    ("nntps", 563),
    ("submission", 587),
    ("ldaps", 636),
    ("rsync", 873),
    ("ftps-data", 989),
    ("ftps", 990),
    ("telnets", 992),
    ("imaps", 993),
    ("ircs", 994),
    ("pop3s", 995),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("nfs", 2049),
    ("iax", 4569),
    ("mysql", 3306),
    ("rdp", 3389),
    ("ms-wbt-server", 3389),
    ("svn", 3690),
    ("sieve", 4190),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("amqps", 5671),
    ("vnc", 5900),
    ("redis", 6379),
    ("ircd", 6667),
    ("http-alt", 8080),
    ("webmin", 10000),
    ("memcached", 11211),
    ("mongodb", 27017),
];

/// Names of services; the machine's own come before the embedded ones.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// From `/etc/services`: name to (protocol name, port).
    own: HashMap<String, Vec<(String, u16)>>,
}

impl Services {
    /// Only the names that we know ourselves.
    pub fn embedded() -> Self {
        Services::default()
    }

    /// The names of this machine's `/etc/services` over the embedded ones. A
    /// missing or unreadable file is no error; of a huge one 2 MiB are read.
    pub fn load() -> Self {
        let mut text = Vec::new();
        let read = File::open("/etc/services").and_then(|f| f.take(FILE_BYTES_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => Services::from_text(&String::from_utf8_lossy(&text)),
            Err(_) => Services::embedded(),
        }
    }

    /// Reads lines of the form `name port/protocol alias... # comment`; others are skipped.
    fn from_text(text: &str) -> Self {
        let mut own: HashMap<String, Vec<(String, u16)>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
            let (Some(name), Some((port, protocol))) = (words.next(), words.next().and_then(|w| w.split_once('/')))
            else {
                continue;
            };
            let Ok(port) = port.parse::<u16>() else { continue };
            for name in std::iter::once(name).chain(words) {
                own.entry(name.to_owned()).or_default().push((protocol.to_owned(), port));
            }
        }
        Services { own }
    }

    /// The port of a service; where the file has several, the one for one of these protocols.
    pub(crate) fn port(&self, name: &str, protocols: &[u8]) -> Option<u16> {
        if let Some(entries) = self.own.get(name) {
            let wanted = |p: &str| protocols.iter().any(|n| super::protocol_name(*n) == p);
            let fitting = entries.iter().find(|(protocol, _)| wanted(protocol));
            return fitting.or_else(|| entries.first()).map(|(_, port)| *port);
        }
        EMBEDDED.iter().find(|(n, _)| *n == name).map(|(_, port)| *port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_names_come_first() {
        let services =
            Services::from_text("# c\nssh 2222/tcp secure # x\nbad\nlog 513/tcp\nlog 514/udp\nhuge 99999/tcp\n");
        assert_eq!(services.port("ssh", &[6]), Some(2222));
        assert_eq!(services.port("secure", &[6]), Some(2222));
        assert_eq!(services.port("log", &[17]), Some(514));
        assert_eq!(services.port("log", &[]), Some(513));
        assert_eq!(services.port("http", &[6]), Some(80));
        assert_eq!(services.port("huge", &[6]), None);
    }
}
