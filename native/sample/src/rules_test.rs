//! Each condition by itself, and what is refused.

use otlake_base::{Code, limits};

use crate::testing::{Node, Plain, Value, batch, config, policy};
use crate::{Condition, Measured, Policy, Rated, Sampler, Scope, Test};

const HIGH: u128 = 0x00ff_ffff_ffff_ffff;
const LOW: u128 = 1;

/// Traces with one span each, which has the trace's number for its id.
fn one_each(spans: Vec<Plain>) -> Vec<Plain> {
    let numbered = spans.into_iter().zip(1..);
    numbered
        .map(|(span, number)| Plain {
            trace: (u128::from(number) << 64) | HIGH,
            id: number,
            ..span
        })
        .collect()
}

/// Which of these spans, traces of their own, one policy keeps.
fn kept(conditions: Vec<Condition>, spans: Vec<Plain>) -> Vec<u64> {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::open(folder.path(), &config(vec![policy("one", conditions)]));
    node.kept(&[batch(1, &one_each(spans))], &[])
}

#[test]
fn a_status_keeps_traces_with_a_span_that_has_one_of_those_named() {
    let spans = || {
        let status = |status| Plain {
            status,
            ..Plain::default()
        };
        vec![status(0), status(1), status(2)]
    };
    assert_eq!(kept(vec![Condition::Status(vec![2])], spans()), [3]);
    assert_eq!(kept(vec![Condition::Status(vec![0, 1])], spans()), [1, 2]);
}

#[test]
fn a_latency_is_of_any_span_or_of_the_trace_from_its_first_start_to_its_last_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let span = |trace: u128, id, start, duration| Plain {
        trace: (trace << 64) | HIGH,
        id,
        start,
        duration,
        ..Plain::default()
    };
    let spans = [
        span(1, 1, 0, 99),
        span(2, 2, 0, 100),
        span(3, 3, 500, 10),
        span(3, 4, 410, 5),
        span(4, 5, 500, 10),
        span(4, 6, 411, 5),
    ];
    for (of, expected) in [(Measured::Span, vec![2]), (Measured::Trace, vec![2, 3, 4])] {
        let at_least_ns = 100_000_000;
        let latency = Condition::Latency { of, at_least_ns };
        let node = Node::open(
            &folder.path().join(format!("{of:?}")),
            &config(vec![policy("slow", vec![latency])]),
        );
        assert_eq!(node.kept(&[batch(1, &spans)], &[]), expected, "{of:?}");
    }
}

fn attribute(key: &str, scope: Scope, test: Test) -> Vec<Condition> {
    let key = key.to_owned();
    vec![Condition::Attribute { key, scope, test }]
}

#[test]
fn an_attribute_is_looked_for_in_the_span_or_its_resource_as_it_is_told() {
    let spans = || {
        let of = |own: Option<&'static str>, of_resource: Option<&'static str>| {
            let attribute = |value: Option<&'static str>| {
                let value = value.map(|value| ("k", Value::Text(value)));
                value.into_iter().collect()
            };
            Plain {
                attributes: attribute(own),
                resource: attribute(of_resource),
                ..Plain::default()
            }
        };
        vec![
            of(None, None),
            of(Some("a"), None),
            of(None, Some("a")),
            of(Some("b"), Some("a")),
            of(Some(""), None),
        ]
    };
    let one = || Test::OneOf(vec!["a".to_owned(), "c".to_owned()]);
    for (scope, expected) in [
        (Scope::Any, vec![2, 3, 4]),
        (Scope::Span, vec![2]),
        (Scope::Resource, vec![3, 4]),
    ] {
        assert_eq!(kept(attribute("k", scope, one()), spans()), expected);
    }
    let present = |scope| kept(attribute("k", scope, Test::Present), spans());
    assert_eq!(present(Scope::Any), [2, 3, 4]);
    assert_eq!(present(Scope::Span), [2, 4]);
    assert!(kept(attribute("K", Scope::Any, one()), spans()).is_empty());
}

