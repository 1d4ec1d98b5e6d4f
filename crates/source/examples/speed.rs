//! What reading a log costs beside a plain `read(2)` loop, with a newline count on both sides.
//!
//! `speed [FILE [ROUNDS]]`; without a file one of 200 MB is made. The two ways take turns; the ratio of
//! the medians counts.
#![expect(clippy::print_stdout, reason = "an example's output is its purpose")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use stockade_source::{FileReader, Start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = match args.next() {
        Some(path) => PathBuf::from(path),
        None => made(&std::env::temp_dir().join("stockade-speed.log"))?,
    };
    let rounds: usize = args.next().map_or(Ok(11), |n| n.parse())?;
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    let mut lines = (0, 0);
    for _ in 0..rounds {
        let began = Instant::now();
        lines.0 = by_read(&path)?;
        plain.push(began.elapsed());
        let began = Instant::now();
        lines.1 = by_reader(&path)?;
        ours.push(began.elapsed());
    }
    assert_eq!(lines.0, lines.1, "a fast wrong answer does not count");
    plain.sort();
    ours.sort();
    let (plain, ours) = (plain.get(rounds / 2).ok_or("no rounds")?, ours.get(rounds / 2).ok_or("no rounds")?);
    let megabytes = std::fs::metadata(&path)?.len() / 1_000_000;
    println!("{megabytes} MB, {} lines", lines.0);
    println!("read(2) loop: {:.1} ms", plain.as_secs_f64() * 1e3);
    println!("FileReader:   {:.1} ms, ratio {:.2}", ours.as_secs_f64() * 1e3, ours.as_secs_f64() / plain.as_secs_f64());
    Ok(())
}

fn by_read(path: &Path) -> std::io::Result<usize> {
    let mut file = File::open(path)?;
    let mut room = vec![0; 256 << 10];
    let mut lines = 0;
    loop {
        match file.read(&mut room)? {
            0 => return Ok(lines),
            n => lines += newlines(room.get(..n).unwrap_or_default()),
        }
    }
}

fn by_reader(path: &Path) -> stockade_source::Result<usize> {
    let mut reader = FileReader::open(path, Start::Head);
    let mut lines = 0;
    while let Some(block) = reader.read()? {
        lines += newlines(&block.text);
    }
    Ok(lines)
}

fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// Lines of an authentication log, about 100 bytes each.
fn made(path: &Path) -> std::io::Result<PathBuf> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    let mut bytes = 0;
    let mut n = 0_u32;
    while bytes < 200_000_000 {
        let line = format!(
            "2026-11-22T10:{:02}:{:02}.{:06}+00:00 host sshd-session[{}]: Connection closed by authenticating user u{} 192.0.2.{} port {}\n",
            n / 600 % 60,
            n / 10 % 60,
            n % 1_000_000,
            1000 + n % 30_000,
            n % 977,
            n % 254,
            1024 + n % 60_000
        );
        file.write_all(line.as_bytes())?;
        bytes += line.len();
        n += 1;
    }
    file.flush()?;
    Ok(path.to_owned())
}
