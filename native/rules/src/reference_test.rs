//! Random records under random rules, against the same changes made to the OTLP messages one by one: what
//! then is decoded of them is what the rules must have made of the columns.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use otlake_base::{Metrics, Signal, Table, TableRows};

use crate::config::{Action, Redaction, RuleConfig};
use crate::testing::{
    Record, SENDER, Value, any, apply, decode, decode_of, pair, plan, redact, rename, request,
    route, rule, set,
};

/// The first seed; printed, and taken from `OTLAKE_RULES_SEED`.
const SEED: u64 = 1;
const ROUNDS: u64 = 400;

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const KEYS: [&str; 9] = [
    "http.route",
    "http.method",
    "http.request.method",
    "http.response.status_code",
    "service.name",
    "user",
    "user.mail",
    "needs \"quotes\"",
    "",
];

fn value(random: &mut Random) -> Value {
    let texts = [
        "",
        "a",
        "GET",
        "line\nbreak \"x\" \\",
        "a longer text than a view holds",
        "ü€",
    ];
    match random.below(8) {
        0 => Value::IntValue(random.below(600) as i64),
        1 => Value::DoubleValue(random.one(&[0.5, -0.0, f64::NAN, 1e300])),
        2 => Value::BoolValue(true),
        3 => Value::BytesValue(vec![1, 2, 255]),
        4 => Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
            values: vec![any(Value::IntValue(1)), any(Value::StringValue("}".into()))],
        }),
        _ => Value::StringValue(random.one(&texts).into()),
    }
}

fn attributes(random: &mut Random) -> Vec<KeyValue> {
    let mut attributes: Vec<KeyValue> = Vec::new();
    for _ in 0..random.below(6) {
        let key = random.one(&KEYS);
        // Once in a while a key stands twice.
        if random.below(8) == 0 || attributes.iter().all(|known| known.key != key) {
            attributes.push(pair(key, value(random)));
        }
    }
    attributes
}

fn records(random: &mut Random) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for at in 0..1 + random.below(40) {
        let before = records.last().filter(|_| random.below(3) > 0);
        let (resource, scope) = match before {
            Some(before) => (before.resource.clone(), before.scope.clone()),
            None => {
                let scope = opentelemetry_proto::tonic::common::v1::InstrumentationScope {
                    name: random.one(&["", "scope"]).into(),
                    version: random.one(&["", "1.0"]).into(),
                    attributes: attributes(random),
                    ..Default::default()
                };
                (attributes(random), scope)
            }
        };
        let nested = (0..random.below(3)).map(|_| attributes(random)).collect();
        let links = (0..random.below(3)).map(|_| attributes(random)).collect();
        records.push(Record {
            resource,
            scope,
            attributes: attributes(random),
            nested,
            links,
            name: random
                .one(&["GET /", "a long name, longer than a view", "x"])
                .into(),
            message: random
                .one(&["", "failed", "a long message, longer than a view"])
                .into(),
            number: random.below(5) as i32,
            body: random.one(&[
                None,
                Some(Value::StringValue("text 5".into())),
                Some(Value::IntValue(3)),
            ]),
            metadata: attributes(random),
            at: at as u64,
            tenant: SENDER.into(),
        });
    }
    records
}

type Is = fn(&Record) -> bool;
type Change = Box<dyn Fn(&mut Record)>;
type Matches = fn(&str) -> bool;

fn first<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

/// A condition as SQL, and as it is meant.
fn condition(random: &mut Random) -> (Option<&'static str>, Is) {
    let conditions: [(Option<&str>, Is); 9] = [
        (None, |_| true),
        (Some("true"), |_| true),
        (Some("false"), |_| false),
        (Some("scope_name = 'scope'"), |record| {
            record.scope.name == "scope"
        }),
        (Some("attributes['user'] = 'a'"), |record| {
            first(&record.attributes, "user") == Some(&Value::StringValue("a".into()))
        }),
        (
            Some("attr_int(attributes, 'http.response.status_code') >= 300"),
            |record| {
                let code = first(&record.attributes, "http.response.status_code");
                matches!(code, Some(Value::IntValue(code)) if *code >= 300)
            },
        ),
        (Some("tenant = 'a'"), |record| record.tenant == SENDER),
        (Some("tenant <> 'archive'"), |record| {
            record.tenant != "archive"
        }),
        (Some("attributes['http.route'] IS NULL"), |record| {
            first(&record.attributes, "http.route").is_none()
        }),
    ];
    random.one(&conditions)
}

