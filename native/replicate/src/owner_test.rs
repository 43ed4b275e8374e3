use std::sync::Arc;

use otlake_base::{Code, Signal};

use crate::Ranges;
use crate::message::{Held, Holder, Message, Refusal};
use crate::owner_driven::Driven;
use crate::testing::{STREAM, frame, ms, name};

#[test]
fn i1_a_record_is_done_with_its_quorum_and_not_before_those_ahead_of_it() {
    let mut driven = Driven::registered();
    driven.append(Signal::Traces);
    driven.append(Signal::Metrics);
    driven.append(Signal::Traces);
    assert_eq!(driven.sent_to("f1"), [1, 2, 3]);
    assert_eq!(driven.sent_to("f2"), [1, 3]);
    driven.durable("f1", 1, 2, 3);
    assert_eq!(driven.acknowledged(), [] as [u64; 0]);
    driven.durable("f2", 2, 1, 1);
    assert_eq!(driven.acknowledged(), [1, 2, 3]);
}

#[test]
fn i1_a_confirmation_counts_for_the_journal_that_the_ensemble_names_alone() {
    let mut driven = Driven::registered();
    driven.append(Signal::Metrics);
    // f1 comes back under its name without its disk, and then confirms.
    driven.greet("f1", 99);
    assert_eq!(
        driven.sent_to("f1"),
        [1, 1],
        "it is sent to the new journal, too"
    );
    driven.durable("f1", 99, 1, 1);
    driven.durable("f1", 1, 1, 1);
    assert_eq!(driven.acknowledged(), [] as [u64; 0]);
    // The ensemble that names the new journal was proposed, and only then does it count.
    let proposed = driven
        .proposed
        .last()
        .expect("an ensemble is proposed")
        .clone();
    assert_eq!(proposed.of(Signal::Metrics).followers[0].journal, 99);
    assert_eq!(proposed.first_sequence, 1);
    driven.commit();
    assert_eq!(driven.acknowledged(), [1]);
}

#[test]
fn i3_an_owner_is_in_touch_when_a_follower_answered_what_was_sent_since() {
    let mut driven = Driven::registered();
    let since = driven.now;
    driven.wait(100);
    assert!(!driven.owner.is_in_touch(since));
    // The answer to a beat tells when that was sent, not when the answer came.
    let beat = driven.now;
    driven.alive("f2", 2);
    driven.wait(100);
    assert!(driven.owner.is_in_touch(beat));
    assert!(!driven.owner.is_in_touch(beat + ms(1)));
    driven.owner.fence(2);
    assert!(driven.owner.is_in_touch(driven.now), "nothing more comes");
    // Who has no followers waits for nobody.
    assert!(Driven::new(false, 1 << 20).owner.is_in_touch(since));
}

#[test]
fn a_follower_that_answers_no_beat_is_told_as_not_there_though_its_link_is_open() {
    let mut driven = Driven::registered();
    let is_there = |driven: &Driven| {
        let followers = driven.owner.status(driven.now).followers;
        let f1 = followers.iter().find(|follower| &*follower.name == "f1");
        f1.expect("it follows").connected
    };
    assert!(!is_there(&driven), "it has answered nothing yet");
    driven.alive("f1", 1);
    assert!(is_there(&driven));
    driven.wait(1900);
    assert!(is_there(&driven));
    driven.wait(100);
    assert!(!is_there(&driven));
    driven.alive("f1", 1);
    assert!(is_there(&driven));
    driven.leave("f1");
    assert!(!is_there(&driven));
}

#[test]
fn i1_what_comes_over_an_older_link_is_passed_over() {
    let mut driven = Driven::registered();
    driven.append(Signal::Metrics);
    driven.owner.received(
        &name("f1"),
        0,
        Message::Durable {
            stream: STREAM,
            journal: 1,
            ranges: Ranges::of(1, 1),
        },
        driven.now,
    );
    driven.take();
    assert_eq!(driven.acknowledged(), [] as [u64; 0]);
}

