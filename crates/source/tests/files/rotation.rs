//! What becomes of a log, and which lines come out.
use std::fs;
use std::io::Write;

use crate::tester::{append, check, writer};
use stockade_source::{Anew, Error, FileReader, Note, Start};

#[test]
fn appended_lines_come_and_an_incomplete_one_waits() {
    check("append", &["one\n"], &Start::Head, |c| {
        c.expect("one\n");
        c.append("two\nthr");
        c.expect("two\n");
        c.append("ee");
        c.nothing_more();
        c.append("\nfour\n\n\r\n");
        c.expect("three\nfour\n\n\r\n");
        assert_eq!(c.reader.lag_bytes(), 0);
        assert!(c.reader.in_operation());
    });
}

#[test]
fn tail_begins_behind_the_last_whole_line() {
    check("tail", &["old\nunfini"], &Start::Tail, |c| {
        assert!(c.reader.in_operation());
        c.nothing_more();
        c.append("shed\nnew\n");
        c.expect("unfinished\nnew\n");
    });
}

#[test]
fn the_generation_stays_while_appended_and_changes_by_rotation() {
    check("generation", &["unfini"], &Start::Head, |c| {
        assert_eq!(c.reader.generation(), 0);
        c.append("shed\n");
        c.expect("unfinished\n");
        let first = c.reader.generation();
        c.append("more\n");
        c.expect("more\n");
        assert_eq!(c.reader.generation(), first);
        c.restart();
        c.nothing_more();
        assert_eq!(c.reader.generation(), first);
        // An equal first line in another file, and again in the same file after it was emptied.
        fs::rename(&c.log, c.rotated(1)).unwrap();
        c.append("unfinished\n");
        c.expect("unfinished\n");
        let second = c.reader.generation();
        assert_ne!(second, first);
        c.append("x\n");
        c.expect("x\n");
        fs::write(&c.log, "unfinished\n").unwrap();
        c.expect("unfinished\n");
        let third = c.reader.generation();
        assert!(third != second && third != first);
        c.restart();
        c.nothing_more();
        assert_eq!(c.reader.generation(), third);
    });
}

#[test]
fn a_renamed_file_is_drained_before_its_successor() {
    check("drain", &["one\n"], &Start::Head, |c| {
        c.expect("one\n");
        let mut program = writer(&c.log);
        program.write_all(b"before\n").unwrap();
        fs::rename(&c.log, c.rotated(1)).unwrap();
        program.write_all(b"behind\n").unwrap();
        c.expect("before\nbehind\n");
        fs::write(&c.log, "").unwrap();
        program.write_all(b"still the old one\n").unwrap();
        c.expect("still the old one\n");
        program.write_all(b"last\n").unwrap();
        c.append("new\n");
        c.expect("last\nnew\n");
        c.noted("Log rotation detected for ");
        // A second program was late to notice.
        program.write_all(b"late\n").unwrap();
        c.expect("late\n");
        c.append("newer\n");
        c.expect("newer\n");
    });
}

#[test]
fn several_rotations_between_two_reads_lose_nothing_that_was_looked_at() {
    check("several", &["one\n"], &Start::Head, |c| {
        for n in 1..4 {
            c.append(&format!("in {n}\n"));
            c.reader.look();
            fs::rename(&c.log, c.rotated(n)).unwrap();
        }
        c.append("last\n");
        c.expect("one\nin 1\nin 2\nin 3\nlast\n");
    });
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    check("truncate", &["one\ntwo\nthree\n"], &Start::Head, |c| {
        c.expect("one\ntwo\nthree\n");
        let program = writer(&c.log);
        program.set_len(0).unwrap();
        c.append("four\n");
        c.expect("four\n");
        c.noted("truncated");
        // Grown beyond the position before anybody looked.
        program.set_len(0).unwrap();
        c.append("five\nsix\nseven\neight\n");
        c.expect("five\nsix\nseven\neight\n");
        c.noted("rewritten");
        // The same, beginning with the same line.
        program.set_len(0).unwrap();
        c.append("five\nSIX\nSEVEN\nEIGHT\nNINE\n");
        c.expect("five\nSIX\nSEVEN\nEIGHT\nNINE\n");
        // To the very same length.
        program.set_len(0).unwrap();
        c.append("five\nsix\nseven\neight\nnine\n");
        c.expect("five\nsix\nseven\neight\nnine\n");
    });
}

#[test]
fn a_changed_first_line_means_the_whole_file_again() {
    check("first", &["one\ntwo\n"], &Start::Head, |c| {
        c.expect("one\ntwo\n");
        let mut program = fs::OpenOptions::new().write(true).open(&c.log).unwrap();
        program.write_all(b"ONE\n").unwrap();
        c.expect("ONE\ntwo\n");
    });
}

