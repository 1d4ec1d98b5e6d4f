//! Runs logs through one process and one thread: `pipeline TREE FILTER[,FILTER..]|all[,!FILTER..] WAY TIMES LOG..`
//!
//! Prints lines, failures, bans, and the time of the processor per line. With `SHOW_BANNED` set it names who is
//! banned, with `SHOW_NEEDLES` what it looks for; with `DATES_OF_STREAM` all filters take dates at the line's begin,
//! whatever their own `datepattern`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its output")]

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use stockade_bench::pipeline::{Pipeline, Way};
use stockade_bench::stock;
use stockade_core::Timestamp;
use stockade_core::matcher::{Calendar, DatePattern};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [tree, filters, way, times, logs @ ..] = words.as_slice() else {
        bail!("pipeline TREE FILTER[,FILTER..]|all[,!FILTER..] plain|scanned|judged TIMES LOG..");
    };
    let tree = Path::new(tree);
    let mut named: Vec<stock::Named> = match filters.as_str() {
        all if all.split(',').next() == Some("all") => {
            let without = |name: &str| all.split(',').filter_map(|word| word.strip_prefix('!')).any(|w| w == name);
            stock::filters(tree)?.into_iter().filter(|named| !without(&named.name)).collect()
        }
        names => names.split(',').map(|name| stock::filter(tree, name)).collect::<Result<_>>()?,
    };
    let way = match way.as_str() {
        "plain" => Way::Plain,
        "scanned" => Way::Scanned,
        "judged" => Way::Judged,
        other => bail!("{other} is no way; there are plain, scanned and judged"),
    };
    if std::env::var_os("DATES_OF_STREAM").is_some() {
        // What is measured are the patterns: foreign date patterns would find none here.
        for filter in &mut named {
            filter.spec.datepattern = DatePattern::Text("{^LN-BEG}".to_owned());
        }
    }
    let now = Timestamp::from_secs(jiff::Timestamp::now().as_second());
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
    let compiled = named.iter().map(|n| stock::compile(&n.spec, &calendar)).collect::<Result<Vec<_>>>()?;
    let times: u32 = times.parse().context("TIMES")?;
    let mut best = f64::INFINITY;
    for _ in 0..times {
        let mut pipeline = Pipeline::new(&compiled, way, 5, now);
        let begin = processor_secs();
        for log in logs {
            pipeline.log(Path::new(log))?;
        }
        let spent = processor_secs() - begin;
        if std::env::var_os("SHOW_BANNED").is_some() {
            for id in &pipeline.banned {
                println!("banned {id}");
            }
        }
        best = best.min(spent);
        let sums = &pipeline.sums;
        if std::env::var_os("SHOW_NEEDLES").is_some() {
            let needles = pipeline.needles();
            for (needle, owners) in needles.list {
                println!("{:?} {owners:?}", String::from_utf8_lossy(&needle));
            }
            let name = |place: usize| named.get(place).map_or("", |n| n.name.as_str());
            println!("every line: {:?}", needles.every.into_iter().map(name).collect::<Vec<_>>());
        }
        println!(
            "{} lines {} failures {} bans; {:.1} ns a line, {:.2} M lines/s; {} filters",
            sums.lines,
            sums.failures,
            sums.bans,
            spent * 1e9 / sums.lines as f64,
            sums.lines as f64 / spent / 1e6,
            compiled.len()
        );
    }
    println!("best {best:.4} s");
    Ok(())
}

/// Time of the processor that this thread has used, which other programs do not stretch much.
#[expect(clippy::disallowed_methods, reason = "a line that the kernel writes")]
fn processor_secs() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