fn redacted(attributes: &mut Vec<KeyValue>, matches: Matches, by: &Option<String>) {
    match by {
        None => attributes.retain(|attribute| !matches(&attribute.key)),
        Some(by) => {
            for attribute in attributes
                .iter_mut()
                .filter(|attribute| matches(&attribute.key))
            {
                attribute.value = Some(any(Value::StringValue(by.clone())));
            }
        }
    }
}

fn renamed(attributes: &mut [KeyValue], from: &str, to: &str) {
    if attributes.iter().all(|attribute| attribute.key != to) {
        for attribute in attributes
            .iter_mut()
            .filter(|attribute| attribute.key == from)
        {
            attribute.key = to.into();
        }
    }
}

fn put(attributes: &mut Vec<KeyValue>, key: &str, value: Value) {
    let value: Option<AnyValue> = Some(any(value));
    match attributes.iter().position(|attribute| attribute.key == key) {
        None => attributes.push(KeyValue {
            key: key.into(),
            value,
            ..KeyValue::default()
        }),
        Some(at) => {
            attributes[at].value = value;
            let mut place = 0;
            attributes.retain(|attribute| {
                place += 1;
                attribute.key != key || place == at + 1
            });
        }
    }
}

/// An action, and as it is meant; none drops.
fn action(signal: Signal, random: &mut Random) -> (Action, Option<Change>) {
    let keys: [(&str, Matches); 5] = [
        ("user", |key| key == "user"),
        ("http.*", |key| key.starts_with("http.")),
        ("*method", |key| key.ends_with("method")),
        ("*", |_| true),
        ("service.name", |key| key == "service.name"),
    ];
    match random.below(9) {
        0 => (Action::Drop, None),
        7 | 8 => {
            let tenant = random.one(&[SENDER, "archive", "a-tenant-with-a-long-name"]);
            let change = move |record: &mut Record| record.tenant = tenant.into();
            (route(tenant), Some(Box::new(change)))
        }
        1 | 2 => {
            let (key, matches) = random.one(&keys);
            let by = random.one(&[
                None,
                Some("***".to_owned()),
                Some("a longer text, with \"".into()),
            ]);
            let redaction = by.clone().map_or(Redaction::Remove, Redaction::Text);
            let nested = match signal {
                Signal::Traces => "events.attributes",
                Signal::Logs => "attributes",
                Signal::Metrics => "exemplars.filtered_attributes",
            };
            let places = [
                "attributes",
                "resource_attributes",
                "scope_attributes",
                nested,
            ];
            let targets: Vec<String> = places
                .iter()
                .map(|place| format!("{place}['{key}']"))
                .collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let change = move |record: &mut Record| {
                redacted(&mut record.attributes, matches, &by);
                redacted(&mut record.resource, matches, &by);
                redacted(&mut record.scope.attributes, matches, &by);
                let nested = record.nested.iter_mut();
                nested.for_each(|attributes| redacted(attributes, matches, &by));
            };
            (redact(&targets, redaction), Some(Box::new(change)))
        }
        3 => {
            let (column, change): (&str, Change) = match signal {
                Signal::Traces => (
                    "status_message",
                    Box::new(|record| mask(&mut record.message)),
                ),
                Signal::Logs => (
                    "body",
                    Box::new(|record| {
                        if record.body.is_some() {
                            record.body = Some(Value::StringValue("***".into()));
                        }
                    }),
                ),
                Signal::Metrics => ("name", Box::new(|record| mask(&mut record.name))),
            };
            (
                redact(&[column], Redaction::Text("***".into())),
                Some(change),
            )
        }
        4 => {
            let (from, to) = random.one(&[
                ("http.method", "http.request.method"),
                ("service.name", "user"),
                ("user", "service.name"),
                ("user.mail", "new \"key\""),
            ]);
            let own = format!("attributes['{from}']");
            let resource = format!("resource_attributes['{from}']");
            let change = move |record: &mut Record| {
                renamed(&mut record.attributes, from, to);
                renamed(&mut record.resource, from, to);
            };
            (
                rename(&[(&own, to), (&resource, to)]),
                Some(Box::new(change)),
            )
        }
        5 => {
            let change = |record: &mut Record| {
                if let Some(Value::StringValue(user)) = first(&record.attributes, "user").cloned() {
                    put(
                        &mut record.attributes,
                        "http.route",
                        Value::StringValue(user.clone()),
                    );
                    put(
                        &mut record.resource,
                        "service.name",
                        Value::StringValue(user),
                    );
                }
            };
            let user = "CASE WHEN substr(attr_json(attributes, 'user'), 1, 1) = '\"' THEN attributes['user'] END";
            let changes = [
                ("attributes['http.route']", user),
                ("resource_attributes['service.name']", user),
            ];
            (set(&changes), Some(Box::new(change)))
        }
        _ => {
            let change = |record: &mut Record| {
                let route = first(&record.attributes, "http.route").is_some();
                put(
                    &mut record.attributes,
                    "http.response.status_code",
                    Value::IntValue(404),
                );
                put(&mut record.attributes, "ratio", Value::DoubleValue(0.5));
                put(&mut record.attributes, "has", Value::BoolValue(route));
                record.scope.name = "set".into();
            };
            let changes = [
                ("attributes['http.response.status_code']", "400 + 4"),
                ("attributes['ratio']", "1 / 2e0"),
                ("attributes['has']", "attributes['http.route'] IS NOT NULL"),
                ("scope_name", "'set'"),
            ];
            (set(&changes), Some(Box::new(change)))
        }
    }
}

