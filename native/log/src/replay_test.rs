use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::{Code, Metrics, SystemClock};
use proptest::prelude::*;

use crate::frame::{FRAME_BYTES, HEADER_BYTES};
use crate::log_test::{append, config, open, record, replayed};
use crate::{Log, LogConfig};

/// The segments of the only stream in `dir`, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let stream = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let mut paths: Vec<_> = fs::read_dir(stream)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn written(payloads: &[String]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for payload in payloads {
        append(&log, record(payload)).unwrap();
    }
    log.close().unwrap();
    let paths = segments(dir.path());
    (dir, paths)
}

fn payloads(count: usize, length: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:03}{}", "p".repeat(length)))
        .collect()
}

#[test]
fn a_torn_tail_at_any_byte_ends_the_stream_before_the_torn_record() {
    let sent = payloads(3, 20);
    let frame = FRAME_BYTES + "default".len() + sent[0].len();
    let (dir, paths) = written(&sent);
    let whole = fs::read(&paths[0]).unwrap();
    assert_eq!(whole.len(), HEADER_BYTES + 3 * frame);
    for cut in (HEADER_BYTES..whole.len()).rev() {
        // A replay that finds no record deletes the segment and its folder.
        fs::create_dir_all(paths[0].parent().unwrap()).unwrap();
        // What a power cut leaves: the length is there, the bytes behind the cut are zero. Less
        // than a few bytes no disk leaves out: it writes sectors.
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(&paths[0], &torn).unwrap();
        let kept = (cut - HEADER_BYTES) / frame;
        let codes = match (cut - HEADER_BYTES) % frame {
            at if at > frame - 8 => vec![Code::LogChecksumMismatch],
            _ => vec![],
        };
        assert_eq!(
            replayed(dir.path()),
            (sent[..kept].to_vec(), codes),
            "cut at {cut}"
        );
        fs::create_dir_all(paths[0].parent().unwrap()).unwrap();
        fs::write(&paths[0], &torn[..cut]).unwrap();
        assert_eq!(
            replayed(dir.path()),
            (sent[..kept].to_vec(), vec![]),
            "short at {cut}"
        );
    }
}

#[test]
fn i6_a_flipped_bit_is_found_reported_and_never_served() {
    let sent = payloads(4, 10);
    let (dir, paths) = written(&sent);
    let whole = fs::read(&paths[0]).unwrap();
    let frame = (whole.len() - HEADER_BYTES) / 4;
    // The last record too, which no later one bears witness to.
    for byte in HEADER_BYTES..whole.len() {
        for bit in [0, 3, 7] {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            fs::write(&paths[0], &flipped).unwrap();
            let damaged = (byte - HEADER_BYTES) / frame;
            let mut expected = sent.clone();
            expected.remove(damaged);
            let (payloads, codes) = replayed(dir.path());
            assert_eq!(payloads, expected, "byte {byte} bit {bit}");
            assert_eq!(codes, [Code::LogChecksumMismatch], "byte {byte} bit {bit}");
        }
    }
}

#[test]
fn i6_a_group_torn_above_the_durable_frontier_is_no_damage_and_one_below_it_is() {
    // Three records of one group, behind one that was synced alone.
    let group = |last: bool| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (answer, answered) = std::sync::mpsc::channel();
        let first = answer.clone();
        log.append(
            record(&"f".repeat(300)),
            Box::new(move |outcome| {
                first.send(outcome.map(|_| ())).unwrap();
                let _ = held.recv();
            }),
        );
        answered.recv().unwrap().unwrap();
        for text in ["a", "b", "c"] {
            let answer = answer.clone();
            log.append(
                record(&text.repeat(700)),
                Box::new(move |outcome| answer.send(outcome.map(|_| ())).unwrap()),
            );
        }
        drop(hold);
        for _ in 0..3 {
            answered.recv().unwrap().unwrap();
        }
        if last {
            append(&log, record("later")).unwrap();
        }
        log.close().unwrap();
        (segments(dir.path()).remove(0), dir)
    };
    for later in [false, true] {
        let (path, dir) = group(later);
        let mut bytes = fs::read(&path).unwrap();
        // A sector within the first record of the group was never written.
        bytes[512..1024].fill(0);
        fs::write(&path, &bytes).unwrap();
        let (payloads, codes) = replayed(dir.path());
        assert_eq!(payloads.len(), 3 + usize::from(later));
        assert!(!payloads.iter().any(|payload| payload.starts_with('a')));
        let expected = if later {
            vec![Code::LogChecksumMismatch]
        } else {
            vec![]
        };
        assert_eq!(codes, expected);
    }
}

