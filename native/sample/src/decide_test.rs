//! What one node decides over several flushes, and after a restart.

use std::time::Duration;

use crate::testing::{Chance, Node, Plain, batch, batch_of, config, policy};
use crate::trace_state::{NEVER, sampling};
use crate::{Condition, Early, Policy, Rated, SampleConfig};

const HIGH: u128 = 0x00ff_ffff_ffff_ffff;

fn errors() -> Policy {
    policy("errors", vec![Condition::Status(vec![2])])
}

fn share(probability: f64) -> Policy {
    policy("share", vec![Condition::Probability(probability)])
}

fn rate(of: Rated, per_second: f64) -> Policy {
    policy("rate", vec![Condition::Rate { of, per_second }])
}

fn span(trace: u128, id: u64, status: i32) -> Plain {
    Plain {
        trace,
        id,
        status,
        ..Plain::default()
    }
}

fn open(policies: Vec<Policy>) -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::open(folder.path(), &config(policies));
    (folder, node)
}

#[test]
fn a_trace_is_decided_by_all_its_live_spans_newer_ones_too() {
    let (_folder, node) = open(vec![errors()]);
    let first = batch(1, &[span(1, 1, 0), span(2, 2, 0)]);
    let newer = batch(2, &[span(2, 3, 2), span(3, 4, 0)]);
    assert_eq!(node.kept(&[first], std::slice::from_ref(&newer)), [2]);
    // What was evidence is no late span.
    assert_eq!(node.kept(&[newer], &[]), [3]);
    assert_eq!(node.counted("spans", &["kept", "\"errors\""]), 2);
    assert_eq!(node.counted("spans", &["kept", "\"late\""]), 0);
    assert_eq!(node.counted("spans", &["dropped", "\"none\""]), 2);
    assert_eq!(node.counted("traces", &["kept", "\"errors\""]), 1);
    assert_eq!(node.counted("traces", &["dropped", "\"none\""]), 2);
}

#[test]
fn late_spans_follow_the_decision_whatever_they_say_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(vec![errors(), share(0.5)]);
    let node = Node::open(folder.path(), &config);
    let sealed = [span(1, 1, 0), span(2, 2, 2), span(HIGH, 3, 0)];
    assert_eq!(node.kept(&[batch(1, &sealed)], &[]), [2, 3]);
    let late = |sequence, arrived| {
        let spans = [span(1, 4, 2), span(2, 5, 0), span(HIGH, 6, 0)];
        batch_of(sequence, "default", &spans, Duration::from_secs(arrived))
    };
    let expected = [(5, String::new()), (6, "ot=th:8".to_owned())];
    assert_eq!(node.flush(&[late(2, 101)], &[]), expected);
    assert_eq!(node.counted("spans", &["kept", "\"late\""]), 2);
    assert_eq!(node.counted("spans", &["dropped", "\"late\""]), 1);
    drop(node);
    // Other policies are for traces that are not decided yet.
    let other = SampleConfig {
        policies: vec![policy("all", vec![Condition::Probability(1.0)])],
        ..config
    };
    let node = Node::open(folder.path(), &other);
    assert_eq!(node.flush(&[late(3, 5)], &[]), expected);
    assert_eq!(node.counted("spans", &["kept", "\"late\""]), 2);
    assert_eq!(node.kept(&[batch(4, &[span(9, 9, 0)])], &[]), [9]);
}

#[test]
fn tenants_traces_of_the_same_id_are_different_traces() {
    let (_folder, node) = open(vec![errors()]);
    let at = Duration::from_secs(1);
    let blue = batch_of(1, "blue", &[span(1, 1, 2)], at);
    let red = batch_of(2, "red", &[span(1, 2, 0)], at);
    assert_eq!(node.kept(&[blue, red], &[]), [1]);
}

#[test]
fn the_lowest_threshold_counts_and_certainty_leaves_the_trace_state_alone() {
    let policies = vec![
        policy("small", vec![Condition::Probability(0.25)]),
        policy("half", vec![Condition::Probability(0.5)]),
        errors(),
    ];
    let (_folder, node) = open(policies);
    let states = ["", "", "a=b", "ot=th:ff"];
    let spans: Vec<Plain> = [
        (HIGH, 0),
        (0x00a0_0000_0000_0000, 0),
        (1 << 64, 2),
        (2 << 64, 2),
    ]
    .into_iter()
    .zip(states)
    .zip(1..)
    .map(|(((trace, status), state), id)| Plain {
        state: state.to_owned(),
        ..span(trace, id, status)
    })
    .collect();
    let written = node.flush(&[batch(1, &spans)], &[]);
    let expected = ["ot=th:8", "ot=th:8", "a=b", "ot=th:ff"];
    let expected = (1..).zip(expected.map(str::to_owned));
    assert_eq!(written, expected.collect::<Vec<_>>());
    // Who is named is the first that keeps it.
    assert_eq!(node.counted("traces", &["\"small\""]), 1);
    assert_eq!(node.counted("traces", &["\"half\""]), 1);
    assert_eq!(node.counted("traces", &["\"errors\""]), 2);
}

