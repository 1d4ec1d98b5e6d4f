//! A daemon that is slow to answer is waited for, also while it has time for nobody else.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::fresh;

/// The probe that asks a silent one who it is gets no answer, as a reader's second connection gets none
/// while the first answer is under way; and that answer is larger than the socket holds.
#[test]
fn a_probe_that_is_not_answered_holds_the_answer_up_for_a_moment_only() {
    let folder = fresh("slow");
    let home = folder.display();
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    let conf = format!("[Definition]\nsocket = {home}/s.sock\npidfile = {home}/s.pid\n");
    std::fs::write(folder.join("etc/fail2ban.local"), conf).unwrap();
    let listener = UnixListener::bind(folder.join("s.sock")).unwrap();
    let mut client = Command::new(env!("CARGO_BIN_EXE_stockade"));
    client.args(["status", "--json", "-c"]).arg(folder.join("etc"));
    let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request).unwrap();
    assert!(request.contains("status"), "{request}");
    let (probe, _) = listener.accept().unwrap();
    let began = Instant::now();
    let answer = format!("{{\"ok\":{{\"pad\":\"{}\"}}}}\n", "x".repeat(4 << 20));
    // As long as the daemon waits for who does not read.
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    (&stream).write_all(answer.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    println!("the answer was taken after {:?}", began.elapsed());
    assert!(output.status.success() && output.stdout.len() > 4 << 20, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(probe);
    std::fs::remove_dir_all(folder).unwrap();
}
