use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::Signal;
use otlake_log::Frame;

use crate::message::{BySignal, Held, Holder, Message};
use crate::recovery::{Progress, Recovery, RecoveryConfig};
use crate::testing::{STREAM, damaged, frame, ms, name};
use crate::{Copies, Ensemble, Ensembles, Member, Ranges};

/// What one node answers; none where it is not reached.
#[derive(Clone, Default)]
struct Node {
    held: Option<Held>,
    frames: BTreeMap<u64, Frame>,
    away: bool,
}

fn node(holder: Holder, records: &[(Signal, u64)]) -> Node {
    let mut ranges: [Ranges; 3] = Default::default();
    let mut frames = BTreeMap::new();
    for (signal, sequence) in records {
        ranges[signal.index()].insert(*sequence);
        frames.insert(*sequence, frame(*signal, *sequence));
    }
    let held = Held {
        stream: STREAM,
        holder,
        epoch: 2,
        released: [0; 3],
        ranges,
    };
    Node {
        held: Some(held),
        frames,
        away: false,
    }
}

struct Driven {
    nodes: BTreeMap<Arc<str>, Node>,
    recovery: Recovery,
    now: Duration,
    given: Vec<(Signal, u64)>,
}

fn copies(followers: &[(&str, u128)], acks: usize) -> Copies {
    let member = |(of, journal): &(&str, u128)| Member {
        name: name(of),
        journal: *journal,
    };
    Copies {
        followers: followers.iter().map(member).collect(),
        acks,
    }
}

/// Spans on f1 and f2, metrics on f1, logs on f2.
fn ensemble() -> Ensembles {
    Ensembles(vec![Ensemble {
        version: 1,
        first_sequence: 1,
        signals: [
            copies(&[("f1", 1), ("f2", 2)], 2),
            copies(&[("f1", 1)], 2),
            copies(&[("f2", 2)], 1),
        ],
    }])
}

impl Driven {
    fn new(ensembles: Ensembles, watermark: BySignal, nodes: &[(&str, Node)]) -> Driven {
        let config = RecoveryConfig {
            stream: STREAM,
            epoch: 2,
            owner: name("owner"),
            ensembles,
            watermark,
            planned: Default::default(),
        };
        let mut driven = Driven {
            nodes: nodes
                .iter()
                .map(|(of, node)| (name(of), node.clone()))
                .collect(),
            recovery: Recovery::new(config, ms(0)),
            now: ms(0),
            given: Vec::new(),
        };
        driven.run();
        driven
    }

    fn answer(&mut self, to: &Arc<str>, message: &Message) -> Option<Message> {
        let node = self.nodes.get(to).filter(|node| !node.away)?;
        Some(match message {
            Message::Fence { .. } => Message::Held(node.held.clone()?),
            Message::Fetch { stream, ranges, .. } => {
                let (mut frames, mut gone) = (Vec::new(), Ranges::default());
                for (first, last) in ranges.iter() {
                    for sequence in first..=last {
                        match node.frames.get(&sequence) {
                            Some(frame) => frames.push(frame.clone()),
                            None => {
                                gone.insert(sequence);
                            }
                        }
                    }
                }
                Message::Frames {
                    stream: *stream,
                    frames,
                    gone,
                }
            }
            _ => Message::Done,
        })
    }

    fn take(&mut self) {
        while let Some(frame) = self.recovery.take() {
            assert!(frame.is_intact());
            let header = frame.header();
            let before = self.given.iter().rev().find(|(of, _)| *of == header.signal);
            assert!(before.is_none_or(|(_, before)| *before < header.sequence));
            self.given.push((header.signal, header.sequence));
        }
    }

    /// Answers calls for ten seconds.
    fn run(&mut self) -> Progress {
        for _ in 0..100 {
            for _ in 0..100 {
                if let Some((signal, _)) = self.recovery.plan() {
                    self.recovery.planned(signal);
                }
                self.take();
                let calls = self.recovery.calls();
                if calls.is_empty() {
                    break;
                }
                for call in calls {
                    let answer = self.answer(&call.to, &call.message);
                    self.recovery.answered(&call.to, answer, self.now);
                }
                self.take();
            }
            self.now += ms(100);
            self.recovery.tick(self.now);
        }
        self.recovery.progress()
    }