#[test]
fn explicit_randomness_counts_in_place_of_the_trace_id_for_all_spans_of_the_trace() {
    let (_folder, node) = open(vec![share(0.5)]);
    let with = |state: &str, trace, id| Plain {
        state: state.to_owned(),
        ..span(trace, id, 0)
    };
    let spans = [
        span(1, 1, 0),
        with("ot=rv:80000000000000", 1, 2),
        with("ot=rv:7fffffffffffff", HIGH, 3),
    ];
    let written = node.flush(&[batch(1, &spans)], &[]);
    let expected = [(1, "ot=th:8"), (2, "ot=rv:80000000000000;th:8")];
    assert_eq!(written, expected.map(|(id, state)| (id, state.to_owned())));
}

/// Traces of random ids, one span each.
fn random_traces(chance: &mut Chance, count: u64, first: u64) -> Vec<Plain> {
    (first..first + count)
        .map(|id| {
            span(
                (u128::from(chance.number()) << 64) | u128::from(chance.number()),
                id,
                0,
            )
        })
        .collect()
}

/// How many spans those that were written stand for.
fn extrapolated(written: &[(u64, String)]) -> f64 {
    let count = |state: &str| {
        let threshold = sampling(state).threshold.unwrap_or(0);
        NEVER as f64 / (NEVER - threshold) as f64
    };
    written.iter().map(|(_, state)| count(state)).sum()
}

#[test]
fn a_probability_keeps_its_share_and_counts_can_be_extrapolated_after_head_sampling_too() {
    let (_folder, node) = open(vec![share(0.25)]);
    let mut chance = Chance::new(11);
    let mut spans = random_traces(&mut chance, 8_000, 1);
    // Half of them were sampled before, at 1 in 8: each stands for eight.
    let cut = 7_u64 << 53;
    let mut stood_for = 0.0;
    for (at, span) in spans.iter_mut().enumerate() {
        stood_for += 1.0;
        if at % 2 == 0 {
            span.trace |= u128::from(cut);
            span.state = "ot=th:e".to_owned();
            stood_for += 7.0;
        }
    }
    let written = node.flush(&[batch(1, &spans)], &[]);
    // All of the one half, a quarter of the other.
    let share = written.len() as f64 / 5_000.0;
    assert!((0.95..1.05).contains(&share), "{}", written.len());
    let told = extrapolated(&written) / stood_for;
    assert!((0.97..1.03).contains(&told), "{told}");
}

#[test]
fn a_rate_keeps_those_of_the_highest_randomness_and_counts_can_be_extrapolated() {
    let (_folder, node) = open(vec![rate(Rated::Traces, 50.0)]);
    let mut chance = Chance::new(5);
    let (mut told, mut kept, mut sent) = (0.0, 0, 0);
    for flush in 0..20u64 {
        // Ten seconds' worth, more at some times than at others.
        let count = 1_000 + 200 * (flush % 5);
        let spans = random_traces(&mut chance, count, flush * 10_000 + 1);
        let half = spans.len() / 2;
        let at = |seconds| Duration::from_secs(flush * 10 + seconds);
        let batches = [
            batch_of(2 * flush + 1, "default", &spans[..half], at(100)),
            batch_of(2 * flush + 2, "default", &spans[half..], at(109)),
        ];
        let written = node.flush(&batches, &[]);
        let threshold = sampling(&written[0].1).threshold.expect("a threshold");
        let above = |span: &&Plain| (span.trace as u64 & (NEVER - 1)) >= threshold;
        let ids: Vec<u64> = spans.iter().filter(above).map(|span| span.id).collect();
        let written_ids: Vec<u64> = written.iter().map(|(id, _)| *id).collect();
        assert_eq!(written_ids, ids, "a threshold tells who is kept");
        told += extrapolated(&written);
        kept += written.len();
        sent += count;
    }
    // 50 in each of 200 seconds.
    assert_eq!(kept, 50 * 200);
    let share = told / sent as f64;
    assert!((0.93..1.07).contains(&share), "{share}");
}

#[test]
fn a_rate_that_is_not_reached_keeps_all_and_says_nothing_in_the_trace_state() {
    let (_folder, node) = open(vec![errors(), rate(Rated::Traces, 10.0)]);
    // Those that another policy keeps take nothing of it.
    let spans: Vec<Plain> = (1..=30)
        .map(|id| span(u128::from(id), id, if id > 10 { 2 } else { 0 }))
        .collect();
    let written = node.flush(&[batch(1, &spans)], &[]);
    assert_eq!(written.len(), 30);
    assert!(written.iter().all(|(_, state)| state.is_empty()));
    assert_eq!(node.counted("traces", &["\"rate\""]), 10);
}