#[test]
fn a_hole_left_by_a_writer_that_kept_its_offset_is_passed_over() {
    check("hole", &[], &Start::Head, |c| {
        let mut program = fs::File::create(&c.log).unwrap();
        program.write_all(&b"some line\n".repeat(1000)).unwrap();
        c.expect(&"some line\n".repeat(1000));
        program.set_len(0).unwrap();
        program.write_all(b"behind the hole\n").unwrap();
        c.expect("behind the hole\n");
    });
}

#[test]
fn a_deleted_file_is_read_on_until_another_appears() {
    check("delete", &["one\n"], &Start::Head, |c| {
        c.expect("one\n");
        let mut program = writer(&c.log);
        fs::remove_file(&c.log).unwrap();
        program.write_all(b"two\n").unwrap();
        c.drain();
        c.expect("two\n");
        assert!(matches!(c.reader.trouble(), Some(Error::Missing { .. })));
        c.append("three\n");
        c.expect("three\n");
        assert!(c.reader.trouble().is_none());
    });
}

#[test]
fn a_file_that_appears_later_is_read_from_its_beginning() {
    for start in [Start::Head, Start::Tail] {
        check("later", &[], &start, |c| {
            assert!(matches!(c.reader.trouble(), Some(Error::Missing { .. })));
            c.append("one\n");
            c.expect("one\n");
        });
    }
}

#[test]
fn directories_that_appear_or_move_are_followed() {
    check("directories", &[], &Start::Head, |c| {
        let log = c.dir.join("sub/deep/a.log");
        c.log = log.clone();
        c.restart_at(Start::Head);
        c.nothing_more();
        fs::create_dir(c.dir.join("sub")).unwrap();
        fs::create_dir(c.dir.join("sub/deep")).unwrap();
        append(&log, "one\n");
        c.expect("one\n");
        fs::rename(c.dir.join("sub"), c.dir.join("gone")).unwrap();
        fs::create_dir_all(c.dir.join("sub/deep")).unwrap();
        append(&log, "two\n");
        c.expect("two\n");
    });
}

#[test]
fn links_are_followed_when_they_or_their_targets_change() {
    check("links", &[], &Start::Head, |c| {
        let (a, b) = (c.dir.join("real/a"), c.dir.join("real/b"));
        fs::create_dir(c.dir.join("real")).unwrap();
        append(&a, "in a\n");
        std::os::unix::fs::symlink("real/a", &c.log).unwrap();
        c.expect("in a\n");
        append(&b, "in b\n");
        std::os::unix::fs::symlink("real/b", c.dir.join("new")).unwrap();
        fs::rename(c.dir.join("new"), &c.log).unwrap();
        c.expect("in b\n");
        fs::rename(&b, c.dir.join("real/b.1")).unwrap();
        append(&b, "in another b\n");
        c.expect("in another b\n");
    });
}

#[test]
fn a_directory_instead_of_a_file_is_told() {
    check("directory", &[], &Start::Head, |c| {
        fs::create_dir(&c.log).unwrap();
        c.restart_at(Start::Head);
        let error = c.reader.read().unwrap_err();
        assert!(error.to_string().ends_with("a.log is a directory"), "{error}");
        assert!(c.reader.read().unwrap().is_none());
        fs::remove_dir(&c.log).unwrap();
        c.append("x\n");
        c.expect("x\n");
    });
}

#[test]
fn lines_beyond_the_bound_are_left_out_and_noted() {
    check("long", &[], &Start::Head, |c| {
        let max = c.bounds.line;
        let (longest, longer) = (format!("{}\n", "x".repeat(max - 1)), format!("{}\n", "y".repeat(max)));
        c.append(&format!("a\n{longest}b\n{longer}c\n"));
        c.expect(&format!("a\n{longest}b\nc\n"));
        c.noted(&format!("line of {} bytes at offset {}", max + 1, max + 4));
        c.append(&"z".repeat(5 * max));
        c.nothing_more();
        c.append("Failed password for root from 192.0.2.66\nd\n");
        c.expect("d\n");
        c.noted(&format!("line of {} bytes", 5 * max + 41));
    });
}