    fn given(&self) -> Vec<u64> {
        let mut given: Vec<u64> = self.given.iter().map(|(_, sequence)| *sequence).collect();
        given.sort_unstable();
        given
    }
}

use Signal::{Logs, Metrics, Traces};

#[test]
fn i2_without_the_owner_the_union_of_its_followers_is_recovered() {
    let f1 = node(
        Holder::Journal(1),
        &[(Traces, 1), (Metrics, 2), (Traces, 5)],
    );
    let f2 = node(
        Holder::Journal(2),
        &[(Traces, 1), (Traces, 3), (Logs, 4), (Logs, 7)],
    );
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1), ("f2", f2)]);
    let progress = driven.run();
    assert!(progress.complete, "{progress:?}");
    assert_eq!(
        driven.given(),
        [1, 2, 3, 4, 5, 7],
        "a gap that nobody holds was not acknowledged"
    );
    assert_eq!(
        progress.recovered[Logs.index()],
        [(4, 4), (7, 7)].into_iter().collect()
    );
    assert_eq!(progress.records, 6);
}

#[test]
fn i2_with_too_few_answers_it_is_not_complete_and_nothing_behind_a_gap_is_given() {
    let f1 = node(
        Holder::Journal(1),
        &[
            (Traces, 1),
            (Traces, 2),
            (Metrics, 3),
            (Traces, 5),
            (Metrics, 6),
        ],
    );
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1)]);
    let progress = driven.run();
    assert!(!progress.complete && progress.stalled);
    // Metrics are all on f1, so they are complete; 4 may be a span that f2 alone has.
    assert_eq!(driven.given(), [1, 2, 3, 6]);
    assert_eq!(progress.missing, [name("f2"), name("owner")]);
    // The other one comes back.
    let f2 = node(Holder::Journal(2), &[(Traces, 4)]);
    driven.nodes.insert(name("f2"), f2);
    let progress = driven.run();
    assert!(progress.complete, "{progress:?}");
    assert_eq!(driven.given(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn i2_a_follower_that_came_back_without_its_disk_does_not_count() {
    let f1 = node(Holder::Journal(1), &[(Traces, 1)]);
    let f2 = node(Holder::Journal(99), &[]);
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1), ("f2", f2)]);
    let progress = driven.run();
    assert!(!progress.complete);
    assert!(progress.missing.contains(&name("f2")));
}

#[test]
fn the_owners_whole_log_is_enough_and_a_damaged_one_is_helped_out() {
    let records: Vec<(Signal, u64)> = (1..=9).map(|s| (Signal::ALL[s as usize % 3], s)).collect();
    let whole = node(Holder::Owner { whole: true }, &records);
    let mut driven = Driven::new(ensemble(), [0; 3], &[("owner", whole)]);
    assert!(driven.run().complete);
    assert_eq!(driven.given(), (1..=9).collect::<Vec<_>>());

    let part: Vec<(Signal, u64)> = records.iter().copied().filter(|(_, s)| *s != 5).collect();
    let damaged = node(Holder::Owner { whole: false }, &part);
    let (signal, _) = records[4];
    let others = [
        ("owner", damaged),
        ("f1", node(Holder::Journal(1), &[(signal, 5)])),
        ("f2", node(Holder::Journal(2), &[])),
    ];
    let mut driven = Driven::new(ensemble(), [0; 3], &others);
    assert!(driven.run().complete);
    assert_eq!(driven.given(), (1..=9).collect::<Vec<_>>());
}

#[test]
fn what_the_tables_hold_is_not_recovered_again() {
    let f1 = node(
        Holder::Journal(1),
        &[(Traces, 1), (Metrics, 2), (Traces, 3)],
    );
    let f2 = node(Holder::Journal(2), &[(Traces, 3)]);
    let driven = Driven::new(ensemble(), [2, 0, 0], &[("f1", f1), ("f2", f2)]);
    assert_eq!(driven.given(), [2, 3]);
}

