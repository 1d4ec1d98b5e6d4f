//! The help text. Options are the original's; the words about them are our own.

use crate::cli::term::say;

const OPTIONS: &str = "\
Tries a filter on lines of a log and shows what it finds; nothing is banned.

LOG:
  file                  a log file
  systemd-journal       the journal, with options of the backend if wanted:
                        systemd-journal[journalflags=1]
  text                  the line itself (several lines, if it has line ends)

REGEX:
  name                  a jail, else a filter, with options if wanted:
                        sshd[mode=aggressive]
  file                  a filter file, such as filter.d/sshd.conf
  text                  a failregex

IGNOREREGEX:
  text                  an ignoreregex

Options:
  --version             print the version
  -h, --help            print this
  -c DIR, --config=DIR  folder of the configuration [/etc/fail2ban]
  -d P, --datepattern=P
                        how the lines are dated
  --timezone=Z, --TZ=Z  zone of dates that name none
  -e E, --encoding=E    encoding of the log file
  -r, --raw             host names are ids; they are not looked up
  --usedns=HOW          yes, warn, no or raw: what <HOST> means
  -L N, --maxlines=N    lines that are looked at together
  -m M, --journalmatch=M
                        entries of the journal, instead of the filter's
  -l L, --log-level=L   print messages of this level and above [critical]
  -V                    print only the number of the version
  -v, --verbose         say more; repeat for still more
  --verbosity=N         the same, as a number from 0 to 4
  --verbose-date, --VD  with -v: details of the date templates
  -D, --debuggex        print links to debuggex.com for each line and regex
  --no-check-all        stop at the first regex that matches a line
  -o F, --out=F         print results only: row, id, ip, msg, host, the name of
                        a group, or a text with tags such as '<ip> <F-USER>'
  --print-no-missed     do not print lines that nothing matched
  --print-no-ignored    do not print ignored lines
  --print-all-matched   print the lines that matched
  --print-all-missed    print missed lines, however many there are
  --print-all-ignored   print ignored lines, however many there are
  -t, --log-traceback   taken for compatibility
  --full-traceback      taken for compatibility";

/// The one line on how it is called.
pub(super) fn line(caller: &str) -> String {
    format!("Usage: {caller} [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]")
}

/// All of it.
pub(super) fn help(caller: &str) {
    say(format!("{}\n\n{OPTIONS}", line(caller)));
}
