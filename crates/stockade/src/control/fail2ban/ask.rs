//! Commands that only look: `get`, `status`, `stats`, `banned`.
//!
//! Settings come from what the operator has posted, counts and bans from looks
//! at the judge. Long lists are taken in pages, so that no look takes long.

use stockade_core::judge::{BanLine, Counters};
use stockade_core::{FailureId, JailName, Timestamp};
use stockade_wire::pickle::Exception;
use stockade_wire::value::{Value, repr_str};

use super::Answer;
use crate::control::answers::Answers;
use crate::daemon::board::Posted;
use crate::settings::{JailSettings, jail_option, words};

/// Bans of one look at the judge.
const PAGE: usize = 4_096;

/// The answer to a command that only looks.
pub(in crate::control) fn ask(answers: &Answers, command: &[Value]) -> Answer {
    let posted = answers.board.read();
    let desk = Desk { answers, posted: &posted };
    let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
    match word(0)?.as_str() {
        "status" => match command.get(1..).unwrap_or_default() {
            [] => Ok(Value::List(desk.overview())),
            [name] => desk.status(&words(name), "basic"),
            [name, flavor] => desk.status(&words(name), &words(flavor)),
            _ => Err(Exception::plain("Invalid command (no status)")),
        },
        "banned" => desk.banned(command.get(1..).unwrap_or_default()),
        "get" => desk.get(command),
        _ => desk.status("--all", "stats"),
    }
}

struct Desk<'a> {
    answers: &'a Answers,
    posted: &'a Posted,
}

fn pair(name: &str, value: impl Into<Value>) -> Value {
    Value::Tuple(vec![name.into(), value.into()])
}

