//! Shows what the sources of this crate yield, as they yield it.
//!
//! `follow [--polling] FILE...` follows log files; `follow --journal [--cursor C | --since SECS | --tail] [MATCH...]`
//! the journal; `--seconds N` ends it after N seconds. Each line is shown with its source and place;
//! with `--count` they are only counted. `--program P` stands in for `journalctl`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example's output is its purpose")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stockade_core::block::{Block, Position};
use stockade_core::time::Timestamp;
use stockade_source::{FileReader, Journal, JournalOptions, JournalStart, Mode, Note, Start, Watcher};

enum Source {
    File(Box<FileReader>),
    Journal(Box<Journal>),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (mut mode, mut journal, mut start, mut seconds) =
        (Mode::Auto, false, JournalStart::Since(Timestamp::default()), 5);
    let (mut count_only, mut program) = (false, None);
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--polling" => mode = Mode::Polling,
            "--journal" => journal = true,
            "--count" => count_only = true,
            "--program" => program = args.next().map(Into::into),
            "--tail" => start = JournalStart::Tail,
            "--since" => start = JournalStart::Since(Timestamp::from_secs(args.next().unwrap_or_default().parse()?)),
            "--cursor" => {
                let cursor = args.next().unwrap_or_default().as_str().into();
                start = JournalStart::After { cursor, at: Timestamp::default(), not_before: None };
            }
            "--seconds" => seconds = args.next().unwrap_or_default().parse()?,
            _ => rest.push(arg),
        }
    }
    let mut watcher = Watcher::new(mode)?;
    let mut sources = BTreeMap::new();
    if journal {
        let options = JournalOptions { matches: vec![rest], program, ..JournalOptions::default() };
        if let Err(e) = Journal::probe(&options) {
            eprintln!("probe: {e}");
        }
        let journal = Journal::open(options, start)?;
        let id = watcher.add_fd(journal.as_fd())?;
        sources.insert(id, Source::Journal(Box::new(journal)));
    } else {
        for path in rest {
            let id = watcher.add_file(&path);
            sources.insert(id, Source::File(Box::new(FileReader::open(path, Start::Head))));
        }
    }
    let (mut lines, mut bytes, mut wakes) = (0, 0, 0);
    let mut last = Duration::ZERO;
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    while Instant::now() < end {
        for id in watcher.wait(Some(end.saturating_duration_since(Instant::now())))? {
            wakes += 1;
            loop {
                let (read, notes) = match sources.get_mut(&id) {
                    Some(Source::File(f)) => (f.read(), f.take_notes()),
                    Some(Source::Journal(j)) => (j.read(), j.take_notes()),
                    None => break,
                };
                notes.iter().for_each(tell);
                match read {
                    Ok(Some(block)) => {
                        lines += block.text.iter().filter(|b| **b == b'\n').count();
                        bytes += block.text.len();
                        last = began.elapsed();
                        if !count_only {
                            show(&block);
                        }
                    }
                    Ok(None) => break,
                    Err(e) => eprintln!("error: {e}"),
                }
            }
            if let Some(Source::File(f)) = sources.get(&id) {
                watcher.remind(id, f.next_look());
            }
            watcher.again(id);
        }
        watcher.take_notes().iter().for_each(tell);
    }
    eprintln!("{lines} lines, {bytes} bytes, {wakes} wake-ups, the last line after {:.3} s", last.as_secs_f64());
    Ok(())
}

fn tell(note: &Note) {
    eprintln!("{:?}: {note}", note.level());
}

fn show(block: &Block) {
    let at = match &block.end {
        Position::Offset(offset) => offset.to_string(),
        Position::Cursor { cursor, at } => format!("{cursor} at {}", at.as_secs_f64()),
    };
    println!("-- {} {:x} to {at}, in operation: {}", block.source.path, block.source.generation, block.in_operation);
    print!("{}", String::from_utf8_lossy(&block.text));
}
