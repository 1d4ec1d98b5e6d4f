//! `stockade.success`: the lines by which a proxy is told from an attacker.

use crate::engine::Engine;
use crate::injection::{payloads, written};
use crate::sample::{Expected, Sample};
use crate::{filters, sample, stop_at, unused};

#[test]
fn a_line_is_a_success_of_whom_the_sample_says() {
    let mut wrong = Vec::new();
    let mut successes = 0;
    for name in filters() {
        for part in sample::read(&name) {
            let mut engine = Engine::of_success(&part.call(&name));
            for sample in &part.samples {
                let found: Option<Vec<String>> =
                    engine.as_mut().map(|engine| engine.line(&sample.line).into_iter().map(|found| found.id).collect());
                let found = found.unwrap_or_default();
                // What was asked for may be an attack, though the server gave it.
                let attack = sample.expected.as_ref().map(|expected| &expected.id);
                if !found.iter().eq(sample.success.as_ref()) && !found.iter().eq(attack) {
                    let (number, line, wanted) = (sample.number, &sample.line, &sample.success);
                    wrong.push(format!("{name}.log:{number}: success of {found:?}, not of {wanted:?}\n  {line}"));
                }
                successes += found.len();
            }
        }
    }
    stop_at(&wrong);
    println!("{successes} successes");
}

#[test]
fn each_pattern_of_success_is_used_by_a_sample() {
    stop_at(&unused(Engine::of_success, |sample| sample.success.is_some()));
}

#[test]
fn no_text_of_a_client_chooses_whose_success_it_is() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for name in filters() {
        for part in sample::read(&name) {
            let Some(mut engine) = Engine::of_success(&part.call(&name)) else { continue };
            for sample in &part.samples {
                // A line of success is attacked as one of failure is: with itself, about somebody else.
                let Some(id) = sample.success.clone() else { continue };
                let about = Expected { id: id.clone(), time: 0, user: String::new() };
                let sample = Sample { expected: Some(about), ..sample.clone() };
                for field in &sample.fields {
                    for payload in
                        payloads(&part, &sample, field).iter().filter(|payload| !payload.contains(['\r', '\n']))
                    {
                        let line = sample.line.replace(&field.text, &written(payload, field));
                        tried += 1;
                        let found = engine.line(&line);
                        if let Some(other) = found.iter().find(|found| found.id != id) {
                            wrong.push(format!(
                                "{name}.log:{}: {} instead of {id} in\n  {line}",
                                sample.number, other.id
                            ));
                        }
                    }
                }
            }
        }
    }
    stop_at(&wrong);
    assert!(tried > 1_000);
    println!("{tried} hostile lines");
}
