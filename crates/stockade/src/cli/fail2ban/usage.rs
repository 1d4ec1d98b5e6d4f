//! Help and version texts. The options and commands are the original's; the
//! words about them are our own.

use crate::cli::term::say;

/// The version that we behave as.
const VERSION: &str = stockade_config::VERSION;

/// Prints a version: for programs, or for people.
pub(super) fn version(short: bool) {
    if short {
        say(VERSION.replace(".fix", "").replace(".dev", "."));
    } else {
        say(format!("Fail2Ban v{VERSION}"));
    }
}

const OPTIONS: &str = "\
Options:
    -c, --conf DIR          folder of the configuration [/etc/fail2ban]
    -s, --socket FILE       control socket
    -p, --pidfile FILE      file with the server's process id
    --pname NAME            taken for compatibility; the process keeps its name
    --loglevel LEVEL        how much the server writes to its log
    --logtarget TARGET      where: a file, STDOUT, STDERR, SYSLOG, SYSOUT or SYSTEMD-JOURNAL
    --syslogsocket auto|FILE
                            socket of the system logger
    -d                      print the commands that the configuration becomes
    --dp, --dump-pretty     the same, with very long lines broken
    -t, --test              test the configuration, and stop there if it is bad
    -i                      take commands from a prompt
    -v                      more messages; repeat for still more
    -q                      fewer messages
    -x                      start although an old socket file is there
    -b                      start the server in the background (as is usual)
    -f                      start the server in the foreground
    --async                 start the server empty; a client will send the configuration
    --timeout TIME          how long to wait for the server [30s]
    --str2sec TIME          print a length of time such as 1h30m in seconds
    -h, --help              print this
    -V, --version           print the version (-V: only the number)";

