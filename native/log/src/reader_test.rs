use std::fs;
use std::sync::Arc;

use otlake_base::{Metrics, Position, RealDisk, SystemClock};

use crate::faulty_disk::FaultyDisk;
use crate::log_test::{append, config, open, record};
use crate::{Frame, Log, StreamReader};

/// The payloads of frames, as text.
fn texts(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| {
            assert!(frame.is_intact());
            let record = frame.record().unwrap();
            String::from_utf8(record.payload.to_vec()).unwrap()
        })
        .collect()
}

/// Everything from where the reader stands up to `upto`, in parts of `bytes`.
fn all(
    reader: &mut StreamReader,
    upto: Option<u64>,
    bytes: usize,
) -> (Vec<String>, Vec<(u64, u64)>) {
    let (mut frames, mut lost) = (Vec::new(), Vec::new());
    loop {
        let chunk = reader.read(upto, bytes).unwrap();
        frames.extend(texts(&chunk.frames));
        lost.extend(chunk.lost);
        if chunk.ended {
            return (frames, lost);
        }
    }
}

fn long(number: u64) -> String {
    format!("{number:04}{}", "x".repeat(300))
}

#[test]
fn a_reader_beside_the_writer_gives_each_durable_record_once_from_any_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let mut beside = log.reader(1);
    let mut read = Vec::new();
    for number in 1..=60 {
        append(&log, record(&long(number))).unwrap();
        if number % 7 == 0 {
            read.extend(all(&mut beside, Some(log.last_durable()), 1000).0);
            assert_eq!(read.len() as u64, number);
        }
    }
    for from in [1, 2, 13, 59, 60, 61] {
        let (texts, lost) = all(&mut log.reader(from), Some(60), 1000);
        assert_eq!(texts, (from..=60).map(long).collect::<Vec<_>>());
        assert_eq!(lost, []);
    }
}

#[test]
fn a_frame_that_is_read_is_the_one_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let (answer, answered) = std::sync::mpsc::channel();
    for number in 0..20 {
        let answer = answer.clone();
        log.append_framed(
            record(&long(number)),
            Box::new(move |frame, more| answer.send((frame.unwrap(), more)).unwrap()),
        );
    }
    drop(answer);
    let (answered, more): (Vec<Frame>, Vec<bool>) = answered.iter().unzip();
    // However the groups fell, the last of each says that it is.
    assert_eq!(more.last(), Some(&false));
    assert_eq!(
        log.reader(1).read(Some(20), usize::MAX).unwrap().frames,
        answered
    );
    assert!(answered.iter().all(Frame::is_intact));
}

#[test]
fn what_is_damaged_or_gone_is_told_by_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for number in 1..=40 {
        append(&log, record(&long(number))).unwrap();
    }
    let stream = log.stream();
    let folder = dir.path().join(stream.to_string());
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    // The fifth record of the second segment, and all of the first.
    let mut bytes = fs::read(&paths[1]).unwrap();
    let at = memchr::memmem::find_iter(&bytes, b"OTLF").nth(4).unwrap();
    bytes[at + 200] ^= 1;
    fs::write(&paths[1], bytes).unwrap();
    fs::remove_file(&paths[0]).unwrap();
    let whole = log.reader(1).read(Some(40), usize::MAX).unwrap();
    let first = whole.frames[0].header().sequence;
    assert_eq!(whole.lost, [(first + 4, first + 4)]);
    assert_eq!(whole.gone_before, first);
    assert_eq!(whole.frames.len() as u64, 40 - first);
    drop(log);
    // Without a bound the end of the stream is its last whole record.
    let mut ended = StreamReader::new(Arc::new(RealDisk), dir.path().to_owned(), stream, 1);
    assert_eq!(
        ended.read(None, usize::MAX).unwrap().frames.len() as u64,
        40 - first
    );
}

#[test]
fn a_record_that_was_refused_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (log, _) = Log::open_on(
        Arc::new(disk.clone()),
        config(dir.path()),
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap();
    append(&log, record("first")).unwrap();
    disk.0.lock().sync = true;
    append(&log, record("refused")).unwrap_err();
    let stream = log.stream();
    let second = append(&log, record("second")).unwrap();
    assert_eq!(
        second,
        Position {
            stream,
            sequence: 2
        }
    );
    let (texts, lost) = all(&mut log.reader(1), Some(2), 1);
    assert_eq!(
        (texts, lost),
        (vec!["first".into(), "second".into()], vec![])
    );
}

#[test]
fn i6_a_first_record_that_is_damaged_is_told_from_one_that_is_gone() {
    for at in [10, 100, 170] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        append(&log, record(&long(1))).unwrap();
        let stream = log.stream();
        drop(log);
        let folder = dir.path().join(stream.to_string());
        let path = fs::read_dir(&folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let disk = Arc::new(RealDisk);
        let mut reader = StreamReader::new(disk, dir.path().to_owned(), stream, 1);
        let chunk = reader.read(None, usize::MAX).unwrap();
        let in_head = at < crate::frame::HEADER_BYTES;
        assert_eq!(chunk.doubtful, in_head);
        assert_eq!(chunk.frames.len(), usize::from(in_head));
        let lost = if in_head { vec![] } else { vec![(1, 1)] };
        assert_eq!(chunk.lost, lost);
        assert_eq!(chunk.gone_before, 0);
    }
}
