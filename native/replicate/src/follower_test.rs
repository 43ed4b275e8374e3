use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Metrics, Signal, StreamId};
use otlake_log::Frame;

use crate::Ranges;
use crate::follower::{Contents, Follower, Output, To};
use crate::journal::Write;
use crate::message::{Holder, Message, Refusal};
use crate::testing::{STREAM, damaged, frame};

const LINK: u64 = 7;

struct Driven {
    follower: Follower,
    writes: Vec<(u64, Write)>,
    says: Vec<(To, Message)>,
    took: Vec<Frame>,
    settled: Option<(StreamId, u64, [u64; 3])>,
}

impl Driven {
    fn new() -> Driven {
        Driven {
            follower: Follower::new(1, BTreeMap::new(), Arc::new(Metrics::new())),
            writes: Vec::new(),
            says: Vec::new(),
            took: Vec::new(),
            settled: None,
        }
    }

    fn take(&mut self) -> Vec<(To, Message)> {
        for output in self.follower.outputs() {
            match output {
                Output::Took(frames) => self.took.extend(frames),
                Output::Settled {
                    stream,
                    acknowledged,
                    released,
                } => self.settled = Some((stream, acknowledged, released)),
                Output::Write { ticket, write } => self.writes.push((ticket, write)),
                Output::Say { to, message } => self.says.push((to, message)),
            }
        }
        std::mem::take(&mut self.says)
    }

    fn append(&mut self, epoch: u64, frames: Vec<Frame>) -> Vec<(To, Message)> {
        let stream = STREAM;
        self.follower.received(
            LINK,
            Message::Append {
                stream,
                epoch,
                frames,
            },
        );
        self.take()
    }

    /// The oldest write comes to this.
    fn written(&mut self, ok: bool) -> Vec<(To, Message)> {
        let (ticket, _) = self.writes.remove(0);
        let outcome = match ok {
            true => Ok(()),
            false => Err(Error::new(Code::LogFull, "full")),
        };
        self.follower.written(ticket, &outcome);
        self.take()
    }
}

fn durable(first: u64, last: u64) -> (To, Message) {
    let message = Message::Durable {
        stream: STREAM,
        journal: 1,
        ranges: Ranges::of(first, last),
    };
    (To::Link(LINK), message)
}

fn refused(epoch: u64, reason: Refusal) -> (To, Message) {
    let message = Message::Refused {
        stream: STREAM,
        epoch,
        reason,
    };
    (To::Link(LINK), message)
}

#[test]
fn i1_a_record_is_confirmed_when_it_is_fsynced_and_not_before() {
    let mut driven = Driven::new();
    let frames = vec![frame(Signal::Traces, 1), frame(Signal::Traces, 2)];
    assert_eq!(driven.append(1, frames.clone()), []);
    assert_eq!(
        driven.append(1, frames.clone()),
        [],
        "a repetition is not written twice"
    );
    assert_eq!(driven.writes.len(), 1);
    assert_eq!(driven.written(true), [durable(1, 2)]);
    assert_eq!(
        driven.append(1, frames),
        [durable(1, 2)],
        "and is confirmed at once"
    );
    assert!(driven.writes.is_empty());
}

#[test]
fn a_record_that_the_disk_refused_is_written_when_it_comes_again() {
    let mut driven = Driven::new();
    driven.append(1, vec![frame(Signal::Traces, 1)]);
    assert_eq!(driven.written(false), [refused(0, Refusal::Busy)]);
    assert!(driven.follower.held(STREAM).ranges[0].is_empty());
    driven.append(1, vec![frame(Signal::Traces, 1)]);
    assert_eq!(driven.written(true), [durable(1, 1)]);
}

#[test]
fn i6_a_frame_that_is_not_what_its_owner_wrote_is_not_written() {
    let mut driven = Driven::new();
    let frames = vec![frame(Signal::Traces, 1), damaged(&frame(Signal::Traces, 2))];
    assert_eq!(driven.append(1, frames), [refused(0, Refusal::Damaged)]);
    assert!(driven.writes.is_empty());
}

