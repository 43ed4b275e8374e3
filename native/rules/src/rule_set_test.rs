use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use otlake_base::{Metrics, Signal};

use crate::config::{Action, Redaction};
use crate::testing::{
    Record, Value, apply, column, decode, int, pair, plan, redact, rename, request, rule, ruled,
    set, text,
};

fn record(at: u64, attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> Record {
    Record {
        resource: vec![text("service.name", "checkout"), text("host.name", "a.b")],
        attributes,
        name: format!("operation {at}"),
        number: 2,
        at,
        ..Record::default()
    }
}

fn mask() -> Redaction {
    Redaction::Text("***".into())
}

#[test]
fn rows_are_dropped_where_the_condition_is_true_and_not_where_it_is_null() {
    let records = [
        record(0, vec![text("http.route", "/healthz")]),
        record(1, vec![text("http.route", "/cart")]),
        record(2, vec![]),
        record(3, vec![text("http.route", "/healthz")]),
    ];
    let health = "http_route = '/healthz'";
    let left = ruled(
        Signal::Traces,
        &records,
        &[rule(Signal::Traces, Some(health), Action::Drop)],
    )
    .expect("rows");
    assert_eq!(column(&left, "name"), ["operation 1", "operation 2"]);
    let all = [rule(Signal::Traces, Some("true"), Action::Drop)];
    assert!(ruled(Signal::Traces, &records, &all).is_none());
}

#[test]
fn a_redacted_attribute_is_redacted_in_the_column_that_says_the_same() {
    let records = [
        record(0, vec![text("http.route", "/users/7"), int("n", 5)]),
        record(1, vec![text("other", "x")]),
    ];
    let rules = [rule(
        Signal::Traces,
        None,
        redact(
            &[
                "attributes['http.*']",
                "resource_attributes['service.name']",
            ],
            mask(),
        ),
    )];
    let rows = ruled(Signal::Traces, &records, &rules).expect("rows");
    assert_eq!(column(&rows, "http_route"), ["***", ""]);
    assert_eq!(column(&rows, "service_name"), ["***", "***"]);
    assert_eq!(
        column(&rows, "attributes"),
        [r#"{"http.route":"***","n":5}"#, r#"{"other":"x"}"#]
    );
    let removed = [rule(
        Signal::Traces,
        None,
        redact(&["attributes['http.route']"], Redaction::Remove),
    )];
    let rows = ruled(Signal::Traces, &records, &removed).expect("rows");
    assert_eq!(column(&rows, "http_route"), ["", ""]);
    assert!(rows.column_by_name("http_route").expect("it").is_null(0));
    assert_eq!(column(&rows, "attributes")[0], r#"{"n":5}"#);
}

#[test]
fn hashes_are_those_of_the_texts_content_and_need_the_key_where_they_have_one() {
    let records = [record(0, vec![text("mail", "a\"b"), int("n", 5)])];
    let hashed = |by| {
        let rules = [rule(Signal::Traces, None, redact(&["attributes['*']"], by))];
        column(
            &ruled(Signal::Traces, &records, &rules).expect("rows"),
            "attributes",
        )
        .remove(0)
    };
    // printf 'a"b' | sha256sum; printf 5 | sha256sum
    let mail = "39a012772dd5c3accbc56923093422896d41ac882e3cd66914bc584c7aac966f";
    let five = "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d";
    let text = hashed(Redaction::Sha256);
    assert_eq!(text, format!(r#"{{"mail":"{mail}","n":"{five}"}}"#));
    assert_eq!(text, hashed(Redaction::Sha256));
    let keyed = hashed(Redaction::HmacSha256(b"a key".to_vec()));
    assert_eq!(keyed.len(), text.len());
    assert_ne!(keyed, text);
    assert_ne!(keyed, hashed(Redaction::HmacSha256(b"another".to_vec())));
}

#[test]
fn text_of_every_signal_is_redacted_and_a_body_that_was_structured_is_text() {
    let record = Record {
        body: Some(Value::IntValue(5)),
        message: "secret".into(),
        nested: vec![vec![text("card", "4111")], vec![int("n", 1)]],
        links: vec![vec![text("card", "4111")]],
        metadata: vec![text("card", "4111")],
        ..record(0, vec![text("card", "4111")])
    };
    let records = [record];
    let all = |signal, targets: &[&str]| {
        let rules = [rule(signal, None, redact(targets, mask()))];
        ruled(signal, &records, &rules).expect("rows")
    };
    let rows = all(
        Signal::Traces,
        &[
            "name",
            "status_message",
            "events.attributes['card']",
            "links.attributes['*']",
        ],
    );
    assert_eq!(column(&rows, "name"), ["***"]);
    assert_eq!(column(&rows, "status_message"), ["***"]);
    assert!(column(&rows, "events")[0].contains(r#"{"card":"***"}"#));
    assert!(column(&rows, "events")[0].contains(r#"{"n":1}"#));
    assert!(column(&rows, "links")[0].contains(r#"{"card":"***"}"#));
    let rows = all(Signal::Logs, &["body", "severity_text"]);
    assert_eq!(column(&rows, "body"), ["***"]);
    assert!(rows.column_by_name("body_value").expect("it").is_null(0));
    assert_eq!(column(&rows, "severity_text"), ["***"]);
    let rows = all(
        Signal::Metrics,
        &[
            "unit",
            "metadata['card']",
            "exemplars.filtered_attributes['card']",
        ],
    );
    assert_eq!(column(&rows, "unit"), ["***"]);
    assert_eq!(column(&rows, "metadata"), [r#"{"card":"***"}"#]);
    assert!(column(&rows, "exemplars")[0].contains(r#"{"card":"***"}"#));
}

#[test]
fn a_rename_leaves_a_record_alone_that_has_the_new_name() {
    let records = [
        record(
            0,
            vec![int("a", 1), text("http.method", "GET"), int("b", 2)],
        ),
        record(
            1,
            vec![
                text("http.method", "old"),
                text("http.request.method", "new"),
            ],
        ),
        record(2, vec![int("a", 1)]),
    ];
    let change = ("attributes['http.method']", "http.request.method");
    let rules = [rule(Signal::Traces, None, rename(&[change]))];
    let rows = ruled(Signal::Traces, &records, &rules).expect("rows");
    assert_eq!(
        column(&rows, "attributes"),
        [
            r#"{"a":1,"http.request.method":"GET","b":2}"#,
            r#"{"http.method":"old","http.request.method":"new"}"#,
            r#"{"a":1}"#
        ]
    );
    assert_eq!(column(&rows, "http_request_method"), ["GET", "old", ""]);
}

#[test]
fn values_are_set_with_their_types_and_nulls_set_nothing() {
    let records = [
        record(0, vec![text("tier", "old"), text("tier", "twice")]),
        record(1, vec![]),
    ];
    let rules = [rule(
        Signal::Traces,
        None,
        set(&[
            (
                "attributes['tier']",
                "CASE WHEN name LIKE '%0' THEN 'go\"ld' END",
            ),
            ("attributes['ms']", "duration_ns / 1000000"),
            ("attributes['ratio']", "CAST(kind AS DOUBLE)"),
            ("attributes['slow']", "duration_ns > 1"),
            ("attributes['http.route']", "'/' || name"),
            ("attributes['http.response.status_code']", "200 + kind"),
            ("resource_attributes['service.name']", "upper(service_name)"),
            ("name", "name || '!'"),
            ("kind", "kind + 1"),
            ("status_message", "'because'"),
        ]),
    )];
    let rows = ruled(Signal::Traces, &records, &rules).expect("rows");
    let rest = |row| {
        format!(
            r#""ms":1,"ratio":2.0,"slow":true,"http.route":"/operation {row}","http.response.status_code":202}}"#
        )
    };
    assert_eq!(
        column(&rows, "attributes"),
        [
            format!(r#"{{"tier":"go\"ld",{}"#, rest(0)),
            format!("{{{}", rest(1))
        ]
    );
    assert_eq!(
        column(&rows, "http_route"),
        ["/operation 0", "/operation 1"]
    );
    assert_eq!(column(&rows, "http_response_status_code"), ["202", "202"]);
    assert_eq!(column(&rows, "service_name"), ["CHECKOUT", "CHECKOUT"]);
    assert_eq!(
        column(&rows, "resource_attributes")[1],
        r#"{"service.name":"CHECKOUT","host.name":"a.b"}"#
    );
    assert_eq!(column(&rows, "name"), ["operation 0!", "operation 1!"]);
    assert_eq!(column(&rows, "kind"), ["3", "3"]);
    assert_eq!(column(&rows, "status_message"), ["because", "because"]);
    let emptied = [rule(Signal::Traces, None, set(&[("status_message", "''")]))];
    let rows = ruled(Signal::Traces, &records, &emptied).expect("rows");
    assert!(
        rows.column_by_name("status_message")
            .expect("it")
            .is_null(0)
    );
}

#[test]
fn a_log_body_is_set_and_its_typed_value_goes() {
    let records = [Record {
        body: Some(Value::IntValue(7)),
        ..record(0, vec![])
    }];
    let value = "regexp_replace(body, '[0-9]+', 'N')";
    let rules = [rule(
        Signal::Logs,
        None,
        set(&[("body", value), ("severity_number", "9")]),
    )];
    let rows = ruled(Signal::Logs, &records, &rules).expect("rows");
    assert_eq!(column(&rows, "body"), ["N"]);
    assert!(rows.column_by_name("body_value").expect("it").is_null(0));
    assert_eq!(column(&rows, "severity_number"), ["9"]);
}

#[test]
fn points_that_a_rule_makes_of_one_series_have_the_id_of_one() {
    let records: Vec<Record> = (0..6)
        .map(|at| Record {
            name: "load".into(),
            ..record(at, vec![int("pod", at as i64), text("az", "a")])
        })
        .collect();
    let rules = [rule(
        Signal::Metrics,
        None,
        redact(&["attributes['pod']"], Redaction::Remove),
    )];
    let rows = ruled(Signal::Metrics, &records, &rules).expect("rows");
    let ids = rows.column_by_name("series_id").expect("it");
    let ids = ids.as_primitive::<Int64Type>().values().to_vec();
    let plain = [Record {
        name: "load".into(),
        ..record(0, vec![text("az", "a")])
    }];
    let expected = decode(Signal::Metrics, &request(Signal::Metrics, &plain, false));
    let expected = expected[0]
        .1
        .column_by_name("series_id")
        .expect("it")
        .clone();
    assert_eq!(ids, [expected.as_primitive::<Int64Type>().value(0); 6]);
}

#[test]
fn each_rule_sees_what_those_before_it_left() {
    let records = [
        record(0, vec![text("a", "1")]),
        record(1, vec![text("a", "2")]),
    ];
    let rules = [
        rule(Signal::Traces, None, rename(&[("attributes['a']", "b")])),
        rule(
            Signal::Traces,
            Some("attributes['b'] = '1'"),
            set(&[("attributes['c']", "attributes['b'] || 'x'")]),
        ),
        rule(
            Signal::Traces,
            Some("attributes['c'] IS NULL"),
            Action::Drop,
        ),
    ];
    let mut named = rules.to_vec();
    for (at, rule) in named.iter_mut().enumerate() {
        rule.name = format!("rule {at}");
    }
    let rows = ruled(Signal::Traces, &records, &named).expect("rows");
    assert_eq!(column(&rows, "attributes"), [r#"{"b":"1","c":"1x"}"#]);
}

#[test]
fn rows_that_an_expression_fails_on_stay_as_they_are_and_are_counted() {
    let value = |at: u64| match at % 100 {
        7 => "not a number".to_owned(),
        _ => at.to_string(),
    };
    let records: Vec<Record> = (0..300)
        .map(|at| record(at, vec![text("n", &value(at))]))
        .collect();
    let metrics = Metrics::new();
    let number = "CAST(attributes['n'] AS BIGINT)";
    let odd = format!("{number} % 2 = 1");
    let rules = plan(&[rule(Signal::Traces, Some(&odd), Action::Drop)], &metrics);
    let decoded = decode(Signal::Traces, &request(Signal::Traces, &records, false));
    let left = apply(&*rules, decoded.clone());
    let left = column(&left[0].rows, "start_time_unix_nano");
    let expected: Vec<String> = (0..300)
        .filter(|at| at % 100 == 7 || at % 2 == 0)
        .map(|at: u64| at.to_string())
        .collect();
    assert_eq!(left, expected);
    let [dropped, changed, _, failed] = metrics.rules.of("a rule");
    assert_eq!((dropped.get(), changed.get(), failed.get()), (147, 0, 3));

    // The rows that a condition leaves out cannot fail.
    let metrics = Metrics::new();
    let double = format!("{number} * 2");
    let change = ("attributes['double']", double.as_str());
    let numbers = "attributes['n'] ~ '^[0-9]+$' OR start_time_unix_nano = 107";
    let rules = plan(
        &[rule(
            Signal::Traces,
            Some(numbers),
            set(&[change, ("name", "'set'")]),
        )],
        &metrics,
    );
    let rows = apply(&*rules, decoded);
    let attributes = column(&rows[0].rows, "attributes");
    let names = column(&rows[0].rows, "name");
    assert_eq!(attributes[6], r#"{"n":"6","double":12}"#);
    // A rule is whole or not at all.
    assert_eq!(attributes[107], r#"{"n":"not a number"}"#);
    assert_eq!(names[107], "operation 107");
    assert_eq!(names[106], "set");
    let [dropped, changed, _, failed] = metrics.rules.of("a rule");
    assert_eq!((dropped.get(), changed.get(), failed.get()), (0, 297, 1));
}

#[test]
fn rows_that_all_fail_are_all_there_and_the_tries_are_bounded() {
    let records: Vec<Record> = (0..5_000)
        .map(|at| record(at, vec![pair("n", Value::StringValue("x".into()))]))
        .collect();
    let metrics = Metrics::new();
    let when = "CAST(attributes['n'] AS BIGINT) = 1";
    let rules = plan(&[rule(Signal::Traces, Some(when), Action::Drop)], &metrics);
    let decoded = decode(Signal::Traces, &request(Signal::Traces, &records, false));
    let left = apply(&*rules, decoded);
    assert_eq!(left[0].rows.num_rows(), 5_000);
    let [.., failed] = metrics.rules.of("a rule");
    assert_eq!(failed.get(), 5_000);
}

#[test]
fn a_number_that_is_too_large_for_its_column_is_a_failure() {
    let records = [record(0, vec![])];
    let metrics = Metrics::new();
    let change = ("kind", "start_time_unix_nano + 5000000000");
    let rules = plan(&[rule(Signal::Traces, None, set(&[change]))], &metrics);
    let decoded = decode(Signal::Traces, &request(Signal::Traces, &records, false));
    let rows = apply(&*rules, decoded);
    assert_eq!(column(&rows[0].rows, "kind"), ["2"]);
    let [.., failed] = metrics.rules.of("a rule");
    assert_eq!(failed.get(), 1);
}

#[test]
fn what_is_left_of_a_batch_does_not_hold_on_to_the_text_of_what_is_not() {
    let long = "x".repeat(1_000);
    let records: Vec<Record> = (0..1_000)
        .map(|at| Record {
            nested: vec![vec![text("long", &long)]],
            ..record(at, vec![text("long", &long)])
        })
        .collect();
    let when = Some("start_time_unix_nano % 100 <> 0");
    let rules = [rule(Signal::Traces, when, Action::Drop)];
    let rows = ruled(Signal::Traces, &records, &rules).expect("rows");
    assert_eq!(rows.num_rows(), 10);
    assert!(rows.get_array_memory_size() < 200_000);
    let kept: Vec<Record> = records.into_iter().step_by(100).collect();
    let expected = decode(Signal::Traces, &request(Signal::Traces, &kept, false));
    assert_eq!(rows, expected[0].1);
}