#[test]
fn while_an_ensemble_is_proposed_both_quorums_are_needed() {
    let mut driven = Driven::registered();
    driven.append(Signal::Metrics);
    driven.follow([&["f1", "f2"], &["f3"], &["f2"]]);
    driven.greet("f3", 3);
    let proposed = driven.proposed.last().unwrap().clone();
    assert_eq!(
        proposed.first_sequence, 1,
        "nothing is done that would need the old one"
    );
    driven.append(Signal::Metrics);
    assert_eq!(driven.sent_to("f3"), [1, 2]);
    driven.durable("f3", 3, 1, 2);
    assert_eq!(
        driven.acknowledged(),
        [] as [u64; 0],
        "the new one alone is not enough"
    );
    driven.durable("f1", 1, 1, 1);
    assert_eq!(driven.acknowledged(), [1], "both have it");
    driven.commit();
    assert_eq!(
        driven.acknowledged(),
        [1, 2],
        "the old one is not asked any more"
    );
}

#[test]
fn an_ensemble_begins_where_everything_done_has_its_quorum_in_it_and_takes_over_the_rest_later() {
    let mut driven = Driven::registered();
    for _ in 0..5 {
        driven.append(Signal::Metrics);
    }
    driven.durable("f1", 1, 1, 5);
    driven.follow([&["f1", "f2"], &["f3"], &["f2"]]);
    driven.greet("f3", 3);
    assert_eq!(driven.proposed.last().unwrap().first_sequence, 6);
    driven.commit();
    assert_eq!(driven.owner.status(driven.now).ensembles.0.len(), 2);
    assert_eq!(
        driven.reads,
        [(name("f3"), 1, 5)],
        "it gets what the tables lack"
    );
    let frames = (1..=5)
        .map(|sequence| frame(Signal::Metrics, sequence))
        .collect();
    let now = driven.now;
    driven.owner.read(&name("f3"), frames, &[], 6, now);
    driven.take();
    assert_eq!(driven.sent_to("f3"), [1, 2, 3, 4, 5]);
    driven.durable("f3", 3, 1, 5);
    driven.wait(600);
    assert_eq!(driven.proposed.last().unwrap().first_sequence, 1);
    driven.commit();
    assert_eq!(driven.owner.status(driven.now).ensembles.0.len(), 1);
}

#[test]
fn i9_a_fenced_owner_refuses_what_is_pending_and_acknowledges_nothing_after() {
    let mut driven = Driven::registered();
    driven.append(Signal::Traces);
    driven.hear(
        "f1",
        Message::Refused {
            stream: STREAM,
            epoch: 2,
            reason: Refusal::Fenced,
        },
    );
    driven.durable("f2", 2, 1, 1);
    driven.append(Signal::Traces);
    driven.wait(1000);
    let fenced = Err(Code::ClusterFenced);
    assert_eq!(driven.done, [(1, fenced), (2, fenced)]);
    assert_eq!(
        driven.admits("default", Signal::Logs),
        Err(Code::ClusterFenced)
    );
}

#[test]
fn a_request_is_refused_at_once_where_too_few_nodes_can_hold_it() {
    let mut driven = Driven::new(false, 1 << 20);
    assert!(
        driven.admits("default", Signal::Logs).is_err(),
        "not registered"
    );
    driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
    driven.greet("f1", 1);
    driven.greet("f2", 2);
    driven.commit();
    for signal in Signal::ALL {
        driven.admits("default", signal).unwrap();
    }
    driven.leave("f1");
    driven.admits("default", Signal::Traces).unwrap();
    let error = driven.admits("default", Signal::Metrics);
    assert_eq!(error, Err(Code::ClusterQuorum));
    driven.leave("f2");
    for signal in Signal::ALL {
        assert!(driven.admits("default", signal).is_err());
    }
}

