//! Every stock action of both originals: the same scripts with the same words,
//! and the same calls of tools, in the same order.
#![expect(clippy::disallowed_methods, reason = "reads what it wrote itself")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stockade_core::judge::{Command, Event, JailChange};
use stockade_core::{BanTime, JailName, Span, Timestamp};
use stockade_enforce::actions::ActionSpec;
use stockade_original::{Installed, both};

use super::super::How;
use super::court::Court;
use super::theirs::{INSIDE, Stage};

const ME: &str = "daemon::actions::tests::stock::stock_actions_run_the_same_commands";
const NOW: f64 = 1_795_358_700.0;

#[test]
fn stock_actions_run_the_same_commands() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    for Installed { version, root } in both("stock_actions_run_the_same_commands") {
        let stage = Stage::new(None);
        let wanted = stock(&root);
        assert!(wanted.len() > 55, "{} actions only", wanted.len());
        let jobs: Vec<Value> = stage
            .specs(&root, &wanted)
            .into_iter()
            .filter(|spec| spec["python"].is_null())
            .flat_map(|spec| {
                assert!(spec["error"].is_null(), "{spec}");
                // Where the ban time plays a part, a short one as well.
                let texts = spec["properties"].to_string();
                let timed = texts.contains("<bantime>") || texts.contains("actionprolong");
                [Some(-1), timed.then_some(600)].into_iter().flatten().map(move |bantime| job(&spec, bantime))
            })
            .collect();
        let (theirs, ours) = stage.both(&root, ME, &jobs);
        assert_eq!((theirs.len(), ours.len()), (jobs.len(), jobs.len()), "{version}");
        let mut commands = 0;
        for ((job, theirs), ours) in jobs.iter().zip(&theirs).zip(&ours) {
            commands += compare(version, job, theirs, ours);
        }
        println!("fail2ban {version}: {} jobs, {commands} scripts, all equal", jobs.len());
        assert!(commands > 1_000, "only {commands} scripts ran");
    }
}

/// Names of all stock actions, with options such as jails give them.
fn stock(root: &Path) -> Vec<(String, Value)> {
    let options = json!({ "name": "web", "port": "http,https", "protocol": "tcp", "chain": "INPUT", "dest": "root@localhost",
        "sender": "guard@localhost", "logpath": "/etc/hostname /etc/debian_version", "bantime": "600" });
    let mut names: Vec<String> = fs::read_dir(root.join("etc/fail2ban/action.d"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".conf").map(str::to_owned))
        // Only parts of others.
        .filter(|name| !name.ends_with("-common"))
        .collect();
    names.sort();
    names.into_iter().map(|name| (name, options.clone())).collect()
}

/// Whole seconds, as times from the database are.
#[expect(clippy::cast_possible_truncation, reason = "a time of our days")]
pub(super) fn whole(secs: f64) -> i64 {
    secs as i64
}

/// A jail's life with one action.
fn job(spec: &Value, bantime: i64) -> Value {
    let action = json!({ "name": "act", "properties": spec["properties"] });
    let mut time = NOW;
    let mut steps = Vec::new();
    let mut step = |mut step: Value| {
        time += 10.0;
        if step["id"].is_string() {
            let restored = step["restored"] == true;
            step["time"] = if restored { json!(whole(time)) } else { json!(time) };
            let hostile = step["id"].as_str().unwrap().ends_with(".1");
            let (matches, user) =
                if hostile { ("a 'b' $(id) `id`\n;|&", "bob'; rm -rf x") } else { ("plain", "alice") };
            let matches = if restored { json!([]) } else { json!([matches, "second"]) };
            step["data"] = if restored { json!({}) } else { json!({ "user": user }) };
            step["matches"] = matches;
            step["failures"] = json!(1);
            step["count"] = json!(2);
        }
        steps.push(step);
    };
    let (v4, v6) = ("192.0.2.1", "2001:db8::1");
    step(json!({ "op": "start" }));
    for id in [v4, v6, "192.0.2.2", "2001:db8::2"] {
        step(json!({ "op": "ban", "id": id }));
    }
    step(json!({ "op": "ban", "id": "192.0.2.9", "restored": true }));
    step(json!({ "op": "unban", "id": "192.0.2.2" }));
    step(json!({ "op": "unban", "id": v6 }));
    step(json!({ "op": if bantime < 0 { "again" } else { "prolong" }, "id": v4 }));
    // Everything fails, then only what is about one address.
    for pattern in ["", "192.0.2.3"] {
        let all = if pattern.is_empty() { " " } else { pattern };
        step(json!({ "op": "fail", "pattern": format!("{all}\n") }));
        step(json!({ "op": "ban", "id": "192.0.2.3" }));
        step(json!({ "op": "ban", "id": "2001:db8::3" }));
        step(json!({ "op": "unban", "id": "192.0.2.3" }));
        if bantime < 0 {
            step(json!({ "op": "again", "id": v4 }));
        }
        step(json!({ "op": "fail", "pattern": "\n" }));
        step(json!({ "op": "unban", "id": "2001:db8::3" }));
    }
    if bantime < 0 {
        step(json!({ "op": "again", "id": v4 }));
        step(json!({ "op": "again", "id": v4 }));
    }
    step(json!({ "op": "reload", "actions": [action] }));
    // Half of them end with a flush of its own; two in a row are a known difference (flush-twice).
    if bantime < 0 {
        step(json!({ "op": "flush" }));
        step(json!({ "op": "unban", "id": v4 }));
    }
    step(json!({ "op": "stop" }));
    json!({ "name": spec["name"], "jail": "web", "bantime": bantime, "now": NOW, "actions": [action], "steps": steps })
}