#[test]
fn i9_a_fence_refuses_from_the_moment_it_comes_and_tells_what_was_confirmed_before() {
    let mut driven = Driven::new();
    driven.append(1, vec![frame(Signal::Traces, 1)]);
    driven.follower.called(
        5,
        &Message::Fence {
            stream: STREAM,
            epoch: 2,
        },
    );
    assert_eq!(driven.take(), [], "it is not fsynced yet");
    assert_eq!(
        driven.append(1, vec![frame(Signal::Traces, 2)]),
        [refused(2, Refusal::Fenced)]
    );
    assert_eq!(driven.written(true), [durable(1, 1)]);
    let says = driven.written(true);
    let [(To::Call(5), Message::Held(held))] = &says[..] else {
        panic!("{says:?}");
    };
    assert_eq!((held.epoch, &held.ranges[0]), (2, &Ranges::of(1, 1)));
    driven.follower.received(
        LINK,
        Message::Hello {
            stream: STREAM,
            epoch: 1,
        },
    );
    assert_eq!(driven.take(), [refused(2, Refusal::Fenced)]);
    let beat = Message::Beat {
        stream: STREAM,
        epoch: 1,
        sent: 9,
        released: [0; 3],
        acknowledged: 2,
    };
    driven.follower.received(LINK, beat);
    assert_eq!(
        driven.take(),
        [refused(2, Refusal::Fenced)],
        "nor does it say that it is alive"
    );
    assert_eq!(driven.settled, None);
    // A second recovery is told; the first one is over.
    driven.follower.called(
        6,
        &Message::Fence {
            stream: STREAM,
            epoch: 3,
        },
    );
    driven.take();
    driven.written(true);
    driven.follower.called(
        7,
        &Message::Fence {
            stream: STREAM,
            epoch: 2,
        },
    );
    let (to, message) = driven.take().remove(0);
    assert_eq!(to, To::Call(7));
    assert!(matches!(message, Message::Refused { epoch: 3, .. }));
}

#[test]
fn a_fence_that_the_disk_refused_is_not_answered_as_one() {
    let mut driven = Driven::new();
    let fence = Message::Fence {
        stream: STREAM,
        epoch: 2,
    };
    driven.follower.called(1, &fence);
    driven.take();
    let says = driven.written(false);
    assert!(matches!(
        says[..],
        [(
            To::Call(1),
            Message::Refused {
                reason: Refusal::Busy,
                ..
            }
        )]
    ));
    driven.follower.called(2, &fence);
    driven.take();
    assert!(matches!(
        driven.written(true)[..],
        [(To::Call(2), Message::Held(_))]
    ));
}

#[test]
fn what_the_tables_hold_is_let_go_and_confirmed_all_the_same() {
    let mut driven = Driven::new();
    driven.append(
        1,
        vec![
            frame(Signal::Traces, 1),
            frame(Signal::Logs, 2),
            frame(Signal::Traces, 3),
        ],
    );
    driven.written(true);
    let beat = Message::Beat {
        stream: STREAM,
        epoch: 1,
        sent: 9,
        released: [2, 0, 0],
        acknowledged: 2,
    };
    driven.follower.received(LINK, beat);
    assert!(matches!(
        driven.take()[..],
        [(
            _,
            Message::Alive {
                sent: 9,
                journal: 1,
                released: [0, 0, 0],
                ..
            }
        )]
    ));
    assert!(matches!(
        driven.writes[..],
        [(
            _,
            Write::Release {
                released: [2, 0, 0],
                ..
            }
        )]
    ));
    let held = driven.follower.held(STREAM);
    assert_eq!(
        held.ranges,
        [Ranges::of(3, 3), Ranges::default(), Ranges::of(2, 2)]
    );
    assert_eq!(driven.took.len(), 3);
    assert_eq!(driven.settled, Some((STREAM, 2, [2, 0, 0])));
    assert_eq!(
        driven.append(1, vec![frame(Signal::Traces, 1)]),
        [durable(1, 1)]
    );
    assert_eq!(driven.took.len(), 3, "it is there already");
}

#[test]
fn a_stream_that_is_gone_takes_nothing_more_from_an_owner_that_was_paused_for_long() {
    let mut driven = Driven::new();
    driven.append(1, vec![frame(Signal::Traces, 1)]);
    driven.written(true);
    driven
        .follower
        .called(1, &Message::Forget { stream: STREAM });
    assert_eq!(driven.take(), [(To::Call(1), Message::Done)]);
    assert!(driven.follower.holding().is_empty());
    let says = driven.append(1, vec![frame(Signal::Traces, 2)]);
    assert_eq!(says, [refused(u64::MAX, Refusal::Fenced)]);
}

#[test]
fn a_journal_that_lost_something_is_another_and_says_so() {
    let mut driven = Driven::new();
    driven.append(1, vec![frame(Signal::Traces, 1), frame(Signal::Traces, 2)]);
    driven.written(true);
    driven.follower.lost(77, &[(STREAM, 1)]);
    let says = driven.take();
    let [(To::Link(LINK), Message::Held(held))] = &says[..] else {
        panic!("{says:?}");
    };
    assert_eq!(held.holder, Holder::Journal(77));
    assert_eq!(held.ranges[0], Ranges::of(2, 2));
}

#[test]
fn a_follower_begins_with_what_its_journal_holds() {
    let contents = Contents {
        fence: 4,
        released: [1, 0, 0],
        ranges: [Ranges::of(2, 5), Ranges::default(), Ranges::default()],
    };
    let contents = BTreeMap::from([(STREAM, contents)]);
    let follower = Follower::new(1, contents, Arc::new(Metrics::new()));
    let held = follower.held(STREAM);
    assert_eq!((held.epoch, held.released), (4, [1, 0, 0]));
    assert_eq!(held.ranges[0], Ranges::of(2, 5));
    assert_eq!(follower.holding(), [STREAM]);
}
