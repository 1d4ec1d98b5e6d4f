//! Small configuration trees, good and bad ones.

use std::fs;
use std::path::{Path, PathBuf};

const JAILS: &str = "[DEFAULT]
backend = polling
usedns = no
maxretry = 3
findtime = 10m
bantime = 10m
ignoreip = 127.0.0.1/8 192.0.2.0/24
ignoreself = false
[web]
enabled = true
filter = web
logpath = RUN/web.log
          RUN/web2.log
action = note
         more[name=x]
[api]
enabled = true
filter = web
logpath = RUN/api.log
action = note
";

const FILTER: &str = "[Definition]
failregex = ^bad <HOST>$
            ^worse <HOST>$
ignoreregex = ^bad 10\\.
datepattern = ^%%Y-%%m-%%d %%H:%%M:%%S
";

const ACTION: &str = "[Definition]
actionban = echo ban <ip> >> RUN/acts
actionunban = echo unban <ip> >> RUN/acts
";

/// A tree of two jails with everything it needs, its server's places in `run`.
pub(crate) fn good(name: &str) -> PathBuf {
    let tree = crate::fresh_folder(name);
    for folder in ["filter.d", "action.d", "run"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let run = tree.join("run");
    let run = run.to_str().unwrap();
    let main = "[Definition]\nloglevel = INFO\nlogtarget = RUN/f2b.log\nsyslogsocket = auto\nsocket = RUN/f2b.sock\n\
                pidfile = RUN/f2b.pid\ndbfile = RUN/f2b.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 10\nallowipv6 = auto\n";
    write(&tree, "fail2ban.conf", &main.replace("RUN", run));
    write(&tree, "jail.conf", &JAILS.replace("RUN", run));
    write(&tree, "filter.d/web.conf", FILTER);
    write(&tree, "action.d/note.conf", &ACTION.replace("RUN", run));
    write(&tree, "action.d/more.conf", &ACTION.replace("RUN", run));
    for log in ["web.log", "web2.log", "api.log"] {
        write(&tree, &format!("run/{log}"), "");
    }
    tree
}

/// A good tree with one file more, or another one.
pub(crate) fn with(name: &str, file: &str, text: &str) -> PathBuf {
    let tree = good(name);
    write(&tree, file, text);
    tree
}

/// Writes one file of a tree.
pub(crate) fn write(tree: &Path, file: &str, text: &str) {
    let path = tree.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Switches every jail of a stock tree on.
pub(crate) fn switch_all_on(tree: &Path) {
    let text = fs::read_to_string(tree.join("jail.conf")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']')).map(|(name, _)| name);
    let jails = names.filter(|name| !matches!(*name, "INCLUDES" | "DEFAULT"));
    let local: String = jails.map(|name| format!("[{name}]\nenabled = true\n")).collect();
    write(tree, "jail.local", &local);
}
