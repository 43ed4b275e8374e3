use std::fs;
use std::time::Duration;

use otlake_base::disk::RealDisk;
use otlake_base::{Clock, SystemClock};

use super::leftovers::{empty_folders, log_leftovers};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_crashes_leave_in_a_log_is_told_from_what_is_in_use() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("_delta_log");
    fs::create_dir(&log).unwrap();
    let checkpoint = "00000000000000000050.checkpoint.parquet";
    let gone = ".00000000000000000010.checkpoint.parquet.crc32c";
    let staged = "00000000000000000051.json#17";
    for name in [
        checkpoint,
        &format!(".{checkpoint}.crc32c"),
        "_last_checkpoint",
        "._last_checkpoint.crc32c",
        "00000000000000000051.json",
        "00000000000000000040.checkpoint.parquet.damaged",
        "someone's#file",
        gone,
        staged,
    ] {
        fs::write(log.join(name), b"text").unwrap();
    }
    let empty = root.path().join("tenant=acme/day=2026-01-01");
    let full = root.path().join("tenant=acme/day=2026-01-02");
    for folder in [&empty, &full] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(full.join("a.parquet"), b"rows").unwrap();
    let now = Duration::from_nanos(SystemClock.unix_nano());
    // Whoever wrote them a moment ago may be about to go on.
    assert!(
        log_leftovers(&RealDisk, root.path(), now, HOUR)
            .unwrap()
            .is_empty()
    );
    assert!(
        empty_folders(&RealDisk, root.path(), now, HOUR)
            .unwrap()
            .is_empty()
    );
    let later = now + HOUR + HOUR;
    let mut leftovers = log_leftovers(&RealDisk, root.path(), later, HOUR).unwrap();
    leftovers.sort();
    assert_eq!(leftovers, [log.join(gone), log.join(staged)]);
    assert_eq!(
        empty_folders(&RealDisk, root.path(), later, HOUR).unwrap(),
        [empty]
    );
}