#[test]
fn a_signal_acknowledged_alone_stops_without_word_from_its_follower() {
    let mut driven = Driven::registered();
    driven.append(Signal::Logs);
    assert_eq!(driven.acknowledged(), [] as [u64; 0], "never heard");
    driven.alive("f2", 2);
    assert_eq!(driven.acknowledged(), [1]);
    driven.append(Signal::Logs);
    assert_eq!(driven.acknowledged(), [1, 2]);
    // The beats are answered, but no copy comes: after a second nothing more is acknowledged.
    driven.wait(1100);
    driven.alive("f2", 2);
    driven.append(Signal::Logs);
    assert_eq!(driven.acknowledged(), [1, 2]);
    driven.durable("f2", 2, 1, 3);
    assert_eq!(driven.acknowledged(), [1, 2, 3]);
    // A pause, after which nobody knows whether the stream is fenced.
    driven.now += ms(5000);
    driven.append(Signal::Logs);
    assert_eq!(driven.acknowledged(), [1, 2, 3]);
}

#[test]
fn what_a_follower_does_not_hold_is_sent_again_after_a_reconnect() {
    let mut driven = Driven::registered();
    for _ in 0..4 {
        driven.append(Signal::Traces);
    }
    assert_eq!(driven.sent_to("f1"), [1, 2, 3, 4]);
    driven.greet_with("f1", 1, Ranges::of(2, 3));
    assert_eq!(driven.sent_to("f1"), [1, 4]);
    driven.durable("f1", 1, 1, 1);
    assert_eq!(driven.acknowledged(), [1, 2, 3], "what it told counts");
    driven.owner.release(Signal::Traces, 3);
    driven.greet_with("f1", 1, Ranges::default());
    assert_eq!(driven.sent_to("f1"), [4], "the tables hold the others");
}

#[test]
fn records_lost_on_their_way_are_sent_again_without_a_new_link() {
    let mut driven = Driven::registered();
    driven.append(Signal::Traces);
    driven.sent.clear();
    driven.wait(1600);
    let asks = |(to, message): &(Arc<str>, Message)| {
        &**to == "f1" && matches!(message, Message::Hello { .. })
    };
    assert!(driven.sent.iter().any(asks), "it asks what is held");
    driven.hear(
        "f1",
        Message::Held(Held {
            stream: STREAM,
            holder: Holder::Journal(1),
            epoch: 0,
            released: [0; 3],
            ranges: Default::default(),
        }),
    );
    assert_eq!(driven.sent_to("f1"), [1]);
}

#[test]
fn i5_memory_is_bounded_and_a_follower_that_lags_is_read_to_from_the_log() {
    let mut driven = Driven::new(false, 1000);
    driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
    driven.greet("f1", 1);
    driven.greet("f2", 2);
    driven.commit();
    driven.leave("f2");
    for sequence in 1..=50 {
        driven.append(Signal::Traces);
        driven.durable("f1", 1, sequence, sequence);
    }
    assert_eq!(driven.acknowledged().len(), 50);
    driven.sent_to("f2");
    driven.greet("f2", 2);
    assert_eq!(driven.reads, [(name("f2"), 1, 50)]);
    let frames = (1..=45)
        .map(|sequence| frame(Signal::Traces, sequence))
        .collect();
    let now = driven.now;
    driven.owner.read(&name("f2"), frames, &[(46, 46)], 47, now);
    driven.take();
    let sent = driven.sent_to("f2");
    assert_eq!(sent, (1..=50).filter(|s| *s != 46).collect::<Vec<_>>());
    assert_eq!(driven.reads.len(), 1, "the last ones are in memory");
}

