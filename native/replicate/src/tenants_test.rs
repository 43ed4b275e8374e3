use std::collections::BTreeMap;

use otlake_base::{Code, Signal};
use proptest::prelude::*;

use crate::message::Message;
use crate::owner::Proposed;
use crate::owner_driven::Driven;
use crate::testing::{ms, name};
use crate::{Ensembles, Quorum, Quorums, Ranges};

fn quorum(copies: usize, acks: usize, millis: u64) -> Quorum {
    Quorum {
        copies,
        acks,
        timeout: ms(millis),
    }
}

/// Spans of `strict` need three fsyncs, of `lax` one, of others two.
fn quorums() -> Quorums {
    strict_alone().with(Signal::Traces, name("lax"), quorum(3, 1, 1000))
}

/// The same with no tenant that needs one.
fn strict_alone() -> Quorums {
    Quorums::default().with(Signal::Traces, name("strict"), quorum(3, 3, 2000))
}

fn registered(quorums: Quorums, allow_degraded: bool) -> Driven {
    let mut driven = Driven::with(quorums, allow_degraded, 1 << 20);
    driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
    driven.greet("f1", 1);
    driven.greet("f2", 2);
    driven.commit();
    assert!(driven.owner.ready());
    driven
}

#[test]
fn i1_each_record_is_done_with_as_many_fsyncs_as_its_tenant_asks_for() {
    let mut driven = registered(quorums(), false);
    driven.alive("f1", 1);
    driven.append_for("lax", Signal::Traces);
    assert_eq!(driven.acknowledged(), [1], "the owner's own is enough");
    driven.append_for("default", Signal::Traces);
    driven.append_for("strict", Signal::Traces);
    assert_eq!(driven.acknowledged(), [1]);
    driven.durable("f1", 1, 1, 3);
    assert_eq!(driven.acknowledged(), [1, 2]);
    driven.durable("f2", 2, 3, 3);
    assert_eq!(driven.acknowledged(), [1, 2, 3]);
}

#[test]
fn a_tenant_is_refused_by_its_own_quorum_while_others_go_on() {
    let mut driven = registered(quorums(), false);
    for tenant in ["strict", "lax", "default"] {
        driven
            .admits(tenant, Signal::Traces)
            .expect("all are there");
    }
    driven.leave("f2");
    let refused = Err(Code::ClusterQuorum);
    assert_eq!(driven.admits("strict", Signal::Traces), refused);
    driven
        .admits("strict", Signal::Metrics)
        .expect("not of this signal");
    driven
        .admits("default", Signal::Traces)
        .expect("two are there");
    driven.alive("f1", 1);
    driven.leave("f1");
    assert_eq!(driven.admits("default", Signal::Traces), refused);
    driven
        .admits("lax", Signal::Traces)
        .expect("a follower was heard just now");
    driven.wait(1100);
    assert_eq!(driven.admits("lax", Signal::Traces), refused);
}

#[test]
fn the_followers_are_those_of_the_most_copies_and_a_recovery_counts_on_the_fewest_acks() {
    let strict = || Quorums::default().with(Signal::Metrics, name("strict"), quorum(3, 3, 1000));
    let lax = strict().with(Signal::Metrics, name("lax"), quorum(2, 1, 1000));
    for (quorums, acks) in [(strict(), 2), (lax, 1)] {
        let mut driven = Driven::with(quorums, false, 1 << 20);
        driven.follow([&["f1", "f2"], &["f1", "f2", "f3"], &["f2"]]);
        for (follower, journal) in [("f1", 1), ("f2", 2), ("f3", 3)] {
            driven.greet(follower, journal);
        }
        let proposed = driven.proposed.last().expect("the first").clone();
        let metrics = proposed.of(Signal::Metrics);
        assert_eq!((metrics.followers.len(), metrics.acks), (2, acks));
        // With three acknowledgements for everybody one answer would do.
        assert_eq!(metrics.answers_needed(), 2);
    }
}

/// A record of `strict` that f2 does not confirm, and one of another tenant behind it.
fn held_up() -> Driven {
    let mut driven = registered(quorums(), false);
    driven.append_for("strict", Signal::Traces);
    driven.append_for("default", Signal::Traces);
    driven.durable("f1", 1, 1, 2);
    driven.wait(1500);
    assert_eq!(driven.acknowledged(), [] as [u64; 0], "in their order");
    assert_eq!(driven.overdue, [] as [u64; 0], "it has its time");
    driven.wait(1000);
    driven
}

/// Up to where followers are told that everything is acknowledged.
fn told(driven: &mut Driven) -> u64 {
    driven.sent.clear();
    driven.wait(250);
    let mut beats = driven.sent.iter().filter_map(|(_, message)| match message {
        Message::Beat { acknowledged, .. } => Some(*acknowledged),
        _ => None,
    });
    beats.next_back().expect("a beat")
}