fn number(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn ids(bans: &[BanLine]) -> Value {
    Value::List(bans.iter().map(|ban| ban.id.to_string().into()).collect())
}

/// The original has no `get` for what `set` answers here.
fn no_such_get() -> Exception {
    Exception::plain("Invalid command (no get action or not yet implemented)")
}

fn stopping() -> Exception {
    Exception::builtin("RuntimeError", "the daemon is stopping")
}

impl Desk<'_> {
    fn get(&self, command: &[Value]) -> Answer {
        let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
        let name = word(1)?;
        if let Some(value) = self.server(&name) {
            return Ok(value);
        }
        let option = word(2)?;
        let rest = command.get(3..).unwrap_or_default();
        match option.as_str() {
            "idle" => Err(no_such_get()),
            "banned" => {
                self.known(&name)?;
                self.banned_in(&name, rest)
            }
            "banip" => {
                self.known(&name)?;
                let with_time = rest.first().is_some_and(|word| words(word) == "--with-time");
                self.bans_by_end(&name, with_time)
            }
            _ => match self.posted.settings.jail(&name) {
                Some(jail) => jail_option(jail, self.posted.filter(&name), &option, rest),
                // Whether the option exists is found out first.
                None => match jail_option(&JailSettings::default(), None, &option, rest) {
                    Err(e) if e.class == "Exception" || e.class == "IndexError" => Err(e),
                    _ => Err(Exception::unknown_jail(&name)),
                },
            },
        }
    }

    /// An option of the server; `None` if it is none.
    fn server(&self, name: &str) -> Option<Value> {
        let settings = &self.posted.settings;
        let set = |default: Value| settings.server.get(name).cloned().unwrap_or(default);
        let of_database = |default: i64| if settings.has_database() { set(Value::Int(default)) } else { Value::None };
        Some(match name {
            "loglevel" => set("INFO".into()),
            "logtarget" => match set("STDOUT".into()) {
                Value::Str(text) => text.split('[').next().unwrap_or_default().trim().into(),
                other => other,
            },
            "syslogsocket" => set("auto".into()),
            "thread" => Value::Dict(vec![("stacksize".into(), set(Value::Int(0)))]),
            "dbfile" => set(Value::None),
            "dbmaxmatches" => of_database(10),
            "dbpurgeage" => of_database(86_400),
            name if name.starts_with("stockade.") => set(Value::None),
            _ => return None,
        })
    }

    fn known(&self, name: &str) -> Result<&JailSettings, Exception> {
        self.posted.settings.known(name)
    }

    /// All names, sorted.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.posted.settings.jails.iter().map(|jail| jail.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn overview(&self) -> Vec<Value> {
        let names = self.names();
        let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
        vec![pair("Number of jail", count), pair("Jail list", names.join(", "))]
    }

    /// `status JAIL FLAVOR`, `status --all FLAVOR`.
    fn status(&self, name: &str, flavor: &str) -> Answer {
        if !["short", "basic", "stats", "cymru"].contains(&flavor) {
            let text = format!(
                "Unsupported extended jail status flavor {}. Supported: ['short', 'basic', 'stats', 'cymru']",
                repr_str(flavor)
            );
            self.answers.log.line(crate::log::Level::Warning, "fail2ban.actions", text);
        }
        if name != "--all" {
            return self.jail(self.known(name)?, flavor);
        }
        let mut each = Vec::new();
        for name in self.names() {
            each.push((name.into(), self.jail(self.known(name)?, flavor)?));
        }
        if flavor == "stats" {
            return Ok(Value::Dict(each));
        }
        let mut all = self.overview();
        all.push(Value::Dict(each));
        Ok(Value::List(all))
    }

    fn jail(&self, jail: &JailSettings, flavor: &str) -> Answer {
        let counters = self.counters(&jail.name)?;
        if flavor == "stats" {
            let both = |now: u64, total: u64| Value::Tuple(vec![number(now), number(total)]);
            return Ok(Value::List(vec![
                backend(jail).into(),
                both(counters.failed, counters.failed_total),
                both(counters.banned, counters.banned_total),
            ]));
        }
        let mut filter = vec![
            pair("Currently failed", number(counters.failed)),
            pair("Total failed", number(counters.failed_total)),
        ];
        filter.push(if jail.reads_journal() {
            let matches: Vec<String> = jail.journalmatch.iter().map(|words| words.join(" ")).collect();
            pair("Journal matches", Value::List(vec![matches.join(" + ").into()]))
        } else {
            pair("File list", self.files(jail))
        });
        let (banned, list) = match flavor {
            "short" => (counters.banned, None),
            _ => {
                let bans = self.bans(&jail.name)?;
                (bans.len() as u64, Some(ids(&bans)))
            }
        };
        let mut actions =
            vec![pair("Currently banned", number(banned)), pair("Total banned", number(counters.banned_total))];
        if let Some(list) = list {
            actions.push(pair("Banned IP list", list));
        }
        if flavor == "cymru" {
            // As the original without a resolver library: nobody else's names are asked for.
            for name in ["Banned ASN list", "Banned Country list", "Banned RIR list"] {
                actions.push(pair(name, Value::List(vec!["error".into()])));
            }
        }
        Ok(Value::List(vec![pair("Filter", Value::List(filter)), pair("Actions", Value::List(actions))]))
    }

    /// The log files of a jail: those it was told of, then what patterns have brought.
    fn files(&self, jail: &JailSettings) -> Value {
        let mut files: Vec<&str> = jail.logpath.iter().map(|(path, _)| path.as_str()).collect();
        let board = self.posted.running(&jail.name);
        let read = board.iter().flat_map(|board| &board.sources);
        for source in read.filter(|source| source.state().trouble.is_empty()) {
            if !files.contains(&&*source.name) {
                files.push(&source.name);
            }
        }
        Value::List(files.into_iter().map(Value::from).collect())
    }

    fn counters(&self, name: &str) -> Result<Counters, Exception> {
        let jail = JailName::new(name);
        let status = self.answers.look(move |judge, _| judge.status(&jail)).map_err(|_| stopping())?;
        Ok(status.map(|status| status.counters).unwrap_or_default())
    }

    /// The living bans of a jail in the order of banning.
    fn bans(&self, name: &str) -> Result<Vec<BanLine>, Exception> {
        let mut bans: Vec<BanLine> = Vec::new();
        let mut from = Some(0);
        while let Some(place) = from {
            let jail = JailName::new(name);
            let look = self.answers.look(move |judge, _| judge.ban_lines(&jail, place, PAGE));
            let (mut page, next) = look.map_err(|_| stopping())?;
            bans.append(&mut page);
            from = next;
        }
        bans.sort_by_key(|ban| ban.seq);
        Ok(bans)
    }

    fn bans_by_end(&self, name: &str, with_time: bool) -> Answer {
        let mut bans = self.bans(name)?;
        bans.sort_by_key(|ban| ban.end);
        if !with_time {
            return Ok(ids(&bans));
        }
        let line = |ban: &BanLine| {
            let (start, end) = (local(ban.start), local(ban.end));
            format!("{} \t{start} + {} = {end}", ban.id, ban.bantime.secs()).into()
        };
        Ok(Value::List(bans.iter().map(line).collect()))
    }

    /// `banned`, `banned ID ..`
    fn banned(&self, wanted: &[Value]) -> Answer {
        let jails = self.posted.settings.jails.iter();
        if wanted.is_empty() {
            let each = jails.map(|jail| {
                let bans = self.bans(&jail.name)?;
                Ok(Value::Dict(vec![(jail.name.as_str().into(), ids(&bans))]))
            });
            return each.collect::<Result<_, _>>().map(Value::List);
        }
        let names: Vec<JailName> = jails.map(|jail| jail.jail()).collect();
        let ids: Vec<FailureId> = wanted.iter().map(|id| FailureId::parse(&words(id))).collect();
        let look = self.answers.look(move |judge, _| {
            let of = |id: &FailureId| {
                let in_jails = names.iter().filter(|name| judge.is_banned(name, id));
                Value::List(in_jails.map(|name| name.as_str().into()).collect())
            };
            ids.iter().map(of).collect()
        });
        look.map(Value::List).map_err(|_| stopping())
    }

    /// `get JAIL banned`, `get JAIL banned ID ..`
    fn banned_in(&self, name: &str, wanted: &[Value]) -> Answer {
        if wanted.is_empty() {
            return self.bans(name).map(|bans| ids(&bans));
        }
        let jail = JailName::new(name);
        let ids: Vec<FailureId> = wanted.iter().map(|id| FailureId::parse(&words(id))).collect();
        let look = self.answers.look(move |judge, _| {
            let each = ids.iter().map(|id| Value::Int(judge.is_banned(&jail, id).into()));
            each.collect::<Vec<_>>()
        });
        let mut found = look.map_err(|_| stopping())?;
        Ok(match (found.len(), found.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                found.extend(last);
                Value::List(found)
            }
        })
    }
}

/// The backend by the name of who does the work.
fn backend(jail: &JailSettings) -> &str {
    match jail.backend_kind() {
        "auto" => "pyinotify",
        kind => kind,
    }
}

/// `YYYY-MM-DD HH:MM:SS` in local time; the end of all time for a ban without end.
fn local(time: Timestamp) -> String {
    if time == Timestamp::MAX {
        return "9999-12-31 23:59:59".to_owned();
    }
    stockade_core::judge::local_time(time, &jiff::tz::TimeZone::system())
}