#[test]
fn a_member_that_dies_midway_is_done_without_where_another_has_its_records() {
    let records: Vec<(Signal, u64)> = (1..=20).map(|s| (Traces, s)).collect();
    let f1 = node(Holder::Journal(1), &records);
    let mut f2 = node(Holder::Journal(2), &records);
    // It tells what it holds and gives only the first of them.
    f2.frames.retain(|sequence, _| *sequence <= 2);
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1), ("f2", f2)]);
    assert!(driven.run().complete);
    assert_eq!(driven.given(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn i6_a_frame_that_comes_damaged_is_fetched_from_another_or_again() {
    let records = [(Traces, 1), (Traces, 2)];
    let mut f1 = node(Holder::Journal(1), &records);
    let bad = damaged(&f1.frames[&2]);
    f1.frames.insert(2, bad);
    let f2 = node(Holder::Journal(2), &[(Traces, 1)]);
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1), ("f2", f2)]);
    let progress = driven.run();
    assert!(!progress.complete, "the only copy of 2 is damaged");
    assert_eq!(driven.given(), [1]);
    let healthy = frame(Traces, 2);
    driven
        .nodes
        .get_mut("f1")
        .unwrap()
        .frames
        .insert(2, healthy);
    assert!(driven.run().complete);
    assert_eq!(driven.given(), [1, 2]);
}

#[test]
fn i9_a_recovery_that_a_later_one_has_fenced_is_over() {
    let f1 = node(Holder::Journal(1), &[(Traces, 1)]);
    let mut f2 = node(Holder::Journal(2), &[]);
    f2.held.as_mut().unwrap().epoch = 3;
    let mut driven = Driven::new(ensemble(), [0; 3], &[("f1", f1), ("f2", f2)]);
    let progress = driven.run();
    assert_eq!(progress.superseded, Some(3));
    assert!(!progress.complete);
}

#[test]
fn each_ensemble_of_a_stream_needs_its_answers_unless_the_tables_have_passed_it() {
    let mut ensembles = ensemble();
    ensembles.change(Ensemble {
        version: 2,
        first_sequence: 4,
        signals: [
            copies(&[("f1", 1), ("f3", 3)], 2),
            copies(&[("f1", 1)], 2),
            copies(&[("f3", 3)], 1),
        ],
    });
    let f1 = node(Holder::Journal(1), &[(Traces, 1), (Traces, 4)]);
    let f3 = node(Holder::Journal(3), &[(Traces, 4)]);
    let nodes = [("f1", f1), ("f3", f3)];
    let mut driven = Driven::new(ensembles.clone(), [0; 3], &nodes);
    let progress = driven.run();
    assert!(!progress.complete && progress.missing.contains(&name("f2")));
    let mut driven = Driven::new(ensembles, [3, 3, 3], &nodes);
    assert!(driven.run().complete);
    assert_eq!(driven.given(), [4]);
}

#[test]
fn an_acknowledgement_that_needed_more_copies_than_there_were_was_never_given() {
    let alone = Ensembles(vec![Ensemble {
        version: 1,
        first_sequence: 1,
        signals: [copies(&[], 2), copies(&[], 2), copies(&[], 2)],
    }]);
    assert!(Driven::new(alone, [0; 3], &[]).run().complete);
    let owner_alone = Ensembles(vec![Ensemble {
        version: 1,
        first_sequence: 1,
        signals: [copies(&[], 1), copies(&[], 2), copies(&[], 2)],
    }]);
    assert!(!Driven::new(owner_alone, [0; 3], &[]).run().complete);
}