#[test]
fn damage_at_the_end_of_a_segment_that_others_follow_is_reported() {
    let sent = payloads(12, 900);
    let (dir, paths) = written(&sent);
    assert!(paths.len() > 2);
    let bytes = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], &bytes[..bytes.len() - 1]).unwrap();
    let (payloads, codes) = replayed(dir.path());
    assert_eq!(payloads.len(), sent.len() - 1);
    assert_eq!(codes, [Code::LogChecksumMismatch]);
}

#[test]
fn a_damaged_head_hides_no_other_segment() {
    let sent = payloads(12, 900);
    let (dir, paths) = written(&sent);
    let mut bytes = fs::read(&paths[1]).unwrap();
    bytes[20] ^= 1;
    fs::write(&paths[1], &bytes).unwrap();
    assert_eq!(
        replayed(dir.path()),
        (sent, vec![Code::LogChecksumMismatch])
    );
}

#[test]
fn i6_a_flipped_bit_in_a_head_is_reported_and_loses_no_record() {
    let sent = payloads(3, 10);
    let (dir, paths) = written(&sent);
    let whole = fs::read(&paths[0]).unwrap();
    for bit in 0..8 * HEADER_BYTES {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&paths[0], &flipped).unwrap();
        assert_eq!(
            replayed(dir.path()),
            (sent.clone(), vec![Code::LogChecksumMismatch]),
            "bit {bit}"
        );
    }
    let mut zeroed = whole;
    zeroed[..HEADER_BYTES].fill(0);
    fs::write(&paths[0], &zeroed).unwrap();
    assert_eq!(
        replayed(dir.path()),
        (sent, vec![Code::LogChecksumMismatch])
    );
}

#[test]
fn a_damaged_head_and_first_record_lose_that_record_alone() {
    let sent = payloads(12, 900);
    let (dir, paths) = written(&sent);
    let mut bytes = fs::read(&paths[1]).unwrap();
    bytes[20] ^= 1;
    bytes[HEADER_BYTES + 50] ^= 1;
    fs::write(&paths[1], &bytes).unwrap();
    let (payloads, codes) = replayed(dir.path());
    assert_eq!(payloads.len(), sent.len() - 1);
    assert_eq!(codes, [Code::LogChecksumMismatch; 2]);
}

#[test]
fn a_segment_of_another_version_is_reported_and_stays() {
    let sent = payloads(2, 10);
    let (dir, paths) = written(&sent);
    let mut bytes = fs::read(&paths[0]).unwrap();
    bytes[8] += 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEADER_BYTES]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&paths[0], &bytes).unwrap();
    assert_eq!(replayed(dir.path()), (vec![], vec![Code::LogFormat]));
    assert_eq!(fs::read(&paths[0]).unwrap(), bytes);
}

#[test]
fn a_record_behind_more_damage_than_a_read_takes_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 8 << 20,
        max_bytes: 1 << 30,
        ..config(dir.path())
    };
    let (log, _) = Log::open(config, Arc::new(SystemClock), Arc::new(Metrics::new())).unwrap();
    // The damaged record is full of what looks like the start of a frame.
    append(&log, record(&"OTLF".repeat(700_000))).unwrap();
    append(&log, record("behind")).unwrap();
    log.close().unwrap();
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(
        replayed(dir.path()),
        (vec!["behind".into()], vec![Code::LogChecksumMismatch])
    );
}

#[test]
fn a_segment_whose_creation_was_cut_off_holds_nothing() {
    let sent = payloads(2, 10);
    let (dir, paths) = written(&sent);
    let next = paths[0].with_file_name(format!("{:016x}.seg", 1));
    fs::write(next, vec![0; 4096]).unwrap();
    assert_eq!(replayed(dir.path()), (sent, vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes and however often the log is opened again, a replay gives every record
    /// of every stream, once, in order.
    #[test]
    fn every_record_of_every_stream_is_replayed_once(
        runs in prop::collection::vec(prop::collection::vec(0usize..3000, 0..12), 1..5)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut sent = Vec::new();
        for (run, lengths) in runs.iter().enumerate() {
            let (log, replay) = open(dir.path());
            let before: Vec<String> = replay
                .map(|item| String::from_utf8(item.unwrap().1.payload.to_vec()).unwrap())
                .collect();
            prop_assert_eq!(&before, &sent);
            for (number, length) in lengths.iter().enumerate() {
                let payload = format!("{run}/{number}/{}", "q".repeat(*length));
                append(&log, record(&payload)).unwrap();
                sent.push(payload);
            }
            log.close().unwrap();
        }
        prop_assert_eq!(replayed(dir.path()), (sent, vec![]));
    }
}
