//! What must come out once, whatever happens to the file.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Log {
        Log {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn append(&self, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self) {
        fs::rename(self.path(), self.folder.path().join("access.log.1")).unwrap();
    }

    fn tail(&self) -> Tail {
        Tail::resume(&self.path(), None)
    }
}

fn lines(tail: &mut Tail, now: Instant) -> Vec<String> {
    let look = tail.read(usize::MAX, now).unwrap();
    assert!(look.at_end);
    let text = |(line, _): (Vec<u8>, Position)| String::from_utf8(line).unwrap();
    look.lines.into_iter().map(text).collect()
}

#[test]
fn a_line_comes_out_once_it_is_complete() {
    let (log, now) = (Log::new(), Instant::now());
    let mut tail = log.tail();
    assert!(lines(&mut tail, now).is_empty());
    log.append("a\nb");
    assert_eq!(lines(&mut tail, now), ["a"]);
    log.append("c\n\nd\n");
    assert_eq!(lines(&mut tail, now), ["bc", "", "d"]);
    assert!(lines(&mut tail, now).is_empty());
}

#[test]
fn a_position_survives_a_restart() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("a\nb\nhalf");
    let look = log.tail().read(usize::MAX, now).unwrap();
    let after_a = look.lines[0].1;
    let again = Position::parse(&after_a.to_string());
    assert_eq!(again, Some(after_a));
    log.append("-line\n");
    let mut tail = Tail::resume(&log.path(), again);
    assert_eq!(lines(&mut tail, now), ["b", "half-line"]);
}

#[test]
fn a_renamed_file_is_finished_before_the_next_begins() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("a\n");
    let mut tail = log.tail();
    assert_eq!(lines(&mut tail, now), ["a"]);
    let mut old = OpenOptions::new().append(true).open(log.path()).unwrap();
    log.rename();
    assert!(!tail.is_current());
    assert!(lines(&mut tail, now).is_empty());
    log.append("c\n");
    assert!(lines(&mut tail, now).is_empty());
    // Who writes may come late with the last lines for the old file.
    old.write_all(b"b\n").unwrap();
    assert_eq!(lines(&mut tail, now + SETTLE / 2), ["b"]);
    assert!(lines(&mut tail, now + SETTLE / 2).is_empty());
    assert_eq!(lines(&mut tail, now + SETTLE * 2), ["c"]);
    assert!(tail.is_current());
}

#[test]
fn a_file_renamed_between_two_runs_is_found_again() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("a\nb\n");
    let position = log.tail().read(usize::MAX, now).unwrap().lines[0].1;
    log.rename();
    log.append("c\n");
    let mut tail = Tail::resume(&log.path(), Some(position));
    assert_eq!(lines(&mut tail, now), ["b"]);
    assert_eq!(lines(&mut tail, now + SETTLE), ["c"]);
}

#[test]
fn without_a_position_the_renamed_file_is_read_first() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("a\n");
    log.rename();
    log.append("b\n");
    let mut tail = log.tail();
    assert_eq!(lines(&mut tail, now), ["a"]);
    assert_eq!(lines(&mut tail, now + SETTLE), ["b"]);
}

#[test]
fn when_the_file_is_gone_the_present_one_is_read() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("a\nb\n");
    let position = log.tail().read(usize::MAX, now).unwrap().lines[0].1;
    // Kept open under a name that is not looked for, so that its inode is not given away.
    fs::rename(log.path(), log.folder.path().join("other")).unwrap();
    log.append("c\n");
    let mut tail = Tail::resume(&log.path(), Some(position));
    assert_eq!(lines(&mut tail, now), ["c"]);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let (log, now) = (Log::new(), Instant::now());
    log.append("one\ntwo\nthree");
    let mut tail = log.tail();
    let look = tail.read(usize::MAX, now).unwrap();
    let position = look.lines[1].1;
    fs::write(log.path(), "x\n").unwrap();
    assert_eq!(lines(&mut tail, now), ["x"]);
    let mut resumed = Tail::resume(&log.path(), Some(position));
    assert_eq!(lines(&mut resumed, now), ["x"]);
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let (log, now) = (Log::new(), Instant::now());
    log.append(&"x".repeat(LONGEST_LINE * 2));
    let mut tail = log.tail();
    assert!(lines(&mut tail, now).is_empty());
    assert!(tail.open.as_ref().unwrap().partial.len() <= LONGEST_LINE);
    log.append("\nafter\n");
    let look = tail.read(usize::MAX, now).unwrap();
    assert_eq!(look.skipped, 1);
    assert_eq!(look.lines[0].0, b"after");
}

#[test]
fn a_budget_bounds_one_look() {
    let (log, now) = (Log::new(), Instant::now());
    log.append(&"0123456789\n".repeat(50_000));
    let mut tail = log.tail();
    let mut total = 0;
    loop {
        let look = tail.read(100_000, now).unwrap();
        total += look.lines.len();
        assert!(look.lines.len() <= 200_000 / 11);
        if look.at_end {
            break;
        }
    }
    assert_eq!(total, 50_000);
    assert_eq!(tail.behind(), 0);
}

#[test]
fn only_its_own_positions_are_understood() {
    for text in ["", "1", "1 2", "1 2 3 4", "a b c", "1 2 -3"] {
        assert_eq!(Position::parse(text), None, "{text}");
    }
}