/// Compares one job; returns the number of scripts.
#[track_caller]
pub(super) fn compare(version: &str, job: &Value, theirs: &Value, ours: &Value) -> usize {
    let mut scripts = 0;
    for (n, step) in job["steps"].as_array().unwrap().iter().enumerate() {
        let [a, b] = [theirs, ours].map(|side| entries(side["steps"][n]["record"].as_str().unwrap()));
        scripts += a.iter().filter(|entry| entry.starts_with("sh <-c>")).count();
        assert_eq!(
            a, b,
            "fail2ban {version}, {} {}, step {n}: {step}; theirs left, ours right\nours said: {}",
            job["name"], job["bantime"], ours["steps"][n]["said"]
        );
        let mut both = [theirs, ours].map(|side| said(&side["steps"][n]["said"]));
        if job["actions"].as_array().unwrap().len() > 1 {
            // Lanes speak beside each other.
            both.iter_mut().for_each(|lines| lines.sort());
        }
        let [a, b] = both;
        assert_eq!(
            a, b,
            "fail2ban {version}, {}, step {n}: {step}: what is said; theirs left, ours right",
            job["name"]
        );
    }
    scripts
}

/// What was recorded: each script, with the calls of tools in it sorted, since
/// the parts of a pipe run beside each other.
fn entries(record: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in record.lines() {
        if line.starts_with("sh <-c>") || line.starts_with("sh </") || line.starts_with("tool <") {
            all.push(line.to_owned());
        } else if let Some(last) = all.last_mut() {
            last.push('\n');
            last.push_str(line);
        }
    }
    // Each action is a lane; made-up ones name themselves first.
    all.sort_by_key(|entry| entry.split_once(": act").and_then(|(_, tail)| tail.chars().next()));
    for group in all.chunk_by_mut(|_, b| !b.starts_with("sh <-c>")) {
        if let Some((_, tools)) = group.split_first_mut() {
            tools.sort();
        }
    }
    all
}

/// Lines of the log as others parse them, without what is chance.
fn said(lines: &Value) -> Vec<String> {
    let lines = lines.as_array().unwrap().iter().filter_map(|line| {
        let [level, logger, text] = [0, 1, 2].map(|n| line[n].as_str().unwrap());
        // Warnings are about what the original doesn't tell at all.
        if level == "WARNING" {
            return None;
        }
        if text.contains("] Ban ")
            || text.contains("] Unban ")
            || text.contains("] Restore Ban ")
            || text.contains("already banned")
        {
            return None;
        }
        // Our log escapes line breaks (known difference), the number of a command is
        // chance, and the words about a ban are longer there.
        let text = text.replace("\\x0a", "\n");
        let text = text.as_str();
        let text = text.split_once(" -- ").map_or(text, |(_, text)| text);
        let text = match (text.split_once(" info '"), text.rsplit_once("': ")) {
            (Some((head, _)), Some((_, tail))) => format!("{head} info: {tail}"),
            _ => text.to_owned(),
        };
        Some(format!("{level} {logger} {text}"))
    });
    lines.collect()
}

/// Our side of it, inside of the box.
pub(super) fn inside() {
    let jobs = fs::read_to_string("/stage/jobs").unwrap();
    for job in jobs.lines() {
        let job: Value = serde_json::from_str(job).unwrap();
        assert!(std::process::Command::new("rm").args(["-rf", "/scratch"]).status().unwrap().success());
        fs::create_dir("/scratch").unwrap();
        fs::write("/fail", "\n").unwrap();
        let answer = run(&job);
        // The harness may have begun a line.
        println!("\nBOX {answer}");
    }
}

