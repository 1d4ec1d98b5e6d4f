//! Logs in which clients can write whole lines, so that they choose who is banned.
//!
//! The services below write line breaks in names or paths as they come. No filter
//! can tell such a line from a true one; another log of theirs, or another format, can.

use std::path::Path;

use super::Findings;

/// A log of a service that can't be trusted.
struct Forgeable {
    /// How the names of jails begin that read this service's logs.
    jails: &'static [&'static str],
    /// Is this a line of the log that can't be trusted? From its path and its text.
    is: fn(&Path, &str) -> bool,
    /// What clients write there.
    what: &'static str,
    fix: &'static str,
}

const FORGEABLE: &[Forgeable] = &[
    Forgeable {
        jails: &["nginx-"],
        is: |_, line| line.contains("] ") && line.contains(", client: ") && line.contains(", server: "),
        what: "nginx's error log holds paths with their line breaks",
        fix: "let the jail read the access log: logpath = %(nginx_access_log)s, with the filter that stockade brings",
    },
    Forgeable {
        jails: &["mysqld", "mariadb"],
        is: |_, line| line.contains("mariadbd") || line.contains("[Warning] Access denied for user '"),
        what: "MariaDB writes names of users with their line breaks",
        fix: "switch the jail off, and close the port to strangers (bind-address = 127.0.0.1, or a rule of the firewall)",
    },
    Forgeable {
        jails: &["postgresql"],
        is: |_, line| is_prefixed_with_names(line),
        what: "log_line_prefix writes names of users and databases with their line breaks; such lines are not followed",
        fix: "set log_line_prefix = '%m [%p] %h ' in postgresql.conf, or log_destination = 'csvlog'",
    },
    Forgeable {
        jails: &["exim"],
        is: |path, _| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("reject")),
        what: "Exim's reject log holds headers of mails with their line breaks",
        fix: "take it out of logpath: the main log has each rejection, too",
    },
    Forgeable {
        jails: &["traefik"],
        is: |_, line| !line.starts_with('{') && line.contains("] \"") && line.ends_with("ms"),
        what: "Traefik's format common holds names of users with their line breaks; it is not followed",
        fix: "set accessLog.format: json in Traefik's configuration",
    },
    Forgeable {
        jails: &["gitea", "forgejo"],
        is: |_, line| line.contains(".go:") && ["() [I] ", "() [W] ", "() [E] "].iter().any(|mark| line.contains(mark)),
        what: "Gitea and Forgejo write names of users with their line breaks",
        fix: "let only known people reach the log-in page, or watch the log of the web server in front of it instead",
    },
    Forgeable {
        jails: &["vaultwarden"],
        is: |_, line| line.contains("[vaultwarden::"),
        what: "Vaultwarden writes names of users with their line breaks",
        fix: "let only known people reach the log-in page, or watch the log of the web server in front of it instead",
    },
];

/// `DATE [PID] USER@DATABASE LEVEL:  ...`, as Debian's `log_line_prefix` has it.
fn is_prefixed_with_names(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("] ") else { return false };
    let Some((names, message)) = rest.split_once(' ') else { return false };
    let level = message.split_once(":  ").map_or("", |(level, _)| level);
    names.contains('@') && !level.is_empty() && level.bytes().all(|b| b.is_ascii_uppercase())
}

/// What is to be said of a log that the jail of this name reads, by its last lines.
fn of(jail: &str, path: &Path, text: &[u8]) -> Option<&'static Forgeable> {
    let rows = FORGEABLE.iter().filter(|row| row.jails.iter().any(|name| jail.starts_with(name)));
    let mut rows = rows.filter(|row| {
        text.split(|b| *b == b'\n').any(|line| !line.is_empty() && (row.is)(path, &String::from_utf8_lossy(line)))
    });
    rows.next()
}

/// Tells of a log that clients can write whole lines in.
pub(super) fn check(jail: &str, path: &Path, text: &[u8], findings: &mut Findings) {
    if let Some(row) = of(jail, path, text) {
        let what = format!(
            "{} (jail '{jail}'): {}: a stranger can write a whole line about any address",
            path.display(),
            row.what
        );
        findings.problem("log-forgeable", what, row.fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(jail: &str, path: &str, line: &str, expected: bool) {
        assert_eq!(of(jail, Path::new(path), line.as_bytes()).is_some(), expected, "{line}");
    }

    #[test]
    fn logs_that_clients_can_write_are_told_from_others() {
        let error = "2026/11/22 10:00:00 [error] 1#1: *7 access forbidden by rule, client: 203.0.113.1, server: x";
        check("nginx-forbidden", "/var/log/nginx/error.log", error, true);
        let access = "203.0.113.1 - - [22/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 403 153 \"-\" \"-\"";
        check("nginx-forbidden", "/var/log/nginx/access.log", access, false);
        check("apache-auth", "/var/log/nginx/error.log", error, false);
        let denied = "Access denied for user 'a'@'203.0.113.1' (using password: YES)";
        check("mysqld-auth", "e.log", &format!("2026-11-22 10:00:00 45 [Warning] {denied}"), true);
        check(
            "mysqld-auth",
            "e.log",
            &format!("2026-11-22T10:00:00.1Z 45 [Note] [MY-010926] [Server] {denied}"),
            false,
        );
        let postgres = "2026-11-22 10:00:00.123 UTC [21]";
        check("postgresql", "p.log", &format!("{postgres} a@b FATAL:  password authentication failed"), true);
        check("postgresql", "p.log", &format!("{postgres} [unknown]@[unknown] LOG:  connection received"), true);
        check("postgresql", "p.log", &format!("{postgres} 203.0.113.1 FATAL:  no entry for a@b"), false);
        check("exim", "/var/log/exim4/rejectlog", "x", true);
        check("exim", "/var/log/exim4/mainlog", "x", false);
        check(
            "traefik-auth",
            "a.log",
            "203.0.113.1 - a [22/Nov/2026:10:00:00 +0000] \"GET / HTTP/2.0\" 401 17 1ms",
            true,
        );
        check("traefik-auth", "a.log", "{\"ClientHost\":\"203.0.113.1\"}", false);
        let gitea =
            "2026/11/22 10:00:00 routers/web/auth/auth.go:206:SignInPost() [I] Failed authentication attempt for x";
        check("forgejo", "g.log", gitea, true);
        check("gitea", "g.log", "2026-11-22 10:00:00 something else", false);
        check("vaultwarden", "v.log", "[2026-11-22 10:00:00.123][vaultwarden::api::identity][ERROR] x", true);
    }
}