#[test]
fn values_are_compared_as_json_writes_them_and_expressions_match_anywhere() {
    let spans = || {
        let of = |value| Plain {
            attributes: vec![("other", Value::Text("x")), ("k", value)],
            ..Plain::default()
        };
        vec![
            of(Value::Int(503)),
            of(Value::Int(200)),
            of(Value::Bool(true)),
            of(Value::Text("say \"503\"\n")),
        ]
    };
    let of = |test| kept(attribute("k", Scope::Span, test), spans());
    let one = |value: &str| Test::OneOf(vec![value.to_owned()]);
    assert_eq!(of(one("503")), [1]);
    assert_eq!(of(one("true")), [3]);
    assert_eq!(of(one("say \"503\"\n")), [4]);
    assert_eq!(of(Test::Matches("^5..$".to_owned())), [1]);
    assert_eq!(of(Test::Matches("50".to_owned())), [1, 4]);
}

#[test]
fn all_conditions_of_a_policy_hold_each_by_any_span_of_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let conditions = vec![
        Condition::Status(vec![2]),
        Condition::Latency {
            of: Measured::Span,
            at_least_ns: 50_000_000,
        },
        Condition::Probability(0.5),
    ];
    let node = Node::open(folder.path(), &config(vec![policy("and", conditions)]));
    let span = |trace: u128, id, status, duration| Plain {
        trace,
        id,
        status,
        duration,
        ..Plain::default()
    };
    let (high, low) = (
        |trace: u128| (trace << 64) | HIGH,
        |trace: u128| (trace << 64) | LOW,
    );
    let spans = [
        span(high(1), 1, 2, 1),
        span(high(1), 2, 0, 60),
        span(high(2), 3, 2, 1),
        span(high(3), 4, 0, 60),
        span(low(4), 5, 2, 60),
    ];
    let written = node.flush(&[batch(1, &spans)], &[]);
    let marked = |id| (id, "ot=th:8".to_owned());
    assert_eq!(written, [marked(1), marked(2)]);
}

#[test]
fn policies_that_cannot_be_used_are_refused_with_their_name_and_the_fix() {
    let refused = |policies: Vec<Policy>| {
        let error = Sampler::check(&policies).expect_err("it is refused");
        assert_eq!(error.code, Code::ConfigInvalid);
        assert!(error.message.contains("sampling.policies"));
        error.message
    };
    let of = |condition| refused(vec![policy("mine", vec![condition])]);
    for (condition, fix) in [
        (Condition::Status(Vec::new()), "name `error`"),
        (Condition::Probability(0.0), "above 0"),
        (Condition::Probability(1.5), "1 at most"),
        (Condition::Probability(f64::NAN), "above 0"),
        (
            Condition::Rate {
                of: Rated::Traces,
                per_second: 0.0,
            },
            "above 0",
        ),
        (
            attribute("a\"b", Scope::Any, Test::Present).remove(0),
            "without quotes",
        ),
        (
            attribute("k", Scope::Any, Test::OneOf(Vec::new())).remove(0),
            "name some",
        ),
        (
            attribute("k", Scope::Any, Test::Matches("(".to_owned())).remove(0),
            "regular expression to correct",
        ),
        (
            attribute("k", Scope::Any, Test::Matches("(a{1000}){1000}".to_owned())).remove(0),
            "regular expression to correct",
        ),
    ] {
        let message = of(condition.clone());
        assert!(message.contains("`mine`"), "{condition:?}: {message}");
        assert!(message.contains(fix), "{condition:?}: {message}");
    }
    let rate = || Condition::Rate {
        of: Rated::Spans,
        per_second: 1.0,
    };
    let error = || vec![Condition::Status(vec![2])];
    assert!(refused(vec![policy("two", vec![rate(), rate()])]).contains("leave one out"));
    assert!(refused(vec![policy("none", error())]).contains("give it another"));
    assert!(refused(vec![policy("a", Vec::new())]).contains("give it one"));
    assert!(refused(vec![policy("a", error()), policy("a", error())]).contains("its own name"));
    let most = limits::SAMPLING_MAX_POLICIES;
    let many = |count: usize| {
        (0..count)
            .map(|at| policy(&format!("p{at}"), error()))
            .collect()
    };
    assert!(refused(many(most + 1)).contains(&format!("give {most} at most")));
    assert!(Sampler::check(&many(most)).is_ok());
    let conditions = vec![Condition::Status(vec![2]); limits::SAMPLING_MAX_CONDITIONS];
    assert!(Sampler::check(&[policy("all", conditions.clone())]).is_ok());
    let message = refused(vec![policy("all", conditions), policy("more", error())]);
    assert!(message.contains("`more`") && message.contains("leave some out"));
}
