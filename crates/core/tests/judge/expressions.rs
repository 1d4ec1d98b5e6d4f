//! Formulas and lengths of time against Python.
//!
//! `expressions.py` writes what Python makes of random ones; the file is named
//! by `STOCKADE_EXPRESSIONS`. Each line: kind, expression, value or `error`,
//! parted by tabs.

use stockade_core::judge::formula::{Formula, Names, Number};
use stockade_core::judge::timespec::parse_seconds;

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of our own making")]
fn expressions_have_pythons_values() {
    let Some(path) = std::env::var_os("STOCKADE_EXPRESSIONS") else {
        println!("skipped: STOCKADE_EXPRESSIONS names no file");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let (mut values, mut errors, mut large, mut wrong) = (0, 0, 0, Vec::new());
    for line in text.lines() {
        let [kind, expression, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let found = match kind {
            "time" => parse_seconds(expression),
            _ => Formula::parse(expression)
                .and_then(|f| f.value(&Names { time: Number::Int(600), count: 3, factor: Number::Float(1.5) }))
                .map(Number::as_f64),
        };
        match (found, expected) {
            (Err(_), "error") => errors += 1,
            (Ok(value), expected) => match expected.parse::<f64>() {
                Ok(expected) if (value - expected).abs() <= 1e-9 * expected.abs().max(1.0) => values += 1,
                _ => wrong.push(format!("{expression}: {value}, Python {expected}")),
            },
            // Python's whole numbers have no bound, ours have 127 bits.
            (Err(error), _) if &*error.message == "the result is too large" => large += 1,
            (Err(error), expected) => wrong.push(format!("{expression}: {error}, Python {expected}")),
        }
    }
    println!("{values} values and {errors} errors as in Python, {large} too large for us");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.iter().take(30).cloned().collect::<Vec<_>>().join("\n")
    );
}