#[test]
fn a_record_whose_quorum_is_late_lets_others_pass_and_is_acknowledged_when_it_has_it() {
    let mut driven = held_up();
    assert_eq!(driven.overdue, [1]);
    assert_eq!(driven.acknowledged(), [2]);
    assert_eq!(
        told(&mut driven),
        0,
        "followers take it for no resend's success"
    );
    assert_eq!(driven.owner.status(driven.now).overdue, 1);
    driven.append_for("default", Signal::Traces);
    driven.durable("f1", 1, 3, 3);
    assert_eq!(driven.acknowledged(), [2, 3]);
    driven.durable("f2", 2, 1, 1);
    driven.wait(100);
    assert_eq!(driven.acknowledged(), [2, 3, 1]);
    assert_eq!(driven.owner.status(driven.now).overdue, 0);
    assert_eq!(told(&mut driven), 3);
}

#[test]
fn a_late_record_that_the_tables_have_needs_no_more_copies() {
    let mut driven = held_up();
    driven.owner.release(Signal::Metrics, 2);
    driven.wait(100);
    assert_eq!(driven.acknowledged(), [2], "that is of another signal");
    driven.owner.release(Signal::Traces, 1);
    driven.wait(100);
    assert_eq!(driven.acknowledged(), [2, 1]);
}

#[test]
fn i9_a_late_record_of_a_stream_that_another_fences_is_refused_and_of_one_that_ends_waits_for_files()
 {
    let mut driven = held_up();
    driven.owner.fence(2);
    driven.owner.release(Signal::Traces, 2);
    driven.wait(100);
    assert_eq!(driven.done.last(), Some(&(1, Err(Code::ClusterFenced))));
    let mut driven = held_up();
    driven.append_for("default", Signal::Traces);
    driven.owner.end(2);
    driven.durable("f2", 2, 1, 3);
    driven.wait(100);
    assert_eq!(driven.done.last(), Some(&(3, Err(Code::ClusterFenced))));
    driven.owner.release(Signal::Traces, 2);
    driven.wait(100);
    assert_eq!(driven.acknowledged(), [2, 1]);
    assert!(
        driven
            .owner
            .admit(Signal::Traces, "lax", driven.now)
            .is_err()
    );
}

#[test]
fn a_tenant_that_asks_for_no_second_copy_does_not_wait_for_others_second_copies() {
    let one = Quorums::default().with(Signal::Logs, name("single"), quorum(1, 1, 1000));
    let mut driven = registered(one, false);
    driven.alive("f2", 2);
    driven.append_for("default", Signal::Logs);
    assert_eq!(driven.acknowledged(), [1]);
    driven.wait(1100);
    driven.alive("f2", 2);
    driven.append_for("single", Signal::Logs);
    driven.append_for("default", Signal::Logs);
    assert_eq!(
        driven.acknowledged(),
        [1, 2],
        "the second copy of 1 is late"
    );
}

#[test]
fn where_fewer_nodes_are_allowed_each_tenant_has_as_many_as_there_are() {
    let mut driven = Driven::with(quorums(), true, 1 << 20);
    driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
    driven.greet("f1", 1);
    driven.wait(3000);
    driven.commit();
    assert!(driven.owner.status(driven.now).degraded);
    driven.admits("strict", Signal::Traces).expect("with two");
    driven.append_for("strict", Signal::Traces);
    assert_eq!(driven.acknowledged(), [] as [u64; 0], "two are there");
    driven.durable("f1", 1, 1, 1);
    assert_eq!(driven.acknowledged(), [1]);
    driven.greet("f2", 2);
    driven.commit();
    assert!(!driven.owner.status(driven.now).degraded);
    driven.append_for("strict", Signal::Traces);
    driven.durable("f1", 1, 2, 2);
    assert_eq!(driven.acknowledged(), [1], "three are there again");
}

const TENANTS: [&str; 3] = ["strict", "default", "lax"];
const FOLLOWERS: [&str; 3] = ["f1", "f2", "f3"];

/// An owner whose followers come, go, lose their disks and confirm as it comes.
struct Random {
    driven: Driven,
    quorums: Quorums,
    /// What each journal holds, and each follower's journal; none while it is away.
    held: BTreeMap<u128, Ranges>,
    journals: BTreeMap<&'static str, u128>,
    here: BTreeMap<&'static str, bool>,
    appended: Vec<(&'static str, Signal)>,
    released: u64,
    checked: usize,
}

impl Random {
    fn new(quorums: Quorums) -> Random {
        let mut driven = Driven::with(quorums.clone(), false, 1 << 20);
        driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
        Random {
            driven,
            quorums,
            held: BTreeMap::new(),
            journals: BTreeMap::new(),
            here: BTreeMap::new(),
            appended: Vec::new(),
            released: 0,
            checked: 0,
        }
    }