#[test]
fn a_rate_of_spans_lets_a_large_trace_pass_and_waits_until_it_is_paid_for() {
    let (_folder, node) = open(vec![rate(Rated::Spans, 10.0)]);
    let trace = |trace: u128, spans: u64| -> Vec<Plain> {
        let first = trace as u64 * 1_000;
        (first..first + spans)
            .map(|id| span(trace, id, 0))
            .collect()
    };
    let at = |sequence, spans: &[Plain], seconds| {
        batch_of(sequence, "default", spans, Duration::from_secs(seconds))
    };
    assert_eq!(node.kept(&[at(1, &trace(1, 40), 1)], &[]).len(), 40);
    // 30 spans beyond what there was: three seconds.
    for (number, seconds, expected) in [(2, 2, 0), (3, 4, 0), (4, 5, 1), (5, 6, 1)] {
        let kept = node.kept(&[at(number, &trace(u128::from(number), 1), seconds)], &[]);
        assert_eq!(kept.len(), expected, "at {seconds} s");
    }
    // An hour without any is worth a second.
    let many: Vec<Plain> = (10..60).flat_map(|of| trace(of, 1)).collect();
    assert_eq!(node.kept(&[at(6, &many, 3_600)], &[]).len(), 10);
}

#[test]
fn traces_that_share_their_randomness_are_kept_or_dropped_together() {
    let (_folder, node) = open(vec![rate(Rated::Traces, 3.0)]);
    let shared = |trace, id, randomness: &str| Plain {
        state: format!("ot=rv:{randomness}"),
        ..span(trace, id, 0)
    };
    let spans = [
        shared(1, 1, "f0000000000000"),
        shared(2, 2, "a0000000000000"),
        shared(3, 3, "a0000000000000"),
        shared(4, 4, "a0000000000000"),
    ];
    let written = node.flush(&[batch(1, &spans)], &[]);
    let state = "ot=rv:f0000000000000;th:a0000000000001";
    assert_eq!(written, [(1, state.to_owned())]);
}

#[test]
fn i5_traces_that_are_decided_early_are_counted_by_reason() {
    let (_folder, node) = open(vec![errors()]);
    let at = |sequence, trace, seconds| {
        let spans = [span(trace, sequence, 2)];
        batch_of(sequence, "default", &spans, Duration::from_secs(seconds))
    };
    // The clock is at 100 s, and they wait for ten.
    let sealed = [at(1, 1, 90), at(2, 2, 91), at(3, 3, 99), at(4, 1, 99)];
    node.flush_at(&sealed, &[], Some(Early::Memory));
    assert_eq!(node.counted("early", &["memory"]), 2);
    assert_eq!(node.counted("early", &["asked"]), 0);
    node.flush_at(&[at(5, 5, 95), at(6, 2, 95)], &[], Some(Early::Asked));
    assert_eq!(node.counted("early", &["asked"]), 1);
}

#[test]
fn i5_decisions_beyond_the_limit_are_forgotten_and_counted_and_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SampleConfig {
        max_decisions: 4,
        ..config(vec![errors()])
    };
    let node = Node::open(folder.path(), &config);
    let failed: Vec<Plain> = (1..=6).map(|of| span(of, of as u64, 2)).collect();
    assert_eq!(node.kept(&[batch(1, &failed)], &[]).len(), 6);
    assert_eq!(node.counted("forgotten", &[]), 2);
    assert_eq!(node.counted("decisions", &[]), 4);
    let late: Vec<Plain> = (1..=6).map(|of| span(of, 10 + of as u64, 0)).collect();
    assert_eq!(node.kept(&[batch(2, &late[2..])], &[]), [13, 14, 15, 16]);
    assert!(node.kept(&[batch(3, &late[..2])], &[]).is_empty());
    drop(node);
    let node = Node::open(folder.path(), &config);
    assert_eq!(node.counted("decisions", &[]), 4);
    assert_eq!(node.kept(&[batch(4, &late)], &[]), [15, 16]);
}

#[test]
fn spans_whose_trace_state_has_no_room_are_kept_and_counted() {
    let (_folder, node) = open(vec![share(0.5)]);
    let state = format!("ot=x:{}", "a".repeat(252));
    let spans = [Plain {
        state: state.clone(),
        ..span(HIGH, 1, 0)
    }];
    assert_eq!(node.flush(&[batch(1, &spans)], &[]), [(1, state)]);
    assert_eq!(node.counted("unmarked", &[]), 1);
}
