use std::fs;
use std::sync::Arc;
use std::sync::mpsc::channel;

use otlake_base::{Metrics, RealDisk, Signal, StreamId, SystemClock};

use super::journal_test::{A, B, config, held, open, records, segments};
use super::{Journal, Write};
use crate::Ranges;

#[test]
fn segments_go_when_all_their_streams_are_released_and_fences_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    let identity = core.identity();
    let gone = StreamId(0xDEAD);
    core.commit(&[
        Write::Fence {
            stream: A,
            epoch: 7,
        },
        Write::Forget { stream: gone },
    ])
    .unwrap();
    for group in 0..20 {
        let first = 1 + 10 * group;
        core.commit(&[records(A, first..=first + 9), records(B, first..=first + 9)])
            .unwrap();
    }
    assert!(segments(dir.path()).len() > 8);
    core.commit(&[Write::Release {
        stream: A,
        released: [200; 3],
    }])
    .unwrap();
    core.commit(&[Write::Release {
        stream: B,
        released: [200; 3],
    }])
    .unwrap();
    while core.tidy().unwrap() {}
    assert!(
        segments(dir.path()).len() <= 2,
        "{:?}",
        segments(dir.path())
    );
    core.close();
    let core = open(dir.path());
    assert_eq!(core.identity(), identity);
    let contents = core.reader().contents();
    assert_eq!((contents[&A].fence, contents[&A].released), (7, [200; 3]));
    assert_eq!(contents[&gone].fence, u64::MAX);
    assert!(held(&core, A).is_empty() && held(&core, B).is_empty());
}

#[test]
fn the_few_records_that_keep_a_segment_are_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path());
    for group in 0..20 {
        let first = 1 + 10 * group;
        core.commit(&[records(A, first..=first + 9), records(B, first..=first)])
            .unwrap();
    }
    let before = segments(dir.path()).len();
    core.commit(&[Write::Release {
        stream: A,
        released: [200; 3],
    }])
    .unwrap();
    let mut steps = 0;
    while core.tidy().unwrap() {
        steps += 1;
        assert!(steps < 200, "it ends");
    }
    assert!(segments(dir.path()).len() < before / 2);
    let kept: Vec<u64> = (0..20).map(|group| 1 + 10 * group).collect();
    assert_eq!(held(&core, B), kept);
    core.close();
    let core = open(dir.path());
    assert_eq!(held(&core, B), kept);
    assert!(held(&core, A).is_empty());
}

#[test]
fn i6_damage_found_while_records_are_written_anew_or_fetched_is_told_with_the_new_identity() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let journal = Journal::open(Arc::new(RealDisk), config(dir.path()), clock, metrics).unwrap();
    let identity = journal.identity();
    let (lost, told) = channel();
    journal.on_lost(Box::new(move |identity, records| {
        lost.send((identity, records.to_vec())).unwrap();
    }));
    let (done, written) = channel();
    for first in [1, 11, 21, 31, 41] {
        let done = done.clone();
        let on_written = Box::new(move |outcome| done.send(outcome).unwrap());
        journal.write(records(A, first..=first + 9), on_written);
    }
    for _ in 0..5 {
        written.recv().unwrap().unwrap();
    }
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let at = memchr::memmem::find_iter(&bytes, b"OTLF").nth(3).unwrap();
    bytes[at + 100] ^= 4;
    fs::write(&path, bytes).unwrap();
    let fetched = journal
        .reader()
        .fetch(A, &Ranges::of(1, 50), usize::MAX)
        .unwrap();
    assert_eq!(fetched.damaged, [4]);
    assert_eq!(fetched.gone, Ranges::of(4, 4));
    assert_eq!(fetched.frames.len(), 49);
    journal.lost(vec![(A, 4)]);
    let (next, records) = told.recv().unwrap();
    assert_ne!(next, identity);
    assert_eq!(records, [(A, 4)]);
    journal.close().unwrap();
    let core = open(dir.path());
    assert_eq!(core.identity(), next);
    assert_eq!(held(&core, A).len(), 49);
    let first = crate::testing::frame_of(A, Signal::Metrics, 1, 200);
    assert_eq!(core.reader().read(A, 1).unwrap(), Some(first));
}