/// Commands under their headings: what is written, and what it does.
const COMMANDS: &[(&str, &[(&str, &str)])] = &[
    (
        "SERVER",
        &[
            ("start", "start the server with all enabled jails"),
            ("stop", "stop it; its bans are lifted"),
            ("restart", "stop and start"),
            ("restart [--unban] [--if-exists] JAIL", "the same as reload --restart JAIL"),
            ("reload [--restart] [--unban] [--all]", "read the configuration again"),
            ("reload [--restart] [--unban] [--if-exists] JAIL", "read it again for one jail"),
            ("ping [SECONDS]", "does the server answer?"),
            ("status", "names of the jails"),
            ("status --all [FLAVOR]", "status of all jails"),
            ("stats", "figures of all jails in a table"),
            ("banned", "banned addresses of all jails"),
            ("banned IP ...", "jails in which each is banned"),
            ("unban --all", "lift all bans and forget them"),
            ("unban IP ...", "lift these in all jails"),
            ("echo TEXT ...", "answers the same text"),
            ("version", "version of the server"),
            ("help", "(at the prompt) print this"),
        ],
    ),
    (
        "LOG",
        &[
            ("set loglevel LEVEL", "CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG or a number"),
            ("get loglevel", ""),
            ("set logtarget TARGET", "STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL or a file"),
            ("get logtarget", ""),
            ("set syslogsocket auto|SOCKET", "only for the target SYSLOG"),
            ("get syslogsocket", ""),
            ("flushlogs", "open the log file anew, after it was rotated"),
        ],
    ),
    (
        "DATABASE",
        &[
            ("set dbfile FILE", "None keeps nothing"),
            ("get dbfile", ""),
            ("set dbmaxmatches N", "log lines kept with each ban"),
            ("get dbmaxmatches", ""),
            ("set dbpurgeage TIME", "how long ended bans are kept"),
            ("get dbpurgeage", ""),
        ],
    ),
    (
        "JAILS",
        &[
            ("add JAIL BACKEND", "make a jail"),
            ("start JAIL", "let it work"),
            ("stop JAIL", "end and remove it"),
            ("status JAIL [FLAVOR]", "basic, short, stats or cymru"),
        ],
    ),
    (
        "CHANGING A JAIL",
        &[
            ("set JAIL idle on|off", "on: it reads nothing"),
            ("set JAIL ignoreself true|false", "never ban this host itself"),
            ("set JAIL addignoreip IP ...", "never ban these"),
            ("set JAIL delignoreip IP", ""),
            ("set JAIL ignorecommand COMMAND", "exit code 0: not banned"),
            ("set JAIL ignorecache VALUE", "how long its answers hold"),
            ("set JAIL addlogpath FILE [head|tail]", "read this file, too"),
            ("set JAIL dellogpath FILE", ""),
            ("set JAIL logencoding ENCODING", ""),
            ("set JAIL addjournalmatch MATCH", "read these entries of the journal"),
            ("set JAIL deljournalmatch MATCH", ""),
            ("set JAIL addfailregex REGEX", "lines that it matches are failures"),
            ("set JAIL delfailregex INDEX", ""),
            ("set JAIL addignoreregex REGEX", "lines that it matches are not"),
            ("set JAIL delignoreregex INDEX", ""),
            ("set JAIL findtime TIME", "how far back failures count"),
            ("set JAIL bantime TIME", "-1 is for ever"),
            ("set JAIL datepattern PATTERN", ""),
            ("set JAIL usedns VALUE", "yes, warn, no or raw"),
            ("set JAIL attempt IP [LINE ...]", "count a failure by hand"),
            ("set JAIL banip IP ...", "ban by hand"),
            ("set JAIL unbanip [--report-absent] IP ...", "lift by hand"),
            ("set JAIL maxretry N", "failures that lead to a ban"),
            ("set JAIL maxmatches N", "log lines kept with each failure"),
            ("set JAIL maxlines N", "lines that are looked at together"),
            ("set JAIL addaction ACTION [PYTHONFILE JSON]", ""),
            ("set JAIL delaction ACTION", ""),
            (
                "set JAIL action ACTION PROPERTY VALUE",
                "actionstart, actionstop, actioncheck, actionban, actionunban, timeout, ...",
            ),
            ("set JAIL action ACTION METHOD [JSON]", "call one of its methods"),
        ],
    ),
    (
        "ASKING ABOUT A JAIL",
        &[
            ("get JAIL banned [IP ...]", "banned addresses, or 1 or 0 for each"),
            ("get JAIL banip [SEPARATOR|--with-time]", "banned addresses by the end of the ban"),
            ("get JAIL logpath|logencoding|journalmatch", ""),
            ("get JAIL ignoreself|ignoreip|ignorecommand", ""),
            ("get JAIL failregex|ignoreregex|datepattern", ""),
            ("get JAIL findtime|bantime|maxretry", ""),
            ("get JAIL maxmatches|maxlines|usedns", ""),
            ("get JAIL actions", "names of its actions"),
            ("get JAIL action ACTION PROPERTY", ""),
            ("get JAIL actionproperties ACTION", ""),
            ("get JAIL actionmethods ACTION", ""),
        ],
    ),
];

/// Prints the help of `caller`.
pub(super) fn usage(caller: &str) {
    let server = caller.ends_with("server");
    say(format!("Usage: {caller} [OPTIONS]{}", if server { "" } else { " <COMMAND>" }));
    say("");
    say(format!("stockade {}, which behaves as Fail2Ban v{VERSION}", env!("CARGO_PKG_VERSION")));
    say("");
    say(OPTIONS);
    if server {
        say("");
        say(concat!("Report bugs to ", env!("CARGO_PKG_REPOSITORY"), "/issues"));
        return;
    }
    say("");
    say("Commands:");
    for (heading, commands) in COMMANDS {
        say(format!("\n  {heading}"));
        for (command, does) in *commands {
            say(format!("    {command:<48} {does}").trim_end());
        }
    }
    say("");
    say("Our own client says more about the same server: see `stockade --help`.");
    say(concat!("Report bugs to ", env!("CARGO_PKG_REPOSITORY"), "/issues"));
}

/// What the prompt is greeted with.
pub(super) fn greeting() {
    say(format!(
        "Fail2Ban v{VERSION} (stockade {}); `help` lists the commands, `exit` ends",
        env!("CARGO_PKG_VERSION")
    ));
    say("");
}
