//! Random policies and traces, flushed in random parts with restarts in between, against the same said
//! plainly: every span of every trace looked at by itself, and nothing remembered but decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use otlake_base::Clock;

use crate::testing::{Chance, Node, Plain, Value, batch_of, policy};
use crate::trace_state::sampling;
use crate::{Batch, Condition, Measured, Policy, Rated, SampleConfig, Scope, Test};

const ROUNDS: u64 = 25;
const ALL: u64 = 1 << 56;

fn randomness(trace: &[&Plain]) -> u64 {
    let explicit = trace
        .iter()
        .find_map(|span| sampling(&span.state).randomness);
    explicit.unwrap_or(trace[0].trace as u64 % ALL)
}

fn written_as(value: &Value) -> String {
    match value {
        Value::Text(text) => (*text).to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
    }
}

/// What the condition rejects of the trace: everything, nothing, or a share.
fn rejected(condition: &Condition, trace: &[&Plain]) -> u64 {
    let when = |holds: bool| if holds { 0 } else { ALL };
    match condition {
        Condition::Status(codes) => when(trace.iter().any(|span| codes.contains(&span.status))),
        Condition::Latency {
            of: Measured::Span,
            at_least_ns,
        } => when(
            trace
                .iter()
                .any(|span| span.duration * 1_000_000 >= *at_least_ns),
        ),
        Condition::Latency {
            of: Measured::Trace,
            at_least_ns,
        } => {
            let first = trace.iter().map(|span| span.start).min().expect("a span");
            let ends = trace.iter().map(|span| span.start + span.duration);
            let last = ends.max().expect("a span");
            when((last - first) * 1_000_000 >= *at_least_ns)
        }
        Condition::Attribute { key, scope, test } => when(trace.iter().any(|span| {
            let of = |attributes: &[(&'static str, Value)]| {
                let value = attributes.iter().find(|(name, _)| name == key);
                value.is_some_and(|(_, value)| {
                    let value = written_as(value);
                    match test {
                        Test::Present => true,
                        Test::OneOf(values) => values.contains(&value),
                        // The only expression of these tests.
                        Test::Matches(_) => value.starts_with('5'),
                    }
                })
            };
            match scope {
                Scope::Span => of(&span.attributes),
                Scope::Resource => of(&span.resource),
                Scope::Any => of(&span.attributes) || of(&span.resource),
            }
        })),
        // Of powers of two, whose thresholds are exact.
        Condition::Probability(probability) => ALL - (ALL as f64 * probability) as u64,
        Condition::Rate { .. } => 0,
    }
}

/// A node as it is thought of.
struct Model {
    policies: Vec<Policy>,
    /// By tenant and trace: the threshold of one that is kept.
    decided: BTreeMap<(String, u128), Option<u64>>,
    /// By policy: what a rate has left, and up to when it was filled.
    left: Vec<(f64, Option<Duration>)>,
}

type Sent = (String, Vec<Plain>, Duration);

impl Model {
    /// The spans of these that are written, each with its threshold.
    fn flush(&mut self, sealed: &[Sent], live: &[Sent]) -> Vec<(u64, u64)> {
        let mut undecided: Vec<(String, u128)> = Vec::new();
        for (tenant, spans, _) in sealed {
            for span in spans {
                let trace = (tenant.clone(), span.trace);
                if !self.decided.contains_key(&trace) && !undecided.contains(&trace) {
                    undecided.push(trace);
                }
            }
        }
        let spans_of = |(tenant, trace): &(String, u128)| -> Vec<&Plain> {
            let batches = live.iter().filter(|(of, ..)| of == tenant);
            let spans = batches.flat_map(|(_, spans, _)| spans);
            spans.filter(|span| span.trace == *trace).collect()
        };
        let traces: Vec<Vec<&Plain>> = undecided.iter().map(spans_of).collect();
        let mut thresholds = vec![ALL; traces.len()];
        let rejects = |policy: &Policy, trace: &[&Plain]| {
            let conditions = policy.conditions.iter();
            conditions.map(|of| rejected(of, trace)).max().expect("one")
        };
        let rate_of = |policy: &Policy| {
            policy.conditions.iter().find_map(|of| match of {
                Condition::Rate { of, per_second } => Some((*of, *per_second)),
                _ => None,
            })
        };
        for policy in self.policies.iter().filter(|of| rate_of(of).is_none()) {
            for (trace, threshold) in traces.iter().zip(&mut thresholds) {
                *threshold = (*threshold).min(rejects(policy, trace));
            }
        }
        let oldest = sealed.iter().map(|(.., at)| *at).min().expect("a batch");
        let newest = sealed.iter().map(|(.., at)| *at).max().expect("a batch");
        for (policy, (tokens, upto)) in self.policies.iter().zip(&mut self.left) {
            let Some((of, per_second)) = rate_of(policy) else {
                continue;
            };
            let window = (newest - oldest).as_secs_f64() + 1.0;
            let passed = upto.map_or(window, |upto| newest.saturating_sub(upto).as_secs_f64());
            *tokens = (*tokens + per_second * passed).min(per_second * window);
            *upto = Some(newest.max(upto.unwrap_or_default()));
            // One after the other, the highest first, until there is nothing left.
            let mut passes = 0;
            let mut spent = 0.0;
            let mut candidates: Vec<(u64, f64)> = Vec::new();
            for (trace, threshold) in traces.iter().zip(&thresholds) {
                let randomness = randomness(trace);
                if randomness < *threshold && randomness >= rejects(policy, trace) {
                    let cost = match of {
                        Rated::Traces => 1.0,
                        Rated::Spans => trace.len() as f64,
                    };
                    candidates.push((randomness, cost));
                }
            }
            candidates.sort_by_key(|(randomness, _)| std::cmp::Reverse(*randomness));
            for (randomness, cost) in &candidates {
                if *tokens - spent <= 0.0 {
                    passes = randomness + 1;
                    break;
                }
                spent += cost;
            }
            let kept = candidates.iter().filter(|(of, _)| *of >= passes);
            *tokens -= kept.map(|(_, cost)| cost).sum::<f64>();
            for (trace, threshold) in traces.iter().zip(&mut thresholds) {
                let rejects = rejects(policy, trace).max(passes);
                *threshold = (*threshold).min(rejects);
            }
        }
        for ((trace, spans), threshold) in undecided.iter().zip(&traces).zip(thresholds) {
            let is_kept = randomness(spans) >= threshold;
            self.decided
                .insert(trace.clone(), is_kept.then_some(threshold));
        }
        let mut written = Vec::new();
        for (tenant, spans, _) in sealed {
            for span in spans {
                if let Some(threshold) = self.decided[&(tenant.clone(), span.trace)] {
                    // None of these spans was sampled before.
                    written.push((span.id, threshold));
                }
            }
        }
        written
    }
}

fn random_condition(chance: &mut Chance) -> Condition {
    match chance.below(8) {
        0 => Condition::Status(vec![2]),
        1 => Condition::Latency {
            of: Measured::Span,
            at_least_ns: 80_000_000,
        },
        2 => Condition::Latency {
            of: Measured::Trace,
            at_least_ns: 150_000_000,
        },
        3 | 4 => Condition::Attribute {
            key: if chance.one_in(2) { "code" } else { "team" }.to_owned(),
            scope: [Scope::Any, Scope::Span, Scope::Resource][chance.below(3) as usize],
            test: match chance.below(3) {
                0 => Test::Present,
                1 => Test::OneOf(vec!["blue".to_owned(), "503".to_owned(), "true".to_owned()]),
                _ => Test::Matches("^5".to_owned()),
            },
        },
        5 => Condition::Rate {
            of: if chance.one_in(2) {
                Rated::Traces
            } else {
                Rated::Spans
            },
            per_second: 1.0 + chance.below(6) as f64,
        },
        _ => Condition::Probability(1.0 / f64::from(1 << chance.below(4) as u32)),
    }
}

fn random_policies(chance: &mut Chance) -> Vec<Policy> {
    let count = 1 + chance.below(4);
    let conditions = |chance: &mut Chance| {
        let mut conditions: Vec<Condition> = Vec::new();
        for _ in 0..=chance.below(3) {
            let condition = random_condition(chance);
            let is_rate = |of: &Condition| matches!(of, Condition::Rate { .. });
            if !(is_rate(&condition) && conditions.iter().any(is_rate)) {
                conditions.push(condition);
            }
        }
        conditions
    };
    (0..count)
        .map(|at| policy(&format!("policy {at}"), conditions(chance)))
        .collect()
}

fn random_span(chance: &mut Chance, traces: &[(u128, &str)], id: u64) -> Plain {
    let (trace, state) = traces[chance.below(traces.len() as u64) as usize];
    let mut attributes = Vec::new();
    if chance.one_in(6) {
        let codes = [503, 200, 510];
        attributes.push(("code", Value::Int(codes[chance.below(3) as usize])));
    }
    if chance.one_in(6) {
        attributes.push(("team", Value::Bool(chance.one_in(2))));
    }
    let mut resource = Vec::new();
    if chance.one_in(6) {
        let teams = ["blue", "red"];
        resource.push(("team", Value::Text(teams[chance.below(2) as usize])));
    }
    Plain {
        trace,
        id,
        state: state.to_owned(),
        status: if chance.one_in(10) { 2 } else { 0 },
        start: chance.below(200),
        duration: chance.below(90),
        attributes,
        resource,
    }
}

fn round(seed: u64) {
    let mut chance = Chance::new(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let policies = random_policies(&mut chance);
    let config = SampleConfig {
        policies: policies.clone(),
        ..SampleConfig::default()
    };
    let mut model = Model {
        left: vec![(0.0, None); policies.len()],
        policies,
        decided: BTreeMap::new(),
    };
    let mut node = Node::open(folder.path(), &config);
    let states = [
        "",
        "",
        "",
        "vendor=x",
        "ot=rv:f1234567890abc",
        "ot=rv:31234567890abc",
    ];
    let traces: Vec<(u128, &str)> = (0..40)
        .map(|_| {
            let id = (u128::from(chance.number()) << 64) | u128::from(chance.number());
            (id | 1 << 100, states[chance.below(6) as usize])
        })
        .collect();
    let (mut live, mut sequence, mut id): (Vec<(Batch, Sent)>, u64, u64) = (Vec::new(), 0, 0);
    for _ in 0..30 {
        let now = node.clock.monotonic() + Duration::from_millis(chance.below(3_000));
        node.clock.at(now);
        for _ in 0..chance.below(4) {
            let tenant = if chance.one_in(5) { "red" } else { "blue" };
            let spans: Vec<Plain> = (0..1 + chance.below(12))
                .map(|_| {
                    id += 1;
                    random_span(&mut chance, &traces, id)
                })
                .collect();
            sequence += 1;
            let batch = batch_of(sequence, tenant, &spans, now);
            live.push((batch, (tenant.to_owned(), spans, now)));
        }
        if chance.one_in(6) {
            drop(node);
            node = Node::open(folder.path(), &config);
            node.clock.at(now);
            // A start knows nothing of what rates have left.
            model.left.fill((0.0, None));
        }
        let sealed = chance.below(live.len() as u64 + 1) as usize;
        if sealed == 0 {
            continue;
        }
        let (batches, sent): (Vec<Batch>, Vec<Sent>) = live.iter().cloned().unzip();
        let written = node.flush(&batches[..sealed], &batches[sealed..]);
        let told: Vec<(u64, u64)> = written
            .iter()
            .map(|(id, state)| (*id, sampling(state).threshold.unwrap_or(0)))
            .collect();
        let expected = model.flush(&sent[..sealed], &sent);
        assert_eq!(told, expected, "seed {seed}, {:?}", model.policies);
        live.drain(..sealed);
    }
}

#[test]
fn a_random_load_is_decided_as_it_is_said_plainly() {
    let first = std::env::var("OTLAKE_SAMPLE_SEED").map_or(1, |seed| seed.parse().expect("a seed"));
    println!("OTLAKE_SAMPLE_SEED={first}, {ROUNDS} rounds");
    for seed in first..first + ROUNDS {
        round(seed);
    }
}
