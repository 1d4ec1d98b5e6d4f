//! Stock actions with one character changed: each that is still recognised must
//! make a real shell run exactly what its plan stands for.
#![expect(clippy::disallowed_methods, reason = "a real shell is the judge")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::plan::Plan;
use super::render::{Answers, commands};
use super::*;
use crate::actions::expand;

const PROPERTIES: [&str; 6] = ["actionstart", "actionban", "actionunban", "actioncheck", "actionflush", "actionstop"];

/// What stub tools answer: nothing stands; everything stands.
const ANSWERS: [Answers; 2] = [
    Answers { stands: false, handles: &[], any_set: false },
    Answers { stands: true, handles: &[7, 12], any_set: true },
];

/// The calls whose texts are changed.
const MUTATED: [&str; 6] = [
    "nftables[name=web, port=\"http,8000:8010\", protocol=\"tcp,udp\"]",
    "nftables-allports[name=web]",
    "iptables-multiport[name=web, port=\"http,https\"]",
    "iptables-new[name=web, protocol=\"tcp,udp\"]",
    "iptables-ipset-proto6[name=web]",
    "iptables-ipset[name=web, ipsettime=\"<timeout-bantime>\"]",
];

/// Characters that are put in; those that shells and tools care about among them.
const CHARACTERS: [char; 30] = [
    ' ', '\n', ';', '|', '&', '<', '>', '$', '`', '\\', '"', '\'', '(', ')', '{', '}', '[', ']', '*', '?', '#', '~',
    '=', '!', '-', ',', ':', '0', 'a', 'X',
];

/// The short form takes one of so many places.
const PLACES: usize = 41;

/// A folder with stub tools that note their arguments.
struct Stubs(PathBuf);

