//! How long patterns take to compile, and how large they become: `compile PATTERNS`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use stockade_pattern::{Flags, Hole, Regex};

#[expect(clippy::print_stdout, reason = "an example reports on its output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file of patterns?")?;
    let lines: Vec<String> = BufReader::new(File::open(path)?.take(1 << 30)).lines().collect::<Result<_, _>>()?;
    let mut best = f64::MAX;
    let mut needs = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let regexes: Vec<Regex> = lines.iter().filter_map(|line| Regex::new(line, Flags::default()).ok()).collect();
        best = best.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let sets: usize = regexes.iter().map(|regex| regex.required(Hole::BetweenNonWords).len()).sum();
        needs = needs.min(start.elapsed().as_secs_f64());
        assert!(sets > 0);
    }
    println!("{} patterns: {:.1} ms to compile, {:.1} ms for their literals", lines.len(), best * 1e3, needs * 1e3);
    Ok(())
}
