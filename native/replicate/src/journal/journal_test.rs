use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::{Code, Metrics, RealDisk, Signal, StreamId, SystemClock};
use otlake_log::Frame;

use super::{JournalConfig, JournalCore, Write};
use crate::Ranges;
use crate::faulty_disk::FaultyDisk;
use crate::testing::frame_of;

pub const SEGMENT: u64 = 8192;

pub fn config(dir: &Path) -> JournalConfig {
    JournalConfig {
        dir: dir.to_owned(),
        segment_bytes: SEGMENT,
        max_bytes: 64 * SEGMENT,
        max_records: 10_000,
    }
}

pub fn open_on(disk: FaultyDisk, dir: &Path) -> JournalCore {
    let metrics = Arc::new(Metrics::new());
    JournalCore::open(Arc::new(disk), config(dir), Arc::new(SystemClock), metrics).unwrap()
}

pub fn open(dir: &Path) -> JournalCore {
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    JournalCore::open(Arc::new(RealDisk), config(dir), clock, metrics).unwrap()
}

pub const A: StreamId = StreamId(0xA);
pub const B: StreamId = StreamId(0xB);

pub fn records(stream: StreamId, sequences: std::ops::RangeInclusive<u64>) -> Write {
    let frames = sequences.map(|s| frame_of(stream, Signal::ALL[s as usize % 3], s, 200));
    Write::Frames(frames.collect())
}

/// The sequences of a stream that are held, each read back whole.
pub fn held(core: &JournalCore, stream: StreamId) -> Vec<u64> {
    let contents = core.reader().contents();
    let mut all = Ranges::default();
    if let Some(contents) = contents.get(&stream) {
        for ranges in &contents.ranges {
            all.extend(ranges);
        }
    }
    let sequences: Vec<u64> = all.iter().flat_map(|(first, last)| first..=last).collect();
    for sequence in &sequences {
        let frame: Frame = core.reader().read(stream, *sequence).unwrap().unwrap();
        let signal = Signal::ALL[*sequence as usize % 3];
        assert_eq!(frame, frame_of(stream, signal, *sequence, 200));
    }
    sequences
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn records_and_fences_of_many_streams_come_back_after_a_reopen_under_the_same_identity() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let identity = core.identity();
    core.commit(&[records(A, 1..=30), records(B, 5..=9)])
        .unwrap();
    core.commit(&[
        Write::Fence {
            stream: A,
            epoch: 3,
        },
        records(B, 10..=60),
    ])
    .unwrap();
    core.commit(&[Write::Fence {
        stream: StreamId(0xC),
        epoch: 2,
    }])
    .unwrap();
    for _ in 0..2 {
        drop(core);
        core = open(dir.path());
        assert_eq!(core.identity(), identity);
        assert_eq!(held(&core, A), (1..=30).collect::<Vec<_>>());
        assert_eq!(held(&core, B), (5..=60).collect::<Vec<_>>());
        let contents = core.reader().contents();
        assert_eq!(contents[&A].fence, 3);
        assert_eq!(contents[&StreamId(0xC)].fence, 2);
        assert_eq!(contents[&B].fence, 0);
    }
    assert_eq!(core.reader().read(A, 31).unwrap(), None);
}

#[test]
fn a_tail_cut_off_by_a_crash_is_no_damage_and_what_was_confirmed_before_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let identity = core.identity();
    core.commit(&[records(A, 1..=3)]).unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let before = fs::read(&path).unwrap();
    let end = before.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    core.commit(&[records(A, 4..=8)]).unwrap();
    let whole = fs::read(&path).unwrap();
    let last = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    std::mem::forget(core);
    // A power cut leaves whole sectors of the second group, in any choice.
    for choice in 0u32..64 {
        let mut torn = whole.clone();
        for (index, sector) in (0..torn.len()).step_by(512).enumerate() {
            let from = sector.max(end);
            let upto = (sector + 512).min(last);
            if from < upto && choice & (1 << (index % 6)) == 0 {
                torn[from..upto].fill(0);
            }
        }
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(path.file_name().unwrap()), &torn).unwrap();
        let core = open(copy.path());
        assert_eq!(core.identity(), identity, "choice {choice}");
        assert_eq!(held(&core, A)[..3], [1, 2, 3], "choice {choice}");
    }
}

