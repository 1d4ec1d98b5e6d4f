//! Makes one random tree from a seed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Small, fast and the same everywhere (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

struct Maker<'a> {
    dice: Dice,
    made: &'a mut BTreeMap<&'static str, u32>,
    folder: String,
}

/// How the options of one file may be disguised.
const PLAIN: usize = 55;

impl Maker<'_> {
    fn note(&mut self, construct: &'static str) {
        *self.made.entry(construct).or_default() += 1;
    }

    /// With this chance, and counted.
    fn sometimes(&mut self, percent: usize, construct: &'static str) -> bool {
        let yes = self.dice.chance(percent);
        if yes {
            self.note(construct);
        }
        yes
    }

    /// One option line (or several) in some spelling.
    fn option(&mut self, out: &mut String, name: &str, value: &str) {
        let mut name = name.to_owned();
        let mut line_end = "";
        let mut delimiter = " = ";
        if !self.dice.chance(PLAIN) {
            match self.dice.below(9) {
                0 => {
                    self.note("ini: colon");
                    delimiter = ": ";
                }
                1 => {
                    self.note("ini: no blanks around =");
                    delimiter = "=";
                }
                2 => {
                    self.note("ini: upper-case option");
                    name = name.to_uppercase();
                }
                3 => {
                    self.note("ini: full-line comment #");
                    out.push_str("# %(nothing)s [x] = y\n");
                }
                4 => {
                    self.note("ini: full-line comment ;");
                    out.push_str("  ; some = thing\n");
                }
                5 => {
                    self.note("ini: inline comment");
                    line_end = " ; %(gone)s";
                }
                6 => {
                    self.note("ini: blanks at the end");
                    line_end = "  \t";
                }
                7 => {
                    self.note("ini: blank line before");
                    out.push_str("\n   \n");
                }
                _ => {
                    self.note("ini: semicolon without blank");
                    line_end = ";x#y";
                }
            }
        }
        // A value that would be changed by a suffix keeps its own.
        if line_end == ";x#y" && (value.is_empty() || !name.starts_with(['v', 'w', 'V', 'W'])) {
            line_end = "";
        }
        let mut lines = value.split('\n');
        out.push_str(&format!("{name}{delimiter}{}{line_end}\n", lines.next().unwrap_or("")));
        for line in lines {
            self.note("ini: continuation");
            let indent = self.dice.pick(&["  ", "\t", "            "]);
            if self.sometimes(6, "ini: comment inside a value") {
                out.push_str(self.dice.pick(&["# inside\n", "   ; inside\n"]));
            }
            if self.sometimes(6, "ini: blank line inside a value") {
                out.push('\n');
            }
            out.push_str(&format!("{indent}{line}\n"));
        }
    }

    /// One option with one of these values.
    fn one_of(&mut self, out: &mut String, name: &str, values: &[&str]) {
        let value = self.dice.pick(values).to_owned();
        self.option(out, name, &value);
    }

    fn header(&mut self, out: &mut String, name: &str) {
        let tail = if self.sometimes(5, "ini: text behind a header") { " behind" } else { "" };
        out.push_str(&format!("[{name}]{tail}\n"));
    }

    fn write(&mut self, path: &str, text: &str) {
        let path = Path::new(&self.folder).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = if self.sometimes(4, "ini: CRLF") { text.replace('\n', "\r\n") } else { text.to_owned() };
        fs::write(path, text).unwrap();
    }

    /// A word without any special meaning.
    fn word(&mut self) -> String {
        let word = self.dice.pick(&[
            "alpha",
            "be ta",
            "x=y",
            "a:b",
            "#no",
            "q'q",
            "dé€",
            "1;2",
            "\"z\"",
            "back\\slash",
            "-5",
            "[b]",
            "$1",
        ]);
        if word.contains('é') {
            self.note("ini: beyond ASCII");
        }
        word.to_owned()
    }

    /// A value of jail variable number `n`: may mention those before it.
    fn jail_value(&mut self, n: usize) -> String {
        let mut parts = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let part = match self.dice.below(12) {
                0..=3 => self.word(),
                4 if n > 0 => {
                    self.note("ref: %(opt)s");
                    format!("%(v{})s", self.dice.below(n))
                }
                5 => {
                    self.note("ref: %(__name__)s");
                    "%(__name__)s".to_owned()
                }
                6 => {
                    self.note("ref: %%");
                    "50%%".to_owned()
                }
                7 if n > 0 => {
                    self.note("ref: %(default/opt)s");
                    format!("%(default/v{})s", self.dice.below(n))
                }
                8 if n > 1 => {
                    self.note("ref: other section");
                    format!("%(shared/s{})s", self.dice.below(3))
                }
                9 => {
                    self.note("ref: version or path");
                    self.dice.pick(&["%(fail2ban_version)s", "%(fail2ban_confpath)s"]).to_owned()
                }
                10 if n > 0 => {
                    self.note("ref: upper-case name");
                    format!("%(V{})s", self.dice.below(n))
                }
                _ => "plain".to_owned(),
            };
            parts.push(part);
        }
        parts.join(self.dice.pick(&[" ", "/", "\n", ""]))
    }

    fn variables(&mut self, out: &mut String, count: usize) {
        for n in 0..count {
            let value = self.jail_value(n);
            self.option(out, &format!("v{n}"), &value);
        }
    }

    /// The call of a filter or action with arguments.
    fn call(&mut self, name: &str, arguments: &[&str]) -> String {
        let mut text = name.to_owned();
        if arguments.is_empty() || self.dice.chance(25) {
            return text;
        }
        let count = 1 + self.dice.below(arguments.len());
        let mut open = false;
        for nth in 0..count {
            let key = arguments[(nth + self.dice.below(2)) % arguments.len()];
            let value = match self.dice.below(7) {
                0 => {
                    self.note("call: double quotes");
                    format!("\"a, {}]b\"", self.dice.pick(&["x", "<name>", "%(port)s", ""]))
                }
                1 => {
                    self.note("call: single quotes");
                    "'it \"is\" so'".to_owned()
                }
                2 => {
                    self.note("call: bare value with blanks");
                    " b c=d ".to_owned()
                }
                3 => {
                    self.note("call: reference");
                    format!("\"%(v{})s\"", self.dice.below(2))
                }
                4 => {
                    self.note("call: value over lines");
                    "\"one\n  two\"".to_owned()
                }
                5 => {
                    self.note("call: empty value");
                    String::new()
                }
                _ => {
                    self.note("call: bare value");
                    self.dice.pick(&["tcp", "10", "x-y.z", "normal"]).to_owned()
                }
            };
            if nth > 0 && self.sometimes(20, "call: group") {
                text.push_str(self.dice.pick(&["][", "] ["]));
            } else if nth > 0 {
                text.push_str(self.dice.pick(&[",", ", ", ",\n  "]));
            } else {
                text.push_str(self.dice.pick(&["[", "[", "[ "]));
                open = true;
            }
            text.push_str(&format!("{key}={value}"));
        }
        if open {
            if self.sometimes(10, "call: comma at the end") {
                text.push(',');
            }
            text.push(']');
        }
        text
    }

    /// The options of one jail, without `filter` and `action`.
    fn jail_options(&mut self, out: &mut String) {
        let time = ["10m", "1d 12h", "-1", "3600", "1w+2d", "1.5h", "5m # comment"];
        let bools = ["true", "yes", "ON", "1", "false", "no", "maybe"];
        for (name, values) in [
            ("maxretry", &["3", " 5 ", "+7", "1_0", "%(v0)s", "abc"][..]),
            ("maxmatches", &["%(maxretry)s", "2", ""]),
            ("findtime", &time),
            ("bantime", &time),
            ("bantime.increment", &bools),
            ("bantime.factor", &["2", "1.5"]),
            ("bantime.formula", &["ban.Time * 2", "ban.Time * (1<<3)"]),
            ("bantime.multipliers", &["1 2 4", "1"]),
            ("bantime.maxtime", &time),
            ("bantime.rndtime", &["5m"]),
            ("bantime.overalljails", &bools),
            ("ignorecommand", &["", "/bin/x <ip>", "%(v1)s"]),
            ("ignoreself", &bools),
            ("ignoreip", &["127.0.0.1/8, ::1", "a\nb  c,,d", ""]),
            ("ignorecache", &["key=\"<ip>\", max-count=10", ""]),
            ("logtimezone", &["UTC+0200", "Z"]),
            ("logencoding", &["auto", "utf-8"]),
            ("skip_if_nologs", &["true", "false"]),
            ("systemd_if_nologs", &["true", "false"]),
        ] {
            if self.dice.chance(12) {
                let value = self.dice.pick(values).to_owned();
                let value = if name == "maxretry" && value == "%(v0)s" { "4".to_owned() } else { value };
                self.note_option(name);
                self.option(out, name, &value);
            }
        }
        for (name, values) in [
            ("usedns", &["no", "warn", "raw"][..]),
            ("prefregex", &["^<F-CONTENT>.+</F-CONTENT>$", "%(known/failregex)s"]),
            ("failregex", &["^a <HOST>", "^a <HOST>\n^b <ADDR>", "%(known/failregex)s\n^more <HOST>", ""]),
            ("ignoreregex", &["", "^no"]),
            ("datepattern", &["%%Y-%%m-%%d", "{^LN-BEG}\n^EPOCH"]),
            ("journalmatch", &["_COMM=a + _UNIT=b", "A='b c'\nD=e", "", "%(known/failregex)s"]),
            ("maxlines", &["2", "x"]),
        ] {
            if self.dice.chance(6) {
                let mut value = self.dice.pick(values).to_owned();
                if name == "journalmatch" && value.contains("known") {
                    value = "X=y".to_owned();
                }
                if value.contains("%(known/") {
                    self.note("ref: %(known/opt)s of the filter");
                }
                self.note_option(name);
                self.option(out, name, &value);
            }
        }
    }

    fn note_option(&mut self, name: &str) {
        let names = stockade_config::options::JAIL.iter().chain(stockade_config::options::FILTER);
        if let Some(row) = names.into_iter().find(|row| row.name == name) {
            self.note(row.name);
        }
    }

    fn logpath(&mut self, out: &mut String) {
        let folder = self.folder.clone();
        let lines = [
            ("logpath: file", format!("{folder}/logs/a.log")),
            ("logpath: pattern", format!("{folder}/logs/*.log")),
            ("logpath: tail", format!("{folder}/logs/[ab].log tail")),
            ("logpath: two", format!("{folder}/logs/a.log\n{folder}/logs/b.? head")),
            ("logpath: dangling link", format!("{folder}/logs/*")),
            ("logpath: folder pattern", format!("{folder}/l*s/?.log")),
            ("logpath: missing", format!("{folder}/logs/none.log")),
            ("logpath: missing", String::new()),
        ];
        let (construct, value) = &lines[self.dice.below(lines.len())];
        self.note(construct);
        self.option(out, "logpath", value);
    }

    fn backend(&mut self, out: &mut String) {
        let value =
            self.dice.pick(&["auto", "polling", "systemd", "auto[x=1]", "systemd[journalflags=1]", "pyinotify"]);
        self.note("backend");
        self.option(out, "backend", value);
    }

    fn actions(&mut self) -> String {
        let mut calls = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let name = format!("a{}", self.dice.below(4));
            let call = match self.dice.below(32) {
                0 => {
                    self.note("call: python action");
                    self.call("mail.py", &["dest", "actname", "x"])
                }
                1 => {
                    self.note("call: missing action");
                    "nothere[x=1]".to_owned()
                }
                2 => {
                    self.note("call: bad syntax");
                    format!("{name}{}", self.dice.pick(&["[x]", "[x=1,,y=2]", "[=1]", "[x=\"1\"y]", "[x", "]"]))
                }
                3 => {
                    self.note("call: conditional argument");
                    format!("{name}[tool?family=inet6=six]")
                }
                4 => {
                    self.note("call: name argument");
                    format!("{name}[name=%(__name__)s-{}]", self.dice.below(3))
                }
                5 => {
                    self.note("call: actname argument");
                    format!("{name}[actname=other]")
                }
                6 => {
                    self.note("call: known tag in argument");
                    format!("{name}[tool=\"more|<known/tool>\"]")
                }
                7 => {
                    self.note("call: command as argument");
                    format!("{name}[actionban=\"do <ip>\", norestored=1]")
                }
                8 => {
                    self.note("call: blank before bracket");
                    format!("{name} [x=1]")
                }
                _ => self.call(&name, &["tool", "x", "port", "lvl", "Mixed"]),
            };
            calls.push(call);
        }
        self.note("actions: list");
        calls.join(self.dice.pick(&["\n", " ", "\n\n"]))
    }

    /// A filter file.
    fn filter(&mut self, n: usize) {
        let mut out = String::new();
        if self.sometimes(40, "include: before") {
            out.push_str("[INCLUDES]\n");
            let mut list = String::from("c0.conf");
            if self.sometimes(25, "include: several lines") {
                list.push_str("\nc1.conf");
            }
            if self.sometimes(15, "include: missing") {
                list.push_str("\nnone.conf");
            }
            if self.sometimes(12, "include: itself") {
                list.push_str(&format!("\nf{n}.conf"));
            }
            if self.sometimes(8, "include: absolute") {
                list.push_str(&format!("\n{}/filter.d/c1.conf", self.folder));
            }
            self.option(&mut out, "before", &list);
            if self.sometimes(30, "include: after") {
                let value = if self.sometimes(30, "include: reference") { "%(which)s" } else { "c2.conf" };
                if value.starts_with('%') {
                    out.push_str("which = c2.conf\n");
                }
                self.option(&mut out, "after", value);
            }
        }
        if self.sometimes(40, "filter: DEFAULT") {
            self.header(&mut out, "DEFAULT");
            self.option(&mut out, "daemon", "dmn");
            self.option(&mut out, "mixed", "from default");
        }
        if !self.sometimes(2, "filter: no Definition") {
            self.header(&mut out, "Definition");
        } else {
            self.header(&mut out, "Other");
        }
        if self.sometimes(30, "filter: prefregex") {
            self.option(&mut out, "prefregex", "^<pre><F-CONTENT>.+</F-CONTENT>$");
            self.option(&mut out, "pre", "(?:<daemon>)?<sp>");
        }
        self.option(&mut out, "re-normal", "^n <HOST>");
        let value = if self.sometimes(50, "tag: within a multi-line value") { "<re-normal>\n^m <ADDR>" } else { "^m" };
        self.option(&mut out, "re-hard", value);
        let part = self.dice.below(11);
        let regex = match part {
            0 => ("tag: composed", "<re-<mode>>\n^x <HOST>"),
            1 => ("tag: unresolved", "^<nobody> <HOST> <F-USER>u</F-USER>"),
            2 => ("tag: of a section", "^<Extra/word> <HOST>"),
            3 => ("tag: DEFAULT", "^<default/daemon>-<Daemon> <HOST>"),
            4 => ("tag: jail option", "^<backend> <HOST> <maxretry>"),
            5 => ("ref: jail option in a filter", "^%(mode)s %(enabled)s <HOST>"),
            6 => ("tag: Init option", "^<word><word> <known/word> <HOST>"),
            7 => ("tag: nested twice", "^<<a><b>> <HOST>"),
            8 => ("tag: logtype", "^<logtype> <HOST>"),
            9 => ("ref: own section in a filter", "^%(definition/x)s %(Definition/re-normal)s"),
            _ => ("regex: plain", "^bad <HOST>$\n^worse %%d <HOST>\n"),
        };
        // References to a section with capitals lead nowhere.
        let (construct, regex) = if part == 9 { ("ref: in a filter", "^%(re-normal)s %(re-hard)s") } else { regex };
        self.note(construct);
        self.option(&mut out, "failregex", regex);
        self.option(&mut out, "a", "re-");
        self.option(&mut out, "b", "normal");
        self.one_of(&mut out, "mode", &["normal", "hard"]);
        if self.dice.chance(40) {
            self.one_of(&mut out, "ignoreregex", &["", "^ok", "<re-normal>"]);
        }
        if self.dice.chance(20) {
            self.option(&mut out, "datepattern", "{^LN-BEG}");
        }
        if self.dice.chance(20) {
            self.option(&mut out, "journalmatch", "_COMM=x + _COMM='y z'");
        }
        if self.sometimes(20, "filter: maxlines") {
            self.one_of(&mut out, "maxlines", &["10", "1", "many"]);
        }
        if self.sometimes(10, "filter: logtype set") {
            self.option(&mut out, "logtype", "mine");
        }
        self.header(&mut out, "Extra");
        self.option(&mut out, "word", "extra %(part)s");
        self.option(&mut out, "part", "p");
        if self.sometimes(60, "filter: Init") {
            self.header(&mut out, "Init");
            self.option(&mut out, "word", "w");
            if self.sometimes(12, "filter: odd option name") {
                out.push_str("date = odd\n");
            }
            if self.sometimes(10, "filter: conditional section") {
                self.header(&mut out, "Init?family=inet6");
                self.option(&mut out, "word", "w6");
            }
        }
        self.write(&format!("filter.d/f{n}.conf"), &out);
        if self.sometimes(25, "file: .local") {
            let mut local = String::new();
            self.header(&mut local, "Definition");
            if self.sometimes(50, "ref: %(known/opt)s over files") {
                self.option(&mut local, "failregex", "%(known/failregex)s\n^local <HOST>");
            }
            self.option(&mut local, "a", "re-");
            self.write(&format!("filter.d/f{n}.local"), &local);
        }
        if self.sometimes(10, "file: .d of a filter") {
            self.write(&format!("filter.d/f{n}.d/10.conf"), "[Definition]\nb = hard\n[Init]\nnew = n\n");
        }
    }

    /// An action file.
    fn action(&mut self, n: usize) {
        let mut out = String::new();
        if self.sometimes(30, "action: include") {
            out.push_str("[INCLUDES]\nbefore = common.conf\n");
        }
        self.header(&mut out, "Definition");
        let commands = [
            ("actionstart", "<tool> new <name>\n<tool> port <port>/%(protocol)s"),
            ("actionstop", "<tool> del <name>"),
            ("actionflush", "%(fl)s"),
            ("actioncheck", "<tool> chk <name> | grep -q '[ \\t]x'"),
            ("actionban", "<tool> add <ip> <bantime> \"<matches>\" <lvl>"),
            ("actionunban", "<tool> rem <ip> <F-USER> <jail.name>"),
            ("actionprolong", "<br>"),
            ("actionreban", "<actionban>"),
            ("actionreload", "echo <nothing> <timeout>"),
            ("actionrepair", "<actionstop>\n<actionstart>"),
            ("actionstart_on_demand", "yes"),
            ("actionrepair_on_unban", "<flag>"),
            ("norestored", "1"),
        ];
        for (name, value) in commands {
            if self.dice.chance(55) {
                if let Some(row) = stockade_config::options::ACTION.iter().find(|row| row.name == name) {
                    self.note(row.name);
                }
                self.option(&mut out, name, value);
            }
        }
        self.option(&mut out, "fl", "<tool> flush %%h");
        self.option(&mut out, "flag", "true");
        self.option(&mut out, "protocol", "tcp");
        self.header(&mut out, "Init");
        self.one_of(&mut out, "tool", &["fw -4", "fw"]);
        self.option(&mut out, "port", "ssh");
        self.one_of(&mut out, "lvl", &["1", "<port>", "%(port)s"]);
        if self.sometimes(15, "action: timeout") {
            self.option(&mut out, "timeout", "30");
        }
        if self.sometimes(30, "action: conditional section") {
            self.header(&mut out, "Init?family=inet6");
            self.option(&mut out, "tool", "fw -6");
        }
        self.write(&format!("action.d/a{n}.conf"), &out);
        if self.sometimes(20, "action: .local") {
            self.write(
                &format!("action.d/a{n}.local"),
                "[Init]\nlvl = local\nport = %(known/port)s,2222\n[Init?family=inet6]\nport = 6\n",
            );
        }
    }

    /// One thing for which the original refuses everything (or that it survives).
    fn mistake(&mut self) {
        let (construct, path, text) = match self.dice.below(16) {
            0 => ("mistake: section twice", "jail.d/z.conf", "[j0]\nx = 1\n[j0]\ny = 2\n"),
            1 => ("mistake: option twice", "jail.d/z.conf", "[j0]\nx = 1\nX: 2\n"),
            2 => ("mistake: text before a header", "jail.d/z.conf", "x = 1\n[j0]\n"),
            3 => ("mistake: bare option", "jail.d/z.conf", "[j0]\nsomething\n"),
            4 => ("mistake: unknown reference", "jail.d/z.local", "[j0]\nbantime = %(nobody)s\n"),
            5 => ("mistake: lone percent", "jail.d/z.local", "[j0]\nbantime = 5%\n"),
            6 => ("mistake: circle", "jail.d/z.local", "[DEFAULT]\nv0 = %(v1)s\nv1 = %(v0)s\n[j0]\nbantime=%(v0)s\n"),
            7 => (
                "mistake: circle of tags",
                "filter.d/f0.local",
                "[Definition]\nfailregex = <x1>\nx1 = <x2>\nx2 = <x1>\n",
            ),
            8 => ("mistake: tag of itself", "filter.d/f1.local", "[Definition]\nfailregex = a<failregex>\n"),
            9 => ("mistake: known twice", "jail.d/z.local", "[j0]\nfindtime = %(known/findtime)s\n"),
            10 => ("mistake: bad log level", "fail2ban.local", "[Definition]\nloglevel = LOUD\n"),
            11 => ("mistake: open quote", "jail.d/z.local", "[j0]\njournalmatch = A='b\n"),
            12 => ("mistake: indented option", "jail.d/z.local", "[j0]\nenabled = true\n  maxretry = 5\n"),
            13 => ("mistake: empty section name", "jail.d/z.local", "[]\nx = 1\n"),
            14 => ("mistake: unknown section", "jail.d/z.local", "[j0]\nbantime = %(nosec/x)s\n"),
            _ => ("mistake: upper-case section", "jail.d/z.local", "[Up]\nx = 1\n[j0]\nbantime = %(Up/x)s\n"),
        };
        self.note(construct);
        let path = Path::new(&self.folder).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn daemon(&mut self) {
        let mut out = String::from("[DEFAULT]\n");
        self.option(&mut out, "dbpurgeage", "2d");
        self.header(&mut out, "Definition");
        for (name, values) in [
            ("loglevel", &["INFO", "debug", "18", "%(lev)s"][..]),
            ("logtarget", &["STDOUT", "/var/log/x.log", "SYSLOG[facility=auth]"]),
            ("syslogsocket", &["auto", "/dev/log"]),
            ("socket", &["/run/x.sock"]),
            ("pidfile", &["/run/x.pid"]),
            ("allowipv6", &["auto", "no"]),
            ("dbfile", &["None", "/x.sqlite3"]),
            ("dbmaxmatches", &["10", "ten"]),
        ] {
            if self.dice.chance(35) {
                if let Some(row) = stockade_config::options::DAEMON.iter().find(|row| row.name == name) {
                    self.note(row.name);
                }
                let value = self.dice.pick(values).to_owned();
                self.option(&mut out, name, &value);
            }
        }
        self.option(&mut out, "lev", "notice");
        if self.sometimes(20, "daemon: Thread") {
            self.header(&mut out, "Thread");
            if self.dice.chance(80) {
                self.one_of(&mut out, "stacksize", &["0", "128", "big"]);
            }
        }
        self.write("fail2ban.conf", &out);
        if self.sometimes(20, "daemon: fail2ban.d") {
            self.write("fail2ban.d/x.local", "[Definition]\nlogtarget = STDERR\n");
        }
    }

    fn jails(&mut self) {
        let mut out = String::new();
        if self.sometimes(30, "jail.conf: include") {
            out.push_str("[INCLUDES]\nbefore = paths.conf\n");
            self.write("paths.conf", "[INCLUDES]\nafter = paths-over.local\n[DEFAULT]\nv0 = path\nlogdir = /var/log\n");
            if self.sometimes(50, "include: .local of an include") {
                self.write("paths.local", "[DEFAULT]\nv0 = local path\n");
            }
        }
        self.header(&mut out, "DEFAULT");
        self.variables(&mut out, 5);
        self.option(&mut out, "port", "0:65535");
        self.option(&mut out, "mode", "normal");
        self.option(&mut out, "maxretry", "3");
        self.option(&mut out, "findtime", "5m");
        self.one_of(&mut out, "banaction", &["a0", "a1"]);
        if self.dice.chance(50) {
            let filter = self.dice.pick(&["f0", "f1[mode=%(mode)s]", "f%(num)s"]).to_owned();
            self.option(&mut out, "filter", &filter);
        }
        self.option(&mut out, "num", "2");
        if self.dice.chance(60) {
            self.option(&mut out, "action", "%(banaction)s[port=\"%(port)s\", x=\"%(v1)s\"]");
        }
        if self.sometimes(20, "jail.conf: DEFAULT again") {
            self.header(&mut out, "DEFAULT");
            self.option(&mut out, "extra", "e");
        }
        self.header(&mut out, "shared");
        for n in 0..3 {
            self.option(&mut out, &format!("s{n}"), &format!("shared{n}"));
        }
        for n in 0..3 {
            if self.sometimes(10, "jail: name with blanks") {
                self.header(&mut out, &format!("j {n}"));
            } else {
                self.header(&mut out, &format!("j{n}"));
            }
            let enabled = self.dice.pick(&["true", "true", "yes", "1", "false", "off", "perhaps"]).to_owned();
            self.note("enabled");
            self.option(&mut out, "enabled", &enabled);
            if self.dice.chance(70) {
                let name = format!("f{}", self.dice.below(4));
                let name = if self.sometimes(4, "call: missing filter") { "nofilter".to_owned() } else { name };
                let filter = self.call(&name, &["mode", "word", "new", "Daemon"]);
                self.option(&mut out, "filter", &filter.replace('\n', " "));
            }
            if self.dice.chance(60) {
                let actions = self.actions();
                self.option(&mut out, "action", &actions);
            }
            if self.dice.chance(70) {
                self.logpath(&mut out);
            }
            if self.dice.chance(50) {
                self.backend(&mut out);
            }
            self.jail_options(&mut out);
            if self.sometimes(8, "jail: unknown option") {
                out.push_str("colour = red\n");
            }
        }
        self.write("jail.conf", &out);
    }

    /// Files beside `jail.conf`.
    fn more_jails(&mut self) {
        if self.sometimes(35, "file: jail.d conf") {
            let mut out = String::new();
            self.header(&mut out, "j0");
            self.option(&mut out, "bantime", "7m");
            self.option(&mut out, "w0", "%(v0)s %(s)s".replace("%(s)s", "%(shared/s1)s").as_str());
            if self.sometimes(30, "jail: section across files") {
                self.header(&mut out, "new");
                self.option(&mut out, "enabled", "true");
                self.option(&mut out, "filter", "f3");
            }
            self.write("jail.d/20-x.conf", &out);
        }
        if self.sometimes(35, "file: jail.local") {
            let mut out = String::new();
            if self.dice.chance(50) {
                self.header(&mut out, "DEFAULT");
                self.option(&mut out, "v1", "local v1");
            }
            self.header(&mut out, "j1");
            self.jail_options(&mut out);
            if self.sometimes(30, "jail: conditional section") {
                self.header(&mut out, "j1?x=y");
                self.option(&mut out, "bantime", "3");
            }
            self.write("jail.local", &out);
        }
        if self.sometimes(20, "file: jail.d local") {
            self.write(
                "jail.d/10-y.local",
                "[j2]\nbantime = 99\nport = %(known/port)s,1\n[DEFAULT]\nv2=%(__name__)s\n",
            );
        }
    }
}

