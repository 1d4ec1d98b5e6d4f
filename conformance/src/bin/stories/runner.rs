//! Runs stories, a few beside each other where they measure nothing, and says what came out.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use conformance::Programs;

/// How much longer than usual a story that repeats something should be: `STOCKADE_LONG`, else 1.
pub(crate) fn scale() -> usize {
    std::env::var("STOCKADE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// How many stories run beside each other.
const BESIDE: usize = 3;

/// What a story gets to work with, and where it leaves its figures.
pub(crate) struct Stage<'a> {
    pub(crate) programs: &'a Programs,
    figures: Vec<String>,
}

impl Stage<'_> {
    /// Notes a figure; it is printed beside the story's name.
    pub(crate) fn figure(&mut self, text: impl Into<String>) {
        self.figures.push(text.into());
    }
}

/// A measurement that may be disturbed by whatever else the computer does: the best of three tries counts.
///
/// # Errors
/// That of the last try, when none of them kept to its bound.
pub(crate) fn best_of_three(stage: &mut Stage<'_>, measure: impl Fn(&mut Stage<'_>) -> Result<()>) -> Result<()> {
    for number in 1..3 {
        match measure(stage) {
            Ok(()) => return Ok(()),
            Err(error) => stage.figure(format!("try {number}: {error:#}")),
        }
    }
    measure(stage)
}

/// What a story does; an error is its failure.
type Plot = Box<dyn Fn(&mut Stage<'_>) -> Result<()> + Sync>;

/// One story.
pub(crate) struct Story {
    name: String,
    alone: bool,
    plot: Plot,
}

impl Story {
    /// A story that may run beside others.
    pub(crate) fn new(name: impl Into<String>, plot: impl Fn(&mut Stage<'_>) -> Result<()> + Sync + 'static) -> Self {
        Self { name: name.into(), alone: false, plot: Box::new(plot) }
    }

    /// The same story, but with the computer to itself, because it measures time.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// Names all stories.
pub(crate) fn list(stories: &[Story]) {
    for story in stories {
        say(&story.name);
    }
}

/// Runs the stories whose names contain one of the words (all without words); success when none failed.
pub(crate) fn run(stories: &[Story], words: &[String], scratch: &Path) -> Result<ExitCode> {
    let wanted = |story: &&Story| words.is_empty() || words.iter().any(|word| story.name.contains(word));
    let chosen: Vec<&Story> = stories.iter().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no story is called like that; --list names them");
    let programs = Programs::gather(scratch)?;
    let failed = AtomicUsize::new(0);
    let tell = |story: &Story| {
        if !told(story, &programs) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (alone, beside): (Vec<&Story>, Vec<&Story>) = chosen.iter().partition(|story| story.alone);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                while let Some(story) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                    tell(story);
                }
            });
        }
    });
    for story in alone {
        tell(story);
    }
    let failed = failed.into_inner();
    say(&format!("stories: {} passed, {failed} failed", chosen.len() - failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(story: &Story, programs: &Programs) -> bool {
    let start = Instant::now();
    let mut stage = Stage { programs, figures: Vec::new() };
    let result = (story.plot)(&mut stage);
    let mut text = match &result {
        Ok(()) => format!("ok      {}  ({:.1} s)", story.name, start.elapsed().as_secs_f32()),
        Err(error) => format!(
            "FAILED  {}  ({:.1} s)\n          {}",
            story.name,
            start.elapsed().as_secs_f32(),
            format!("{error:#}").replace('\n', "\n          ")
        ),
    };
    for figure in &stage.figures {
        text.push_str("\n          ");
        text.push_str(figure);
    }
    say(&text);
    result.is_ok()
}

/// Prints whole lines, one story's at a time.
pub(crate) fn say(text: &str) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody is left to tell when the output is closed.
    writeln!(io::stdout(), "{text}").ok();
}
