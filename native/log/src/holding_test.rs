use std::fs;
use std::path::Path;

use otlake_base::{RealDisk, StreamId};

use crate::log_test::{append, open, record};
use crate::verify::segments;
use crate::whole_until;

const RECORDS: u64 = 30;

/// A closed stream of several segments.
fn written(dir: &Path) -> StreamId {
    let (log, _) = open(dir);
    for number in 0..RECORDS {
        append(&log, record(&format!("{number:03}{}", "p".repeat(600)))).unwrap();
    }
    log.close().unwrap();
    log.stream()
}

fn until(dir: &Path, stream: StreamId, from: u64) -> Option<u64> {
    whole_until(&RealDisk, dir, stream, from).unwrap()
}

#[test]
fn a_whole_stream_is_held_to_its_end_from_any_record() {
    let dir = tempfile::tempdir().unwrap();
    let stream = written(dir.path());
    for from in 1..=RECORDS {
        assert_eq!(until(dir.path(), stream, from), Some(RECORDS));
    }
    assert_eq!(until(dir.path(), stream, RECORDS + 1), None);
    assert_eq!(until(dir.path(), StreamId(stream.0 ^ 1), 1), None);
}

#[test]
fn what_is_gone_or_damaged_is_not_held_nor_what_comes_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let stream = written(dir.path());
    let paths = segments(&RealDisk, dir.path()).unwrap();
    assert!(paths.len() > 3);
    // The last record of the second segment.
    let second = &paths[1].path;
    let mut bytes = fs::read(second).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(second, &bytes).unwrap();
    let held = until(dir.path(), stream, 1).expect("the first are whole");
    assert!((2..RECORDS).contains(&held));
    assert_eq!(until(dir.path(), stream, held + 1), None, "it is damaged");
    assert_eq!(until(dir.path(), stream, held + 2), Some(RECORDS));
    // What the tables have passed is deleted from the front.
    fs::remove_file(&paths[0].path).unwrap();
    assert_eq!(until(dir.path(), stream, 1), None);
    assert_eq!(until(dir.path(), stream, held), Some(held));
    // A segment in the midst is gone.
    fs::remove_file(&paths[3].path).unwrap();
    let held = until(dir.path(), stream, held + 2).expect("one segment");
    assert!(held < RECORDS);
}