/// Writes the tree of `seed` into `folder` and counts what it holds. A small
/// one has one of everything and always a mistake.
pub(crate) fn tree(seed: u64, small: bool, folder: &Path, made: &mut BTreeMap<&'static str, u32>) {
    fs::create_dir_all(folder.join("logs")).unwrap();
    fs::write(folder.join("logs/a.log"), "").unwrap();
    fs::write(folder.join("logs/b.log"), "").unwrap();
    symlink("nowhere", folder.join("logs/c.log")).unwrap();
    let folder_text = folder.to_str().unwrap().to_owned();
    let mut maker = Maker { dice: Dice(seed), made, folder: folder_text };
    if small {
        maker.write("fail2ban.conf", "[Definition]\n");
        let jail = "[DEFAULT]\nv0 = 1\nv1 = 2\nfindtime = 5\n[j0]\nenabled = true\nfilter = f0[x=1]\naction = a0\n[j1]\nenabled = true\nfilter = f1\n";
        maker.write("jail.conf", jail);
        maker.write("jail.local", "[j0]\nfindtime = %(known/findtime)s0\n");
        maker.filter(0);
        maker.filter(1);
        maker.action(0);
    } else {
        maker.daemon();
        maker.jails();
        maker.more_jails();
        for n in 0..4 {
            maker.filter(n);
            maker.action(n);
        }
    }
    maker.write("filter.d/c0.conf", "[DEFAULT]\ndaemon = c0d\nsp = \\s*\n[Definition]\na = c0\n");
    maker.write("filter.d/c1.conf", "[INCLUDES]\nbefore = c0.conf\n[Definition]\nfrom-c1 = %(a)s\n");
    maker.write("filter.d/c2.conf", "[Definition]\nmode = hard\n[Init]\nword = after\n");
    if maker.dice.chance(20) {
        maker.write("filter.d/c0.local", "[DEFAULT]\ndaemon = c0local\n");
    }
    maker.write("action.d/common.conf", "[DEFAULT]\nprotocol = udp\n[Init]\nname = default\ncommon = <tool>\n");
    if small || maker.dice.chance(20) {
        maker.mistake();
    }
}