#[test]
fn with_too_few_nodes_fewer_acknowledgements_are_proposed_only_where_that_is_allowed() {
    for allowed in [false, true] {
        let mut driven = Driven::new(allowed, 1 << 20);
        driven.follow([&["f1", "f2"], &["f1"], &["f2"]]);
        driven.wait(3000);
        let proposed = driven.proposed.last().unwrap().clone();
        assert_eq!(
            proposed.of(Signal::Traces).acks,
            if allowed { 1 } else { 2 }
        );
        driven.commit();
        assert_eq!(driven.admits("default", Signal::Traces).is_ok(), allowed);
        driven.append(Signal::Traces);
        assert_eq!(driven.acknowledged().len(), usize::from(allowed));
        assert_eq!(driven.owner.status(driven.now).degraded, allowed);
        // When they come, the set number is proposed, from the first record on that has it.
        driven.greet("f1", 1);
        driven.greet("f2", 2);
        let proposed = driven.proposed.last().unwrap().clone();
        assert_eq!(proposed.of(Signal::Traces).acks, 2);
        assert_eq!(proposed.first_sequence, if allowed { 2 } else { 1 });
    }
}

#[test]
fn a_former_follower_is_kept_until_the_tables_hold_what_it_has() {
    let mut driven = Driven::registered();
    driven.append(Signal::Traces);
    driven.durable("f1", 1, 1, 1);
    driven.durable("f2", 2, 1, 1);
    driven.follow([&["f2", "f3"], &["f2"], &["f2"]]);
    driven.greet("f3", 3);
    driven.commit();
    driven.wait(600);
    driven.commit();
    driven.wait(100);
    assert!(driven.wanted.contains(&name("f1")), "it holds a record");
    driven.owner.release(Signal::Traces, 1);
    driven.wait(300);
    assert!(driven.wanted.contains(&name("f1")), "it has not let go");
    driven.knows("f1", 1, [1, 0, 0]);
    driven.wait(100);
    assert!(!driven.wanted.contains(&name("f1")));
}

#[test]
fn the_owner_tells_a_recoverer_what_its_own_log_has() {
    let mut driven = Driven::registered();
    driven.append(Signal::Traces);
    driven.append(Signal::Logs);
    driven.append(Signal::Traces);
    driven.durable("f1", 1, 1, 3);
    driven.alive("f2", 2);
    driven.owner.release(Signal::Traces, 1);
    driven.owner.fence(2);
    let held = driven.owner.held();
    assert_eq!(held.holder, Holder::Owner { whole: true });
    assert_eq!(held.ranges[Signal::Traces.index()], Ranges::of(3, 3));
    assert_eq!(held.ranges[Signal::Logs.index()], Ranges::of(2, 2));
}

#[test]
fn a_group_of_the_log_goes_to_each_follower_in_one_message_and_each_record_has_its_own_quorum() {
    let mut driven = Driven::registered();
    driven.sent.clear();
    driven.append_group(Signal::Traces, 5);
    for follower in ["f1", "f2"] {
        let appends = driven
            .sent
            .iter()
            .filter(|(to, message)| &**to == follower && matches!(message, Message::Append { .. }));
        assert_eq!(appends.count(), 1);
        assert_eq!(driven.sent_to(follower), [1, 2, 3, 4, 5]);
    }
    assert_eq!(driven.acknowledged(), [] as [u64; 0]);
    driven.durable("f1", 1, 1, 2);
    assert_eq!(driven.acknowledged(), [1, 2]);
    driven.durable("f2", 2, 4, 5);
    assert_eq!(driven.acknowledged(), [1, 2]);
    driven.durable("f2", 2, 3, 3);
    assert_eq!(driven.acknowledged(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_group_that_comes_after_the_fence_is_refused_whole() {
    let mut driven = Driven::registered();
    driven.owner.fence(2);
    driven.take();
    driven.append_group(Signal::Traces, 3);
    let refused = (1..=3).map(|sequence| (sequence, Err(Code::ClusterFenced)));
    assert_eq!(driven.done, refused.collect::<Vec<_>>());
    assert_eq!(driven.owner.memory(), (0, 0));
}