#[test]
fn i6_a_flipped_bit_costs_the_journal_its_identity_and_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let identity = core.identity();
    core.commit(&[records(A, 1..=3)]).unwrap();
    core.commit(&[records(A, 4..=6)]).unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let last = whole.iter().rposition(|byte| *byte != 0).unwrap();
    std::mem::forget(core);
    for at in (0..=last).step_by(5) {
        let bit = at % 8;
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(path.file_name().unwrap()), &flipped).unwrap();
        let metrics = Arc::new(Metrics::new());
        let opened = JournalCore::open(
            Arc::new(RealDisk),
            config(copy.path()),
            Arc::new(SystemClock),
            Arc::clone(&metrics),
        );
        let core = match opened {
            Ok(core) => core,
            Err(error) => panic!("byte {at} bit {bit}: {error}"),
        };
        // Every record that is served is what was written.
        let count = held(&core, A).len();
        let is_found = core.identity() != identity;
        assert!(is_found, "byte {at} bit {bit}: {count} records");
        assert!(metrics.encode().contains("kind=\"replica\"} 1"));
        // The damage is told once: the next start goes on under the new identity.
        let next = core.identity();
        let known = fs::read(segments(copy.path()).remove(0)).unwrap()[..8] == *b"OTLAKLOG";
        drop(core);
        if known && at >= 64 {
            assert_eq!(open(copy.path()).identity(), next, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn i10_a_write_or_sync_that_fails_is_refused_and_the_next_is_taken() {
    for fault in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let mut core = open_on(disk.clone(), dir.path());
        let identity = core.identity();
        core.commit(&[records(A, 1..=3)]).unwrap();
        match fault {
            0 => disk.0.lock().write_after = Some(150),
            1 => disk.0.lock().sync = true,
            _ => {
                disk.0.lock().sync = true;
                disk.0.lock().create = true;
            }
        }
        let error = core.commit(&[records(A, 4..=6)]).unwrap_err();
        assert_eq!(error.code, Code::LogIo);
        assert_eq!(held(&core, A), [1, 2, 3]);
        if fault == 2 {
            core.commit(&[records(A, 4..=6)]).unwrap_err();
        }
        core.commit(&[records(A, 4..=6)]).unwrap();
        assert_eq!(held(&core, A), [1, 2, 3, 4, 5, 6]);
        drop(core);
        let core = open(dir.path());
        assert_eq!(core.identity(), identity);
        assert_eq!(held(&core, A), [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn i5_a_full_journal_refuses_and_takes_again_when_records_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let mut next = 1;
    let full = loop {
        match core.commit(&[records(A, next..=next + 9)]) {
            Ok(()) => next += 10,
            Err(error) => break error,
        }
    };
    assert_eq!(full.code, Code::LogFull);
    assert!(core.reader().bytes() <= 64 * SEGMENT);
    let on_disk: u64 = segments(dir.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(on_disk, core.reader().bytes());
    let release = Write::Release {
        stream: A,
        released: [next / 2; 3],
    };
    let fence = Write::Fence {
        stream: B,
        epoch: 2,
    };
    let outcomes = core.commit_each(&[release, records(A, next..=next), fence]);
    let codes: Vec<_> = outcomes
        .into_iter()
        .map(|o| o.err().map(|error| error.code))
        .collect();
    assert_eq!(codes, [None, Some(Code::LogFull), None]);
    while core.tidy().unwrap() {}
    core.commit(&[records(A, next..=next + 9)]).unwrap();
    assert_eq!(
        held(&core, A),
        (next / 2 + 1..next + 10).collect::<Vec<_>>()
    );
}

#[test]
fn a_release_covers_the_records_of_its_own_group_after_a_reopen_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let release = Write::Release {
        stream: A,
        released: [3; 3],
    };
    core.commit(&[records(A, 1..=5), release]).unwrap();
    assert_eq!(held(&core, A), [4, 5]);
    drop(core);
    let core = open(dir.path());
    assert_eq!(held(&core, A), [4, 5]);
}