fn mask(text: &mut String) {
    // Null stays null, and what is unset or empty is null.
    if !text.is_empty() {
        *text = "***".into();
    }
}

#[test]
fn rules_over_columns_make_what_changes_to_the_messages_would_have_made() {
    let seed = std::env::var("OTLAKE_RULES_SEED");
    let seed = seed.ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let (mut changed, mut dropped, mut routed) = (0, 0, 0);
    for round in seed..seed + ROUNDS {
        println!("OTLAKE_RULES_SEED={round}");
        let mut random = Random(round);
        let signal = random.one(&Signal::ALL);
        let records = records(&mut random);
        let mut expected = records.clone();
        let mut rules: Vec<RuleConfig> = Vec::new();
        for number in 0..1 + random.below(3) {
            let (when, is) = condition(&mut random);
            let (action, change) = action(signal, &mut random);
            match change {
                None => expected.retain(|record| !is(record)),
                Some(change) => expected
                    .iter_mut()
                    .filter(|record| is(record))
                    .for_each(change),
            }
            rules.push(RuleConfig {
                name: format!("rule {number}"),
                ..rule(signal, when, action)
            });
        }
        let metrics = Metrics::new();
        let planned = plan(&rules, &metrics);
        let rows = apply(&*planned, decode(signal, &request(signal, &records, false)));
        // By tenant, in the order in which they come first.
        let mut wanted: Vec<TableRows> = Vec::new();
        for record in &expected {
            let tenant = &*record.tenant;
            if wanted.iter().any(|of| &*of.tenant == tenant) {
                continue;
            }
            let of_tenant = expected.iter().filter(|of| of.tenant == tenant);
            let of_tenant: Vec<Record> = of_tenant.cloned().collect();
            let body = request(signal, &of_tenant, true);
            let decoded = decode_of(signal, &body, tenant);
            wanted.extend(TableRows::all_of(&tenant.into(), decoded));
        }
        let names = |of: &[TableRows]| -> Vec<(Table, String)> {
            let names = of.iter().map(|of| (of.table, of.tenant.to_string()));
            names.collect()
        };
        assert_eq!(names(&rows), names(&wanted), "{rules:#?}");
        for (rows, wanted) in rows.iter().zip(&wanted) {
            for (field, (has, should)) in wanted
                .rows
                .schema()
                .fields()
                .iter()
                .zip(rows.rows.columns().iter().zip(wanted.rows.columns()))
            {
                assert_eq!(has, should, "{}: {rules:#?}", field.name());
            }
        }
        for rule in &rules {
            let counted = metrics.rules.of(&rule.name).map(|of| of.get());
            let [drops, changes, routes, failures] = counted;
            assert_eq!(failures, 0);
            dropped += drops;
            changed += changes;
            routed += routes;
        }
    }
    assert!(
        changed > 1_000 && dropped > 500 && routed > 500,
        "{changed} {dropped} {routed}"
    );
}
