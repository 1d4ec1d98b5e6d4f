//! Made-up actions in made-up circumstances: commands that fail when a file
//! says so, with and without families, checks, repairs, flushes. What runs, in
//! which order, and what is said must equal the original's.

use serde_json::{Value, json};
use stockade_original::{Installed, both};

use super::stock::{compare, inside, whole};
use super::theirs::{INSIDE, Stage};

const ME: &str = "daemon::actions::tests::random::made_up_actions_run_the_same_commands";
const NOW: f64 = 1_795_358_700.0;

/// How many jobs the short form has.
const JOBS: u64 = 60;

#[test]
fn made_up_actions_run_the_same_commands() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let jobs = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(JOBS);
    for Installed { version, root } in both("made_up_actions_run_the_same_commands") {
        let stage = Stage::new(None);
        let jobs: Vec<Value> = (0..jobs).map(|seed| Dice(seed * 7919 + 11).job()).collect();
        let (theirs, ours) = stage.both(&root, ME, &jobs);
        assert_eq!((theirs.len(), ours.len()), (jobs.len(), jobs.len()), "{version}");
        let mut scripts = 0;
        for ((job, theirs), ours) in jobs.iter().zip(&theirs).zip(&ours) {
            scripts += compare(version, job, theirs, ours);
        }
        println!("fail2ban {version}: {} jobs, {scripts} scripts, all equal", jobs.len());
        assert!(scripts > jobs.len() * 5, "only {scripts} scripts ran");
    }
}

/// A small generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.next() % of.len() as u64).unwrap()]
    }

    /// A command that says its name, and fails while a file of that name lies in /scratch.
    fn command(&mut self, action: &str, name: &str) -> String {
        let tags = [
            "<ip>",
            "<family>",
            "<chain>",
            "<F-USER>",
            "<matches>",
            "<bantime>",
            "<bancount>",
            "<restored>",
            "<fid>",
            "<failures>",
            "<time>",
            "<ip-rev>",
            "<F-ID>",
            "<unknown>",
            "<actname>",
            "<known/x>",
            "<br>true",
            "<sp>",
            "<init>",
        ];
        // The end of a permanent ban does not know its begin.
        let ban = !matches!(name, "unban" | "start" | "stop" | "flush" | "check" | "repair" | "reload");
        // A reload that fails stops the original in the middle of it.
        let count = if name == "reload" { 0 } else { self.next() % 4 };
        let mut words = String::new();
        for _ in 0..count {
            let tag = *self.pick(&tags);
            // Where there is no ban, the time of the clock would differ.
            if ban || tag != "<time>" {
                words.push(' ');
                words.push_str(tag);
            }
        }
        format!(": {action}; echo \"{name}{words}\"\n! test -e /scratch/{name}")
    }

    fn action(&mut self, name: &str) -> Value {
        let mut properties: Vec<Value> =
            vec![json!(["name", "web"]), json!(["actname", name]), json!(["chain", "f2b-<name>"])];
        for part in ["start", "ban", "unban", "stop", "check", "flush", "reban", "repair", "reload", "prolong"] {
            let likely = matches!(part, "start" | "ban" | "unban" | "stop");
            if if likely { !self.one_in(8) } else { self.one_in(2) } {
                properties.push(json!([format!("action{part}"), self.command(name, part)]));
            }
        }
        if self.one_in(2) {
            properties.push(json!(["chain?family=inet6", "f2b6-<name>"]));
        }
        if self.one_in(4) {
            let text = self.command(name, "start");
            properties.push(json!(["actionstart?family=inet6", text]));
        }
        for (option, values) in [
            ("actionstart_on_demand", [json!(true), json!(false)]),
            ("norestored", [json!(true), json!(false)]),
            ("actionrepair_on_unban", [json!(true), json!(true)]),
            ("init", [json!("<chain> x"), json!(7)]),
        ] {
            if self.one_in(4) {
                let value = self.pick(&values).clone();
                properties.push(json!([option, value]));
            }
        }
        json!({ "name": name, "properties": properties })
    }

    fn job(&mut self) -> Value {
        let count = 1 + self.next() % 2;
        let actions: Vec<Value> = (0..count).map(|n| self.action(&format!("act{n}"))).collect();
        let bantime = *self.pick(&[-1, 600]);
        let ids = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "bob", "203.0.113.0/24"];
        let mut steps = vec![json!({ "op": "start" })];
        for _ in 0..14 {
            let time = NOW + 10.0 * (steps.len() + 1) as f64;
            let id = *self.pick(&ids);
            let mut step = match self.next() % 12 {
                0..=3 => json!({ "op": "ban", "id": id }),
                4 => json!({ "op": "ban", "id": id, "restored": true }),
                5 | 6 => json!({ "op": "unban", "id": id }),
                7 | 8 => {
                    let part = *self.pick(&["start", "ban", "unban", "stop", "check", "flush", "repair", "reban"]);
                    json!({ "op": "sh", "text": format!("touch /scratch/{part}") })
                }
                9 => json!({ "op": "sh", "text": "rm -f /scratch/*" }),
                10 => json!({ "op": "reload", "actions": actions }),
                _ => continue,
            };
            // Known offenders come again in jails whose bans can't grow by that.
            // Stored bans come before new ones.
            let alone = bantime > 0 || step["restored"] == true;
            if step["op"] == "ban" && alone && steps.iter().any(|old: &Value| old["id"] == step["id"]) {
                continue;
            }
            if step["op"] == "ban" {
                let restored = step["restored"] == true;
                step["time"] = if restored { json!(whole(time)) } else { json!(time) };
                step["data"] =
                    if restored { json!({}) } else { json!({ "user": self.pick(&["alice", "b o b", "x'$(id)"]) }) };
                step["matches"] =
                    if restored { json!([]) } else { json!([self.pick(&["plain", "a;b", "two\nlines"])]) };
                (step["failures"], step["count"]) = (json!(1), json!(2));
            }
            steps.push(step);
        }
        // Only at the end: the original leaves out a second flush of one text for
        // two families (known difference flush-twice).
        if self.one_in(2) {
            steps.push(json!({ "op": "flush" }));
        }
        steps.push(json!({ "op": "stop" }));
        json!({ "name": format!("job {}", self.0), "jail": "web", "bantime": bantime, "now": NOW, "actions": actions, "steps": steps })
    }
}
