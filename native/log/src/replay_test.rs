use std::fs;
use std::path::{Path, PathBuf};

use otlake_base::Code;
use proptest::prelude::*;

use crate::frame::{FRAME_BYTES, HEADER_BYTES};
use crate::log_test::{append, open, record, replayed};

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
        // What a power cut leaves: the length is there, the bytes behind the cut are zero.
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(&paths[0], &torn).unwrap();
        let kept = (cut - HEADER_BYTES) / frame;
        // A frame whose last bytes happen to be zero is whole; these end in text.
        assert_eq!(
            replayed(dir.path()),
            (sent[..kept].to_vec(), vec![]),
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
    for byte in HEADER_BYTES..whole.len() - frame {
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
    let (payloads, codes) = replayed(dir.path());
    assert!(payloads.len() < sent.len());
    assert_eq!(payloads.first(), sent.first());
    assert_eq!(payloads.last(), sent.last());
    assert!(codes.contains(&Code::LogFormat), "{codes:?}");
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