impl Stubs {
    fn make(name: &str) -> Stubs {
        let folder = std::env::temp_dir().join(format!("stockade-stubs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // What is asked for stands or does not; other verbs succeed.
        let nft = "case \"$*\" in\n'-a list chain '*) for h in $HANDLES; do echo \"  ip saddr @$SET reject # handle $h\"; done;;\n\
            'list chain '*) echo \"  ip saddr @$SET reject\";;\n'list table '*) [ -z \"$ANY_SET\" ] || printf '\\tset x {\\n';;\n\
            'flush set '*) [ -n \"$STANDS\" ];;\nesac\n";
        let tables = "case \" $* \" in *' -C '*) [ -n \"$STANDS\" ];; esac\n";
        for (tools, body) in [(&["nft"][..], nft), (&["iptables", "ip6tables"][..], tables), (&["ipset"][..], "")] {
            for tool in tools {
                let path = folder.join(tool);
                let note = format!("for a in {tool} \"$@\"; do printf '%s\\036' \"$a\"; done >> \"$NOTED\"");
                std::fs::write(&path, format!("#!/bin/sh\n{note}\necho >> \"$NOTED\"\n{body}")).unwrap();
                let mut mode = std::fs::metadata(&path).unwrap().permissions();
                std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
                std::fs::set_permissions(&path, mode).unwrap();
            }
        }
        Stubs(folder)
    }

    /// What a shell runs for a text.
    fn run(&self, text: &str, set: &str, answers: Answers) -> Vec<Vec<String>> {
        let noted = self.0.join("noted");
        std::fs::write(&noted, "").unwrap();
        let handles: Vec<String> = answers.handles.iter().map(ToString::to_string).collect();
        Command::new("sh")
            .args(["-c", text])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.display()))
            .env("NOTED", &noted)
            .env("SET", set)
            .env("HANDLES", handles.join(" "))
            .env("STANDS", if answers.stands { "1" } else { "" })
            .env("ANY_SET", if answers.any_set { "1" } else { "" })
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let text = std::fs::read_to_string(&noted).unwrap();
        let argv = |line: &str| line.split_terminator('\u{1e}').map(str::to_owned).collect();
        text.lines().map(argv).collect()
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Does a shell run, for all commands of the action, what the plan stands for?
#[track_caller]
fn check(stubs: &Stubs, spec: &ActionSpec, plan: &Plan, what: &str) {
    for (family, ipv4, ip) in [("inet4", true, "192.0.2.1"), ("inet6", false, "2001:db8::1")] {
        let way = plan.way(ipv4);
        let set = way.nft().map_or("", |nft| nft.set.as_str());
        for property in PROPERTIES {
            for (answers, bantime) in ANSWERS.iter().zip([600i64, 3_000_000]) {
                let text = expand(spec, property, Some(family)).unwrap();
                let text = text.replace("<ip>", ip).replace("<bantime>", &bantime.to_string());
                let ran = stubs.run(&text, set, *answers);
                let mut wanted = commands(way, property, ip, bantime, *answers);
                // Tools with a path in front are the same tools; the two halves of a pipe start in any order.
                let mut ran: Vec<Vec<String>> = ran;
                ran.sort();
                wanted.sort();
                assert_eq!(ran, wanted, "{what}: {property} ({family}):\n{text}");
            }
        }
    }
}

#[test]
fn a_shell_runs_what_the_plan_stands_for() {
    let stubs = Stubs::make("calls");
    let (long, roots) = (std::env::var_os("STOCKADE_LONG").is_some(), both("a_shell_runs_what_the_plan_stands_for"));
    for (i, Installed { version, root }) in roots.iter().enumerate() {
        // Each call with one version, in turn.
        let calls = CALLS.iter().enumerate().filter(|(n, _)| long || n % roots.len() == i).map(|(_, call)| call);
        for call in calls.filter(|call| !call.contains("/usr/sbin")) {
            let spec = stock(root, call);
            let Recognised::Accelerated(plan) = recognise(&spec) else { panic!("{call}") };
            check(&stubs, &spec, &plan, &format!("{version} {call}"));
        }
    }
}

/// At every place of every property a character is put in, taken out or replaced,
/// `STOCKADE_LONG` times; the short form does so at one place of [`PLACES`].
#[test]
fn an_action_with_one_character_changed_is_only_recognised_for_what_it_does() {
    let stubs = Stubs::make("changed");
    let per_place: usize = std::env::var("STOCKADE_LONG").map_or(0, |n| n.parse().unwrap());
    let (mut tried, mut recognised, mut seen) = (0u32, 0u32, HashSet::new());
    for Installed { root, .. } in
        both("an_action_with_one_character_changed_is_only_recognised_for_what_it_does").iter().take(per_place.max(1))
    {
        for call in MUTATED {
            tried += mutate(&stubs, root, call, per_place, &mut recognised, &mut seen);
        }
    }
    println!("{tried} changed actions, {recognised} of them recognised, {} different plans run by a shell", seen.len());
    assert!(tried == 0 || tried > recognised);
}

fn mutate(
    stubs: &Stubs,
    root: &Path,
    call: &str,
    per_place: usize,
    recognised: &mut u32,
    seen: &mut HashSet<String>,
) -> u32 {
    let spec = stock(root, call);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut tried = 0;
    for at in 0..spec.properties.len() {
        let chars: Vec<char> = spec.properties[at].1.chars().collect();
        for place in 0..=chars.len() {
            for _ in 0..per_place.max(1) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = usize::try_from(random >> 33).unwrap();
                if per_place == 0 && !number.is_multiple_of(PLACES) {
                    continue;
                }
                let number = number / PLACES;
                let with = CHARACTERS[number % CHARACTERS.len()];
                let mut changed = chars.clone();
                match (number / 64) % 3 {
                    0 => changed.insert(place, with),
                    1 if place < chars.len() => drop(changed.remove(place)),
                    _ if place < chars.len() => changed[place] = with,
                    _ => changed.push(with),
                }
                let mut mutant = spec.clone();
                mutant.properties[at].1 = changed.into_iter().collect();
                tried += 1;
                let Recognised::Accelerated(plan) = recognise(&mutant) else { continue };
                *recognised += 1;
                // The shell needs to see each text only once.
                let texts = |family| PROPERTIES.map(|p| expand(&mutant, p, Some(family)).unwrap()).concat();
                if seen.insert(texts("inet4") + &texts("inet6")) {
                    let what = format!("{call}: {} = {:?}", mutant.properties[at].0, mutant.properties[at].1);
                    check(stubs, &mutant, &plan, &what);
                }
            }
        }
    }
    tried
}