    fn step(&mut self, (kind, one, other): (u8, u8, u8)) {
        let follower = FOLLOWERS[usize::from(one) % 3];
        match kind {
            0..=5 => {
                let tenant = TENANTS[usize::from(one) % 3];
                let signal = if other % 4 == 0 {
                    Signal::Metrics
                } else {
                    Signal::Traces
                };
                self.driven.append_for(tenant, signal);
                self.appended.push((tenant, signal));
            }
            6..=11 if self.is_here(follower) && !self.appended.is_empty() => {
                let last = self.appended.len() as u64;
                let first = last.saturating_sub(u64::from(other) % 6).max(1);
                let last = (first + u64::from(other) % 4).min(last);
                let journal = self.journals[follower];
                self.held
                    .entry(journal)
                    .or_default()
                    .insert_range(first, last);
                self.driven.durable(follower, journal, first, last);
            }
            12 | 13 => self.greet(follower, other % 5 == 0),
            14 if self.is_here(follower) => {
                self.driven.leave(follower);
                self.here.insert(follower, false);
            }
            15 => {
                let (one, two) = (FOLLOWERS[usize::from(other) % 3], follower);
                self.driven.follow([&[one, two], &[two], &[one]]);
            }
            16 | 17 => self.driven.commit(),
            18 => self
                .driven
                .owner
                .settled(Proposed::Unknown, self.driven.now),
            19 if self.is_here(follower) => {
                self.driven.alive(follower, self.journals[follower]);
            }
            20 if other % 8 == 0 => {
                let done = self.driven.owner.done();
                for signal in [Signal::Traces, Signal::Metrics] {
                    self.driven.owner.release(signal, done);
                }
                self.released = self.released.max(done);
            }
            _ => self.driven.wait(u64::from(other) * 10),
        }
        self.driven.wait(50);
    }

    fn is_here(&self, follower: &str) -> bool {
        self.here.get(follower).copied().unwrap_or(false)
    }

    fn greet(&mut self, follower: &'static str, without_its_disk: bool) {
        let known = self.journals.get(follower).copied();
        let journal = match known.filter(|_| !without_its_disk) {
            Some(journal) => journal,
            None => 1 + self.journals.len() as u128 + 10 * (self.held.len() as u128 + 1),
        };
        self.journals.insert(follower, journal);
        self.here.insert(follower, true);
        let held = self.held.entry(journal).or_default().clone();
        self.driven.greet_with(follower, journal, held);
    }

    /// Of an acknowledged record: whoever recovers the stream from the answers that it needs, of
    /// whichever of the two ensembles it reads, finds it.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let committed = self.driven.owner.status(self.driven.now).ensembles;
        let mut next = committed.clone();
        if let Some(proposed) = self.driven.proposed.last() {
            next.change(proposed.clone());
        }
        for (sequence, _) in self
            .driven
            .done
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
        {
            for ensembles in [&committed, &next] {
                self.is_found(*sequence, ensembles)?;
            }
        }
        // Once, and with its own tenant's quorum.
        for (sequence, outcome) in &self.driven.done[self.checked..] {
            prop_assert!(outcome.is_ok() || outcome == &Err(Code::ClusterQuorum));
            let before = &self.driven.done[..self.checked];
            prop_assert!(before.iter().all(|(other, _)| other != sequence));
            let (tenant, signal) = self.appended[*sequence as usize - 1];
            let acks = self.quorums.of(signal, tenant).acks;
            let copies = 1 + self
                .held
                .values()
                .filter(|held| held.contains(*sequence))
                .count();
            prop_assert!(
                copies >= acks || *sequence <= self.released,
                "{} of {}: {} copies",
                sequence,
                tenant,
                copies
            );
        }
        self.checked = self.driven.done.len();
        Ok(())
    }

    fn is_found(&self, sequence: u64, ensembles: &Ensembles) -> Result<(), TestCaseError> {
        let (tenant, signal) = self.appended[sequence as usize - 1];
        let is_alone = self.quorums.of(signal, tenant).acks == 1;
        if is_alone || sequence <= self.released {
            return Ok(());
        }
        let of = ensembles
            .0
            .iter()
            .rev()
            .find(|of| of.first_sequence <= sequence);
        let copies = of.expect("each record has one").of(signal);
        let holds = |journal| {
            self.held
                .get(&journal)
                .is_some_and(|held| held.contains(sequence))
        };
        let lack = copies
            .followers
            .iter()
            .filter(|member| !holds(member.journal))
            .count();
        prop_assert!(
            lack < copies.answers_needed(),
            "{} of {} can be missed in {:?}",
            sequence,
            tenant,
            copies
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn i2_no_acknowledged_record_of_any_tenant_can_be_missed_by_a_recovery(
        some_are_lax in any::<bool>(),
        steps in prop::collection::vec((0u8..23, any::<u8>(), any::<u8>()), 20..120),
    ) {
        let mut random = Random::new(if some_are_lax { quorums() } else { strict_alone() });
        for (follower, step) in FOLLOWERS.into_iter().zip([12, 12, 16]) {
            random.greet(follower, false);
            random.step((step, 0, 1));
        }
        for step in steps {
            random.step(step);
            random.check()?;
        }
    }
}