fn specs(jail: &str, actions: &Value) -> Vec<ActionSpec> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    };
    let specs = actions.as_array().unwrap().iter().map(|action| {
        let mut spec =
            ActionSpec { jail: jail.into(), name: action["name"].as_str().unwrap().into(), ..ActionSpec::default() };
        for pair in action["properties"].as_array().unwrap() {
            let (name, value) = (text(&pair[0]), text(&pair[1]));
            match spec.properties.iter_mut().find(|(n, _)| *n == name) {
                Some(slot) => slot.1 = value,
                None => spec.properties.push((name, value)),
            }
        }
        spec
    });
    specs.collect()
}

fn run(job: &Value) -> Value {
    let log = Path::new("/scratch-log");
    drop(fs::remove_file(log));
    let jail = job["jail"].as_str().unwrap().to_owned();
    let bantime = BanTime::from_secs_f64(job["bantime"].as_f64().unwrap());
    // What a restart finds.
    let effects = std::path::PathBuf::from("/scratch/db.actions");
    let mut court = Court::new(Timestamp::from_secs(whole(NOW)), log, Some(effects.clone()));
    let mut banned: Vec<String> = Vec::new();
    let mut read = 0;
    fs::write("/record", "").unwrap();
    let mut steps = Vec::new();
    for step in job["steps"].as_array().unwrap() {
        court.now = court.now + Span::from_secs(10);
        let id = step["id"].as_str().unwrap_or_default();
        match step["op"].as_str().unwrap() {
            "start" => court.jails(&[(&jail, bantime, specs(&jail, &job["actions"]))]),
            "fail" => fs::write("/fail", step["pattern"].as_str().unwrap()).unwrap(),
            "sh" => {
                std::process::Command::new("/bin/dash").args(["-c", step["text"].as_str().unwrap()]).status().unwrap();
            }
            "ban" if step["restored"] == true => court.restore(&jail, id, court.now, bantime, 2),
            "ban" | "again" | "prolong" => {
                let matches: Vec<&str> = step["matches"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                let groups =
                    step["data"].as_object().unwrap().iter().filter_map(|(n, v)| Some((n.as_str(), v.as_str()?)));
                let groups: Vec<(&str, &str)> = groups.collect();
                court.fail(&jail, id, court.now, &matches, &groups);
            }
            "restart" => {
                court.actions.close(false);
                court = Court::new(court.now, log, Some(effects.clone()));
                court.jails(&[(&jail, bantime, specs(&jail, &job["actions"]))]);
                for id in &banned {
                    court.restore(&jail, id, court.now, bantime, 1);
                }
                court.actions.settle();
            }
            "unban" => court.unban(&jail, id),
            "flush" => court.command(Command::UnbanAll { jail: Some(JailName::new(&jail)) }),
            "stop" => court.step(Event::Config(vec![JailChange::Remove(JailName::new(&jail))])),
            "reload" => court.stage(&[(&jail, bantime, specs(&jail, &step["actions"]))], How::Tree),
            other => panic!("no such step: {other}"),
        }
        match step["op"].as_str() {
            Some("ban") if !banned.iter().any(|known| known == id) => banned.push(id.to_owned()),
            Some("unban") => banned.retain(|known| known != id),
            _ => {}
        }
        court.settle();
        court.flush_log();
        let record = fs::read(Path::new("/record")).unwrap();
        fs::write("/record", "").unwrap();
        let text = fs::read_to_string(log).unwrap_or_default();
        let news = text.get(read..).unwrap_or_default().to_owned();
        read = text.len();
        steps.push(json!({ "record": String::from_utf8_lossy(&record), "said": log_lines(&news) }));
    }
    court.actions.close(false);
    json!({ "job": job["name"], "steps": steps })
}

/// Lines of our log as (level, logger, text), NOTICE and above without warnings.
fn log_lines(text: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(2, "]: ").collect();
        let head = words.first().and_then(|head| head.split_whitespace().nth(2));
        match (words.get(1), head) {
            (Some(rest), Some(logger)) if logger.starts_with("fail2ban.") => {
                let (level, text) = rest.split_once(' ').unwrap_or((rest, ""));
                lines.push(json!([level, logger, text.trim_start()]));
            }
            _ => {
                if let Some(last) = lines.last_mut() {
                    let joined = format!("{}\n{line}", last[2].as_str().unwrap_or_default());
                    last[2] = json!(joined);
                }
            }
        }
    }
    lines.retain(|line| matches!(line[0].as_str(), Some("ERROR" | "CRITICAL" | "NOTICE" | "WARNING")));
    lines
}
