//! Every pass off against every pass on, against the plain engine, on generated patterns.
//!
//! `STOCKADE_LONG=n` asks for about `n` pairs, `STOCKADE_SEED` for another run.

use crate::fast::{Options, compile};
use crate::parse::{Flags, parse};
use crate::plain::Plain;
use crate::search::{Outcome, Scratch, Slots, Text};

#[path = "../tests/dialect/mod.rs"]
mod dialect;
use dialect::Dialect;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const NONE: Options = Options {
    words: false,
    possessive: false,
    tables: false,
    follow: false,
    line: false,
    spine: false,
    conditionals: false,
    needs: false,
    memo: false,
    memo_from: 2000,
    tempered: false,
    unroll: false,
};

/// All off, all on, each one off, each one on, and the memo from the first step.
fn variants() -> Vec<(String, Options)> {
    let mut out = vec![("none".to_owned(), NONE), ("all".to_owned(), Options::ALL)];
    out.push(("memo at once".to_owned(), Options { memo_from: 0, ..Options::ALL }));
    out.push(("memo alone at once".to_owned(), Options { memo: true, memo_from: 0, ..NONE }));
    type Switch = (&'static str, fn(&mut Options) -> &mut bool);
    let switches: [Switch; 11] = [
        ("words", |o| &mut o.words),
        ("possessive", |o| &mut o.possessive),
        ("tables", |o| &mut o.tables),
        ("follow", |o| &mut o.follow),
        ("line", |o| &mut o.line),
        ("spine", |o| &mut o.spine),
        ("conditionals", |o| &mut o.conditionals),
        ("needs", |o| &mut o.needs),
        ("memo", |o| &mut o.memo),
        ("tempered", |o| &mut o.tempered),
        ("unroll", |o| &mut o.unroll),
    ];
    for (name, switch) in switches {
        let (mut off, mut on) = (Options::ALL, NONE);
        *switch(&mut off) = false;
        *switch(&mut on) = true;
        out.push((format!("without {name}"), off));
        out.push((format!("only {name}"), on));
    }
    out
}

#[test]
fn passes_do_not_change_answers() {
    let pairs = setting("STOCKADE_LONG", 100_000) / 10;
    let mut dialect = Dialect::new(setting("STOCKADE_SEED", 1) + 77);
    let variants = variants();
    let (mut scratch, mut other) = (Scratch::with_limit(100_000), Scratch::with_limit(100_000));
    let (mut done, mut compared, mut exhausted, mut refused) = (0, 0u64, 0u64, 0u64);
    while done < pairs {
        let case = dialect.case(10);
        let flags = Flags { multiline: case.multiline, ignorecase: case.ignorecase, ..Flags::default() };
        let Ok(tree) = parse(&case.pattern, flags) else { continue };
        let plain = Plain::new(&tree);
        for ascii in [true, false] {
            for (name, options) in &variants {
                let Some(program) = compile(&tree, ascii, *options) else {
                    refused += 1;
                    continue;
                };
                for text in case.texts.iter().filter(|text| !ascii || text.is_ascii()) {
                    let text = Text { bytes: text.as_bytes(), start: 0, one_line: false };
                    scratch.begin(0);
                    let ours = program.search(&mut scratch, text);
                    other.begin(0);
                    let twin = plain.search(&mut other, text);
                    if ours == Outcome::Exhausted || twin == Outcome::Exhausted {
                        exhausted += 1;
                        continue;
                    }
                    compared += 1;
                    assert_eq!(ours, twin, "{name}: {:?} {flags:?} on {:?}", case.pattern, str(text));
                    if ours == Outcome::Match {
                        let (mut a, mut b) = (Slots::new(), Slots::new());
                        a.fill(&scratch.slots);
                        b.fill(&other.slots);
                        let spans =
                            |slots: &Slots| (0..=tree.groups as usize).map(|g| slots.get(g)).collect::<Vec<_>>();
                        assert_eq!(spans(&a), spans(&b), "{name}: {:?} {flags:?} on {:?}", case.pattern, str(text));
                    }
                }
            }
        }
        done += case.texts.len() as u64;
    }
    println!("{done} pairs, {compared} comparisons, {exhausted} overruns, {refused} refused programs");
    assert!(exhausted * 10 < compared, "{exhausted} overruns");
    assert!(refused * 20 < compared, "{refused} refused programs");
}

fn str(text: Text<'_>) -> &str {
    std::str::from_utf8(text.bytes).unwrap()
}

#[test]
fn more_budget_never_changes_an_answer() {
    let pairs = setting("STOCKADE_LONG", 100_000) / 20;
    let mut dialect = Dialect::new(setting("STOCKADE_SEED", 1) + 99);
    let mut done = 0;
    let mut cut = 0;
    while done < pairs {
        let case = dialect.case(10);
        let Ok(tree) = parse(&case.pattern, Flags::default()) else { continue };
        let Some(program) = compile(&tree, false, Options::ALL) else { continue };
        for text in &case.texts {
            let text = Text { bytes: text.as_bytes(), start: 0, one_line: false };
            let mut full = Scratch::with_limit(100_000);
            full.begin(0);
            let answer = program.search(&mut full, text);
            let mut tight = Scratch::with_limit(u32::try_from(dialect.rng.below(60)).unwrap());
            tight.begin(0);
            match program.search(&mut tight, text) {
                Outcome::Exhausted => cut += 1,
                outcome if answer != Outcome::Exhausted => {
                    assert_eq!(outcome, answer, "{:?} on {:?}", case.pattern, str(text));
                }
                _ => {}
            }
        }
        done += case.texts.len() as u64;
    }
    assert!(cut > 0);
}