#[test]
fn resuming_goes_on_in_the_file_that_was_rotated_meanwhile() {
    check("resume", &["one\n"], &Start::Head, |c| {
        c.expect("one\n");
        c.append("two\n");
        fs::rename(&c.log, c.rotated(1)).unwrap();
        c.append("three\n");
        c.restart();
        c.expect("two\nthree\n");
        c.noted("was rotated meanwhile");
        // Rotated and gone.
        fs::remove_file(&c.log).unwrap();
        c.append("four\n");
        c.restart();
        c.expect("four\n");
        c.noted("not the file of the stored position");
        // Shorter than the position.
        fs::write(&c.log, "x\n").unwrap();
        c.restart();
        c.expect("x\n");
        // In the middle of a line that nobody wrote at that time: never a part of a line.
        let generation = c.reader.generation();
        c.append("from 192.0.2.66\n");
        c.restart_at(Start::Resume { generation, offset: 7 });
        c.expect("from 192.0.2.66\n");
    });
}

#[test]
fn fail2bans_positions_are_taken_over() {
    check("legacy", &["one\ntwo\nthree\n"], &Start::Tail, |c| {
        let mut hash = c.reader.sha1_first_line().unwrap();
        assert_eq!(hash, "c7059bb19433cc3cabaa6236c83d56668a843dd2".to_owned());
        c.restart_at(Start::ResumeLegacy { first_line_hash: hash.clone(), offset: 4 });
        c.expect("two\nthree\n");
        // MD5, as under Python 2.
        let md5 = "5BBF5A52328E7439AE6E719DFE712200".to_owned();
        c.restart_at(Start::ResumeLegacy { first_line_hash: md5, offset: 8 });
        c.expect("three\n");
        hash.replace_range(..1, "f");
        c.restart_at(Start::ResumeLegacy { first_line_hash: hash, offset: 4 });
        c.expect("one\ntwo\nthree\n");
    });
}

#[test]
fn rotation_notes_tell_how() {
    check("notes", &["one\n"], &Start::Head, |c| {
        c.expect("one\n");
        let added = c.notes.remove(0);
        assert!(matches!(&added, Note::Added { pos: 0, hash, .. } if hash.len() == 40), "{added:?}");
        fs::rename(&c.log, c.rotated(1)).unwrap();
        c.append("two\n");
        c.expect("two\n");
        assert!(c.notes.iter().any(|n| matches!(n, Note::Rotated { how: Anew::Replaced, .. })), "{:?}", c.notes);
        assert!(c.notes.iter().any(|n| matches!(n, Note::Drained { unfinished: 0, .. })), "{:?}", c.notes);
    });
}

#[test]
fn a_rotated_file_is_let_go_after_a_while() {
    let dir = crate::tester::dir("linger");
    let log = dir.join("a.log");
    append(&log, "one\n");
    let mut reader = FileReader::open(&log, Start::Head);
    reader.set_linger(std::time::Duration::ZERO);
    reader.read().unwrap().unwrap();
    fs::rename(&log, dir.join("a.log.1")).unwrap();
    append(&log, "two\n");
    assert_eq!(&*reader.read().unwrap().unwrap().text, b"two\n");
    assert!(reader.next_look().is_some());
    append(&dir.join("a.log.1"), "too late\n");
    assert!(reader.read().unwrap().is_none());
    assert!(reader.next_look().is_none());
}

#[test]
fn a_fork_catches_up_through_rotations_and_meets_its_origin() {
    check("fork", &["one\ntwo\n"], &Start::Head, |c| {
        c.expect("one\ntwo\n");
        let first = c.reader.generation();
        fs::remove_file(&c.log).unwrap();
        c.append("three\nfour\n");
        c.expect("three\nfour\n");
        let (second, here) = (c.reader.generation(), c.reader.offset());
        c.append("five\n");
        // The first file has no name any more, but is still open.
        let mut fork = c.reader.fork(first, 4).unwrap().unwrap();
        fork.set_limit(Some((second, here)));
        let mut got = Vec::new();
        while let Some(block) = fork.read().unwrap() {
            got.extend_from_slice(&block.text);
        }
        assert_eq!(String::from_utf8(got).unwrap(), "two\nthree\nfour\n");
        assert_eq!((fork.generation(), fork.offset()), (second, here));
        assert!(!c.reader.is_late(c.last.as_ref().unwrap()));
        fork.set_limit(None);
        assert_eq!(fork.read().unwrap().map(|b| b.text.is_empty()), Some(false));
        assert!(c.reader.fork(first ^ 1 << 60, 0).unwrap().is_none());
        c.expect("five\n");
    });
}

#[test]
fn a_reader_may_be_handed_to_another_thread() {
    fn sent<T: Send>() {}
    sent::<FileReader>();
    sent::<stockade_source::Watcher>();
    sent::<stockade_source::Journal>();
    sent::<stockade_source::Waker>();
}