#[test]
fn what_is_kept_of_a_signal_acknowledged_alone_is_planned_before_a_gap_is_passed() {
    let f1 = node(Holder::Journal(1), &[(Traces, 1)]);
    let f2 = node(Holder::Journal(2), &[(Logs, 2), (Logs, 5), (Logs, 9)]);
    let config = RecoveryConfig {
        stream: STREAM,
        epoch: 3,
        owner: name("owner"),
        ensembles: ensemble(),
        watermark: [0, 0, 4],
        // An earlier recovery had found no record 3, and committed up to 4.
        planned: [
            None,
            None,
            Some([(1, 2), (4, 5), (7, 9)].into_iter().collect()),
        ],
    };
    let mut recovery = Recovery::new(config, ms(0));
    let nodes = BTreeMap::from([(name("f1"), f1), (name("f2"), f2)]);
    let mut driven = Driven {
        nodes,
        recovery: Recovery::new(recovery.config().clone(), ms(0)),
        now: ms(0),
        given: Vec::new(),
    };
    for call in recovery.calls() {
        let mut answer = driven.answer(&call.to, &call.message);
        if let Some(Message::Held(held)) = &mut answer {
            held.epoch = 3;
        }
        recovery.answered(&call.to, answer, ms(1));
    }
    assert_eq!(
        recovery.take(),
        None,
        "nothing is given out before it is planned anew"
    );
    let (signal, kept) = recovery.plan().unwrap();
    assert_eq!(signal, Logs);
    assert_eq!(kept, [(1, 2), (4, 5), (9, 9)].into_iter().collect());
    recovery.planned(signal);
    assert_eq!(recovery.plan(), None);
    assert_eq!(recovery.settled(Logs), kept);
    assert_eq!(recovery.settled(Traces), Ranges::of(1, 1));
}

#[test]
fn what_a_seal_says_of_a_signal_is_what_was_found_of_it_and_a_gap_is_planned() {
    // Record 4 was never acknowledged, and of 6 nobody knows whose it was.
    let f1 = node(
        Holder::Journal(1),
        &[(Traces, 3), (Metrics, 5), (Traces, 7)],
    );
    let f2 = node(Holder::Journal(2), &[(Logs, 8)]);
    let mut driven = Driven::new(ensemble(), [2, 2, 2], &[("f1", f1), ("f2", f2)]);
    assert!(driven.run().complete);
    let ranges = |ranges: &[(u64, u64)]| -> Ranges { ranges.iter().copied().collect() };
    let settled = |signal| driven.recovery.settled(signal);
    assert_eq!(settled(Traces), ranges(&[(1, 3), (7, 7)]));
    assert_eq!(settled(Metrics), ranges(&[(1, 2), (5, 5)]));
    assert_eq!(settled(Logs), ranges(&[(1, 2), (8, 8)]));

    driven.recovery.left_out(Traces, 3);
    let settled = |signal| driven.recovery.settled(signal);
    assert_eq!(settled(Traces), ranges(&[(1, 2), (7, 7)]), "3 is elsewhere");

    let f1 = node(
        Holder::Journal(1),
        &[(Traces, 3), (Metrics, 4), (Traces, 5)],
    );
    let f2 = node(Holder::Journal(2), &[(Logs, 6)]);
    let nodes = [("f1", f1), ("f2", f2)];
    let driven = Driven::new(ensemble(), [2, 2, 2], &nodes);
    let settled = |signal| driven.recovery.settled(signal);
    assert_eq!(settled(Traces), ranges(&[(1, 5)]), "4 is no gap");
    assert_eq!(settled(Metrics), ranges(&[(1, 4)]));
    assert_eq!(settled(Logs), ranges(&[(1, 6)]));
}

#[test]
fn loss_is_accepted_only_when_every_member_has_answered() {
    let owner = node(Holder::Owner { whole: false }, &[(Logs, 1), (Logs, 3)]);
    let f1 = node(Holder::Journal(1), &[]);
    let f2 = node(Holder::Journal(99), &[]);
    let mut driven = Driven::new(ensemble(), [0; 3], &[("owner", owner), ("f1", f1)]);
    assert!(!driven.run().exhausted);
    driven.recovery.accept_loss();
    assert!(!driven.run().complete, "f2 may have what is missing");
    driven.nodes.insert(name("f2"), f2);
    let progress = driven.run();
    assert!(progress.exhausted && !progress.complete);
    assert_eq!(driven.given(), [1]);
    driven.recovery.accept_loss();
    assert!(driven.run().complete);
    assert_eq!(driven.given(), [1, 3]);
}
