use std::time::Duration;

use otlake_base::{Position, StreamId};

use crate::edge::Connection;
use crate::half::{Call, Half, Side};
use crate::waiting::{Most, Waiting};

const STREAM: StreamId = StreamId(7);

fn at(sequence: u64) -> Position {
    let stream = STREAM;
    Position { stream, sequence }
}

fn half(position: Position, side: Side, call: u8) -> Half {
    Half {
        call: Call {
            tenant: "a".into(),
            trace: [1; 16],
            client: [call; 8],
        },
        side,
        position,
        service: "s".into(),
        span: [call; 8],
        connection: Connection::Direct,
        failed: false,
        duration: 1,
        time: 1,
        peer: None,
    }
}

fn most(halves: usize) -> Most {
    Most { halves, bytes: 100 }
}

const SOON: Duration = Duration::from_secs(10);

fn cut(waiting: &mut Waiting, now: Duration) -> Option<u64> {
    waiting.settle(now, most(100)).0.get(&STREAM).copied()
}

#[test]
fn the_cut_is_before_the_first_batch_with_a_half_that_waits() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    assert_eq!(cut(&mut waiting, Duration::ZERO), None);
    waiting.feed(at(1), Vec::new(), SOON, &mut pairs);
    waiting.feed(at(2), vec![half(at(2), Side::Client, 1)], SOON, &mut pairs);
    waiting.feed(at(5), vec![half(at(5), Side::Client, 2)], SOON, &mut pairs);
    assert_eq!(cut(&mut waiting, Duration::ZERO), Some(1));
    waiting.feed(at(6), vec![half(at(6), Side::Server, 1)], SOON, &mut pairs);
    assert_eq!(
        (pairs.len(), cut(&mut waiting, Duration::ZERO)),
        (1, Some(4))
    );
    waiting.feed(at(7), vec![half(at(7), Side::Server, 2)], SOON, &mut pairs);
    assert_eq!(
        (pairs.len(), cut(&mut waiting, Duration::ZERO)),
        (2, Some(7))
    );
    assert_eq!((waiting.len(), waiting.deadline()), (0, None));
}

#[test]
fn a_server_is_behind_the_cut_only_with_its_client() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    let other = |sequence| Position {
        stream: StreamId(8),
        sequence,
    };
    waiting.feed(at(2), vec![half(at(2), Side::Server, 1)], SOON, &mut pairs);
    waiting.feed(
        other(4),
        vec![half(other(4), Side::Server, 2)],
        SOON,
        &mut pairs,
    );
    waiting.feed(at(3), vec![half(at(3), Side::Client, 9)], SOON, &mut pairs);
    waiting.feed(at(4), vec![half(at(4), Side::Client, 1)], SOON, &mut pairs);
    waiting.feed(at(5), vec![half(at(5), Side::Client, 2)], SOON, &mut pairs);
    assert_eq!(pairs.len(), 2);
    let (cut, alone) = waiting.settle(Duration::ZERO, most(100));
    assert_eq!((cut[&STREAM], cut[&StreamId(8)], alone.len()), (1, 3, 0));
    let (cut, alone) = waiting.settle(SOON, most(100));
    assert_eq!((cut[&STREAM], cut[&StreamId(8)], alone.len()), (5, 4, 1));
}

#[test]
fn what_is_overdue_before_the_cut_still_finds_its_other_half() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    waiting.feed(at(1), vec![half(at(1), Side::Server, 1)], SOON, &mut pairs);
    waiting.feed(at(2), vec![half(at(2), Side::Client, 2)], SOON, &mut pairs);
    waiting.feed(
        at(3),
        vec![half(at(3), Side::Client, 3)],
        SOON * 2,
        &mut pairs,
    );
    waiting.feed(
        at(4),
        vec![half(at(4), Side::Client, 1)],
        SOON * 2,
        &mut pairs,
    );
    // Behind a server whose client is held up, nothing is told of what is overdue.
    let (cut, alone) = waiting.settle(SOON, most(100));
    assert_eq!((cut[&STREAM], alone.len()), (0, 0));
    waiting.feed(
        at(5),
        vec![half(at(5), Side::Server, 2)],
        SOON * 3,
        &mut pairs,
    );
    assert_eq!(pairs.len(), 2);
    let (cut, alone) = waiting.settle(SOON * 2, most(100));
    assert_eq!((cut[&STREAM], alone.len(), waiting.len()), (5, 1, 0));
}

#[test]
fn the_first_to_come_is_whichever_half_and_each_is_paired_once() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    let halves = vec![
        half(at(1), Side::Server, 1),
        half(at(1), Side::Server, 1),
        half(at(1), Side::Client, 1),
    ];
    waiting.feed(at(1), halves, SOON, &mut pairs);
    assert_eq!((pairs.len(), waiting.len()), (1, 1));
    let (client, server) = &pairs[0];
    assert_eq!((client.side, server.side), (Side::Client, Side::Server));
    assert!(waiting.has_seen(at(1)) && !waiting.has_seen(at(2)));
}

#[test]
fn i5_whole_batches_are_let_go_of_when_they_are_late_or_too_many() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    for sequence in 1..=4 {
        let halves = (0..3).map(|of| half(at(sequence), Side::Client, sequence as u8 * 10 + of));
        let deadline = SOON * sequence as u32;
        waiting.feed(at(sequence), halves.collect(), deadline, &mut pairs);
    }
    assert!(waiting.settle(SOON / 2, most(12)).1.is_empty());
    let (cut, alone) = waiting.settle(SOON, most(12));
    assert_eq!(
        (cut[&STREAM], alone.len(), waiting.deadline()),
        (1, 3, Some(SOON * 2))
    );
    let (cut, alone) = waiting.settle(SOON, most(5));
    assert_eq!((cut[&STREAM], alone.len(), waiting.len()), (3, 6, 3));
}

#[test]
fn a_stream_that_another_node_takes_over_leaves_nothing_behind() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    waiting.feed(at(1), vec![half(at(1), Side::Client, 1)], SOON, &mut pairs);
    let other = Position {
        stream: StreamId(8),
        sequence: 1,
    };
    waiting.feed(other, vec![half(other, Side::Client, 2)], SOON, &mut pairs);
    waiting.forget(STREAM);
    assert_eq!(
        (waiting.len(), cut(&mut waiting, Duration::ZERO)),
        (1, None)
    );
    waiting.feed(at(2), vec![half(at(2), Side::Server, 1)], SOON, &mut pairs);
    assert!(pairs.is_empty());
}

#[test]
fn i5_where_the_log_keeps_too_much_for_what_waits_all_of_it_is_let_go_of() {
    let (mut waiting, mut pairs) = (Waiting::default(), Vec::new());
    waiting.feed(at(1), vec![half(at(1), Side::Client, 1)], SOON, &mut pairs);
    for sequence in 1..=5 {
        waiting.keep(at(sequence), 25);
        waiting.feed(at(sequence), Vec::new(), SOON, &mut pairs);
        let (cut, alone) = waiting.settle(Duration::ZERO, most(10));
        let expected = if sequence < 5 { (0, 0) } else { (5, 1) };
        assert_eq!((cut[&STREAM], alone.len()), expected);
    }
    waiting.keep(at(6), 100);
    waiting.feed(at(6), vec![half(at(6), Side::Client, 2)], SOON, &mut pairs);
    let (cut, alone) = waiting.settle(Duration::ZERO, most(10));
    assert_eq!(
        (cut[&STREAM], alone.len()),
        (5, 0),
        "it keeps nothing else any more"
    );
}
