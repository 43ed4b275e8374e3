//! Flushes of random spans, with crashes between any two of their steps, against plain sums over the
//! spans that were taken.

use std::collections::BTreeMap;
use std::time::Duration;

use otlake_base::Table;

use crate::testing::{Chance, Node, Plain, STEPS, Series, Value};
use crate::{DeriveConfig, names};

const SECOND: u64 = 1_000_000_000;
const INTERVAL: u64 = 15 * SECOND;
const START: u64 = 1_767_225_600 * SECOND;

fn both() -> DeriveConfig {
    DeriveConfig {
        span_metrics: true,
        service_graph: true,
        dimensions: vec!["http.route".to_owned()],
        ..DeriveConfig::default()
    }
}

fn seed() -> u64 {
    let given = std::env::var("OTLAKE_DERIVE_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("OTLAKE_DERIVE_SEED={seed}");
    seed
}

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// What calls and durations come to, added up span by span.
fn reference(spans: &[(String, Plain)]) -> BTreeMap<Series, Value> {
    let mut series: BTreeMap<Series, Value> = BTreeMap::new();
    for (tenant, span) in spans {
        let mut labels = BTreeMap::from([
            ("service".to_owned(), span.service.clone()),
            ("span_name".to_owned(), span.name.clone()),
            ("span_kind".to_owned(), KINDS[span.kind as usize].to_owned()),
            (
                "status_code".to_owned(),
                STATUSES[span.status as usize].to_owned(),
            ),
        ]);
        let route = span.attributes.iter().find(|(key, _)| *key == "http.route");
        labels.extend(route.map(|(_, value)| ("http_route".to_owned(), value.clone())));
        let end = span.start + span.duration;
        let key = |name: &str| Series {
            tenant: tenant.clone(),
            name: name.to_owned(),
            labels: labels.clone(),
            time: ((end / INTERVAL + 1) * INTERVAL) as i64,
        };
        let mut buckets = vec![0; 15];
        let seconds = span.duration as f64 / 1e9;
        let bounds = (0..14).map(|power| 0.002 * f64::from(1 << power));
        buckets[bounds.into_iter().filter(|bound| *bound < seconds).count()] = 1;
        series.entry(key(names::CALLS)).or_default().count += 1;
        series.entry(key(names::LATENCY)).or_default().add(&Value {
            count: 1,
            micros: span.duration / 1000,
            buckets,
        });
    }
    series
}

fn of_spans(node: &Node) -> BTreeMap<Series, Value> {
    let mut all = node.read(Table::MetricsSum);
    all.extend(node.read(Table::MetricsHistogram));
    all.retain(|key, _| key.name.starts_with("traces_spanmetrics"));
    all
}

/// Calls by client, and by whom they were of.
fn edges(node: &Node, table: Table, name: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut edges: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (key, value) in node.read(table) {
        if key.name == name {
            let of = edges.entry(key.labels["client"].clone()).or_default();
            *of.entry(key.labels["server"].clone()).or_insert(0) += value.count;
        }
    }
    edges
}

/// A call: its client is service `c<number>`, its server `s<number>`.
fn call(number: u64, chance: &mut Chance) -> (Plain, Option<Plain>) {
    let start = START + chance.below(60) * SECOND;
    let peer = chance
        .one_in(2)
        .then(|| ("peer.service", format!("p{number}")));
    let client = Plain {
        service: format!("c{number}"),
        name: format!("call {}", number % 3),
        trace: u128::from(number + 1),
        id: 2 * number + 1,
        kind: 3,
        start,
        duration: 1000 * (1 + chance.below(40_000)),
        attributes: peer.into_iter().collect(),
        ..Plain::default()
    };
    let server = Plain {
        service: format!("s{number}"),
        name: format!("serve {}", number % 3),
        id: 2 * number + 2,
        parent: client.id,
        kind: 2,
        status: if chance.one_in(5) { 2 } else { 0 },
        duration: client.duration / 1000 / 2 * 1000 + 1000,
        attributes: vec![("http.route", format!("/{}", number % 4))],
        ..client.clone()
    };
    (client, chance.below(4).gt(&0).then_some(server))
}

/// Takes random calls, whose halves come in any order and any request, and flushes and crashes.
fn run(seed: u64, advances: bool) -> (Node, Vec<(String, Plain)>, u64) {
    let mut chance = Chance::new(seed);
    let mut node = Node::new(both());
    let (mut taken, mut late, mut number) = (Vec::new(), Vec::new(), 0);
    let tenant = |span: &Plain| {
        if span.trace.is_multiple_of(3) {
            "b"
        } else {
            "a"
        }
    };
    for _ in 0..60 {
        let mut request: Vec<Plain> = Vec::new();
        for _ in 0..=chance.below(4) {
            let (client, server) = call(number, &mut chance);
            number += 1;
            let (first, second) = match chance.one_in(2) {
                true => (Some(client), server),
                false => (server, Some(client)),
            };
            request.extend(first);
            match chance.one_in(3) {
                true => request.extend(second),
                false => late.extend(second),
            }
        }
        while !late.is_empty() && chance.one_in(2) {
            let at = chance.below(late.len() as u64) as usize;
            request.push(late.swap_remove(at));
        }
        for of in ["a", "b"] {
            let spans: Vec<Plain> = request
                .iter()
                .filter(|span| tenant(span) == of)
                .cloned()
                .collect();
            taken.extend(spans.iter().map(|span| (of.to_owned(), span.clone())));
            if !spans.is_empty() {
                node.take(of, spans);
            }
        }
        if advances && chance.one_in(4) {
            node.clock.advance(Duration::from_secs(chance.below(15)));
        }
        match chance.below(6) {
            0 | 1 => node.flush(1 + chance.below(8) as usize, STEPS),
            2 => {
                node.flush(1 + chance.below(8) as usize, chance.below(STEPS));
                node.restart();
            }
            3 => node.restart(),
            4 => node.flush(0, STEPS),
            _ => {}
        }
    }
    let rest: Vec<Plain> = late.into_iter().collect();
    for span in rest {
        let of = tenant(&span);
        taken.push((of.to_owned(), span.clone()));
        node.take(of, vec![span]);
    }
    node.flush(usize::MAX, STEPS);
    node.clock.advance(Duration::from_secs(3600));
    node.flush(0, STEPS);
    (node, taken, number)
}

#[test]
fn i3_each_span_counts_once_wherever_a_crash_falls() {
    let seed = seed();
    for seed in seed..seed + 60 {
        let (node, taken, _) = run(seed, seed % 2 == 0);
        assert_eq!(of_spans(&node), reference(&taken), "seed {seed}");
        assert_eq!(
            node.log_len(),
            0,
            "seed {seed}: the log keeps what is settled"
        );
    }
}

#[test]
fn i3_each_call_is_one_edge_when_its_halves_come_in_time_wherever_a_crash_falls() {
    let seed = seed();
    for seed in seed..seed + 60 {
        let (node, taken, calls) = run(seed, false);
        let sums = edges(&node, Table::MetricsSum, names::REQUESTS);
        let waits = edges(&node, Table::MetricsHistogram, names::CLIENT);
        assert_eq!(sums, waits, "seed {seed}");
        for number in 0..calls {
            let has = |service: &str| taken.iter().any(|(_, span)| span.service == service);
            let client = format!("c{number}");
            let of = taken.iter().find(|(_, span)| span.service == client);
            let peer = of.and_then(|(_, span)| span.attributes.first());
            let expected = match has(&format!("s{number}")) {
                true => Some((format!("s{number}"), 1)),
                false => peer.map(|(_, peer)| (peer.clone(), 1)),
            };
            let found = sums.get(&client).cloned().unwrap_or_default();
            let expected: BTreeMap<String, u64> = expected.into_iter().collect();
            assert_eq!(found, expected, "seed {seed}: {client}");
        }
    }
}

#[test]
fn i3_a_call_whose_halves_come_late_is_one_edge_or_none() {
    let seed = seed();
    for seed in seed..seed + 120 {
        let (node, taken, calls) = run(seed, true);
        for (table, name) in [
            (Table::MetricsSum, names::REQUESTS),
            (Table::MetricsHistogram, names::CLIENT),
        ] {
            let found = edges(&node, table, name);
            for number in 0..calls {
                let client = format!("c{number}");
                let of = taken.iter().find(|(_, span)| span.service == client);
                let has_peer = of.is_some_and(|(_, span)| !span.attributes.is_empty());
                let count: u64 = found.get(&client).map_or(0, |of| of.values().sum());
                let allowed = if has_peer { 1..=1 } else { 0..=1 };
                assert!(allowed.contains(&count), "seed {seed}: {client}: {count}");
            }
        }
    }
}

fn flushed(config: DeriveConfig, spans: Vec<Plain>) -> Node {
    let mut node = Node::new(config);
    node.take("a", spans);
    node.flush(usize::MAX, STEPS);
    node.clock.advance(Duration::from_secs(3600));
    node.flush(0, STEPS);
    node
}

fn kinds_of_edges(node: &Node) -> Vec<(String, String, String)> {
    let sums = node.read(Table::MetricsSum);
    let edges = sums.keys().filter(|key| key.name == names::REQUESTS);
    let label = |key: &Series, name| key.labels.get(name).cloned().unwrap_or_default();
    let mut edges: Vec<_> = edges
        .map(|key| {
            (
                label(key, "client"),
                label(key, "server"),
                label(key, "connection_type"),
            )
        })
        .collect();
    edges.sort();
    edges
}

#[test]
fn what_sends_no_spans_is_a_node_by_the_name_that_its_callers_give_it() {
    let span = |service: &str, id, parent, kind, attributes: &[(&'static str, &str)]| Plain {
        service: service.to_owned(),
        trace: 1,
        id,
        parent,
        kind,
        start: START,
        duration: 1000,
        attributes: attributes
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect(),
        ..Plain::default()
    };
    let node = flushed(
        both(),
        vec![
            span("shop", 1, 0, 2, &[]),
            span(
                "shop",
                2,
                1,
                3,
                &[("db.system.name", "postgresql"), ("db.namespace", "orders")],
            ),
            span(
                "shop",
                12,
                1,
                3,
                &[
                    ("db.system", "redis"),
                    ("network.peer.port", "6379"),
                    ("network.peer.address", "10.0.0.9"),
                ],
            ),
            span("shop", 3, 1, 3, &[("peer.service", "bank")]),
            span("shop", 4, 1, 3, &[("http.method", "GET")]),
            span("shop", 5, 1, 4, &[("messaging.destination.name", "mail")]),
            span("mailer", 6, 0, 5, &[("messaging.destination.name", "mail")]),
            span("shop", 7, 1, 4, &[]),
            span("audit", 8, 7, 5, &[]),
            span("shop", 9, 1, 3, &[]),
            span("shop", 10, 9, 2, &[]),
            span("orphan", 11, 99, 2, &[]),
        ],
    );
    let edge = |client: &str, server: &str, kind: &str| {
        (client.to_owned(), server.to_owned(), kind.to_owned())
    };
    assert_eq!(
        kinds_of_edges(&node),
        [
            edge("mail", "mailer", "messaging_system"),
            edge("shop", "10.0.0.9:6379", "database"),
            edge("shop", "audit", "messaging_system"),
            edge("shop", "bank", "virtual_node"),
            edge("shop", "mail", "messaging_system"),
            edge("shop", "orders", "database"),
            edge("user", "shop", "virtual_node"),
        ]
    );
    let servers = edges(&node, Table::MetricsHistogram, names::SERVER);
    assert_eq!(
        servers["shop"].len(),
        3,
        "a queue and a bank tell no duration"
    );
}

#[test]
fn i5_beyond_the_limit_of_series_spans_count_in_one_and_none_is_lost() {
    let config = DeriveConfig {
        max_series: 5,
        service_graph: false,
        ..both()
    };
    let spans = (0..40).map(|number| Plain {
        service: "shop".into(),
        name: format!("operation {number}"),
        trace: 1,
        id: number + 1,
        kind: 1,
        start: START,
        duration: 1000,
        ..Plain::default()
    });
    let node = flushed(config, spans.collect());
    for table in Table::DERIVED {
        let series = node.read(table);
        assert_eq!(series.len(), 6);
        assert_eq!(series.values().map(|value| value.count).sum::<u64>(), 40);
        let overflow: Vec<_> = series
            .iter()
            .filter(|(key, _)| key.labels.contains_key("otel.metric.overflow"))
            .collect();
        assert_eq!((overflow.len(), overflow[0].1.count), (1, 35));
    }
}

#[test]
fn a_span_of_days_or_of_less_than_nothing_counts_where_it_starts() {
    let span = |id: u64, duration| Plain {
        service: "shop".into(),
        name: id.to_string(),
        trace: 1,
        id,
        kind: 1,
        start: START,
        duration,
        ..Plain::default()
    };
    let hour = 3600 * SECOND;
    let node = flushed(both(), vec![span(1, 5 * hour), span(2, 500 * hour)]);
    let times: Vec<i64> = of_spans(&node)
        .iter()
        .filter(|(key, _)| key.name == names::CALLS)
        .map(|(key, _)| key.time)
        .collect();
    let end = |time: u64| ((time / INTERVAL + 1) * INTERVAL) as i64;
    assert_eq!(times, [end(START + 5 * hour), end(START)]);
}
