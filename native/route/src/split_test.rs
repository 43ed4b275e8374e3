use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use otlake_base::limits::MAX_REQUEST_RECORDS;
use otlake_base::{ShardSet, Signal, Table};
use proptest::prelude::*;
use prost::Message;

use crate::count::records;
use crate::owners::{LOCAL, OwnerIndex, Owners, PlacementRule};
use crate::shard::{SHARDS, hash, shard_of, shard_of_hash};
use crate::split::{Slice, split, without, without_tables};
use crate::testing::{logs, metrics, owners, owners_of, request, resource, span, spans, traces};

#[test]
fn keys_are_in_the_shards_that_every_language_says() {
    let vectors = include_str!("../../../proto/otlake/v1/ring-vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let keys = vectors["keys"].as_array().unwrap();
    assert!(keys.len() >= 21);
    for each in keys {
        let key = each["key"].as_str().unwrap();
        let key: Vec<u8> = (0..key.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap())
            .collect();
        let signal = match each["signal"].as_str().unwrap() {
            "spans" => Signal::Traces,
            name => Signal::from_name(name).unwrap(),
        };
        assert_eq!(shard_of(signal, &key) as u64, each["number"], "{each}");
    }
}

/// A record with all that stands around it, to compare and to sort.
type Flat = (Vec<u8>, String, Vec<u8>, String, Vec<u8>);

trait Records: Message + Default {
    const SIGNAL: Signal;
    fn flat(&self) -> Vec<Flat>;
}

macro_rules! records {
    ($request:ty, $signal:ident, $resources:ident, $scopes:ident, $records:ident) => {
        impl Records for $request {
            const SIGNAL: Signal = Signal::$signal;
            fn flat(&self) -> Vec<Flat> {
                let mut all = Vec::new();
                for group in &self.$resources {
                    for scope in &group.$scopes {
                        for record in &scope.$records {
                            all.push((
                                group.resource.encode_to_vec(),
                                group.schema_url.clone(),
                                scope.scope.encode_to_vec(),
                                scope.schema_url.clone(),
                                record.encode_to_vec(),
                            ));
                        }
                    }
                }
                all
            }
        }
    };
}

trait Encoded {
    fn encode_to_vec(&self) -> Vec<u8>;
}

impl<T: Message> Encoded for Option<T> {
    fn encode_to_vec(&self) -> Vec<u8> {
        self.as_ref().map(Message::encode_to_vec).unwrap()
    }
}

records!(
    ExportTraceServiceRequest,
    Traces,
    resource_spans,
    scope_spans,
    spans
);
records!(
    ExportLogsServiceRequest,
    Logs,
    resource_logs,
    scope_logs,
    log_records
);
records!(
    ExportMetricsServiceRequest,
    Metrics,
    resource_metrics,
    scope_metrics,
    metrics
);

/// The owner of a record, told from its decoded form.
fn owner(signal: Signal, flat: &Flat, owners: &Owners) -> OwnerIndex {
    use opentelemetry_proto::tonic::{logs, metrics, trace};
    let (resource, _, scope, _, record) = flat;
    let by_resource = hash(resource, 0);
    let hash = match signal {
        Signal::Traces => hash(&trace::v1::Span::decode(&record[..]).unwrap().trace_id, 0),
        Signal::Logs => {
            let id = logs::v1::LogRecord::decode(&record[..]).unwrap().trace_id;
            match id.len() == 16 && id != [0; 16] {
                true => hash(&id, 0),
                false => by_resource,
            }
        }
        Signal::Metrics => {
            let name = metrics::v1::Metric::decode(&record[..]).unwrap().name;
            hash(name.as_bytes(), hash(scope, by_resource))
        }
    };
    owners.owner(signal, hash, Owners::USUAL).0
}

/// Every record is in one slice, that of its owner, with all that stood around it, in its order.
fn check<R: Records>(sent: &R, nodes: usize) -> Result<(), TestCaseError> {
    let owners = owners(nodes, &[]);
    let body = Bytes::from(sent.encode_to_vec());
    let slices = split(R::SIGNAL, &body, &owners);
    prop_assert_eq!(&slices, &split(R::SIGNAL, &body, &owners));
    if slices.len() == 1 {
        prop_assert_eq!(slices[0].body.as_ptr(), body.as_ptr());
    }
    let all = sent.flat();
    let mut count = 0;
    for Slice { owner: at, body } in &slices {
        let flat = R::decode(&body[..]).unwrap().flat();
        let own: Vec<&Flat> = all
            .iter()
            .filter(|each| owner(R::SIGNAL, each, &owners) == *at)
            .collect();
        prop_assert_eq!(flat.iter().collect::<Vec<_>>(), own);
        prop_assert!(!flat.is_empty() || all.is_empty());
        count += flat.len();
    }
    prop_assert_eq!(count, all.len());
    Ok(())
}

proptest! {
    #[test]
    fn each_span_is_once_in_its_owners_slice(sent in traces(), nodes in 1usize..10) {
        check(&sent, nodes)?;
    }

    #[test]
    fn each_log_record_is_once_in_its_owners_slice(sent in logs(), nodes in 1usize..10) {
        check(&sent, nodes)?;
    }

    #[test]
    fn each_metric_is_once_in_its_owners_slice(sent in metrics(), nodes in 1usize..10) {
        check(&sent, nodes)?;
    }

    #[test]
    fn every_gateway_makes_the_same_slices(sent in traces()) {
        let body = Bytes::from(sent.encode_to_vec());
        let by_name = |local: &str| {
            let owners = owners_of(local, 3, &[]);
            let mut slices: Vec<(Arc<str>, Bytes)> = split(Signal::Traces, &body, &owners)
                .into_iter()
                .map(|slice| (owners.name(slice.owner).clone(), slice.body))
                .collect();
            slices.sort();
            slices
        };
        if !sent.flat().is_empty() {
            prop_assert_eq!(by_name("n0"), by_name("n2"));
        }
    }

    #[test]
    fn what_is_damaged_is_split_into_what_holds_as_many_records_or_stays_whole(
        sent in traces(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        signal in prop::sample::select(&Signal::ALL[..]),
    ) {
        let mut body = sent.encode_to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let body = Bytes::from(body);
        let slices = split(signal, &body, &owners(3, &[]));
        let count: u64 = slices.iter().map(|slice| records(signal, &slice.body)).sum();
        prop_assert_eq!(count, records(signal, &body));
    }
}

#[test]
fn a_request_that_is_cut_off_stays_whole_at_the_local_node() {
    let body = spans(0, 20, 1);
    let owners = owners(3, &[]);
    assert!(split(Signal::Traces, &body, &owners).len() > 1);
    for length in 1..body.len() {
        let cut = body.slice(..length);
        let slices = split(Signal::Traces, &cut, &owners);
        assert_eq!(
            slices,
            [Slice {
                owner: LOCAL,
                body: cut
            }]
        );
    }
}

/// A field with a length.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for varint in [u64::from(number << 3 | 2), content.len() as u64] {
        prost::encoding::encode_varint(varint, &mut bytes);
    }
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn what_otlp_does_not_know_and_what_stands_in_another_order_is_kept() {
    let owners = owners(2, &[]);
    let spans: Vec<_> = (0..6).map(|number| span(number, number)).collect();
    let unknown = field(900, b"unknown to OTLP");
    // Each span has its trace id behind all else.
    let late = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        let mut bytes = span.encode_to_vec();
        let id = bytes.drain(..18).collect::<Vec<u8>>();
        [bytes, unknown.clone(), id].concat()
    };
    let records: Vec<u8> = spans
        .iter()
        .flat_map(|span| field(2, &late(span)))
        .collect();
    let scope = [
        records,
        unknown.clone(),
        field(3, b"scope url"),
        field(1, &field(1, b"scope name")),
    ]
    .concat();
    let resource = resource("late").encode_to_vec();
    let group = [
        field(3, b"url"),
        field(2, &scope),
        unknown.clone(),
        field(1, &resource),
    ];
    let body = Bytes::from([unknown.clone(), field(1, &group.concat()), unknown.clone()].concat());

    let slices = split(Signal::Traces, &body, &owners);
    assert_eq!(slices.len(), 2);
    let mut flat = Vec::new();
    for slice in &slices {
        let decoded = ExportTraceServiceRequest::decode(&slice.body[..]).unwrap();
        flat.extend(decoded.flat());
        let found = slice
            .body
            .windows(unknown.len())
            .filter(|each| *each == unknown);
        // Around it, in the resource message, in the scope message, and in each span.
        assert_eq!(found.count(), 2 + 1 + 1 + decoded.flat().len());
    }
    let mut whole = ExportTraceServiceRequest::decode(&body[..]).unwrap().flat();
    whole.sort();
    flat.sort();
    assert_eq!(flat, whole);
    assert_eq!(flat.len(), 6);
}

#[test]
fn a_rule_places_whole_resources() {
    let rule = |value: &str, nodes: &[&str]| PlacementRule {
        attribute: "service.name".into(),
        value: value.into(),
        nodes: nodes.iter().map(|node| Arc::from(*node)).collect(),
    };
    let body = spans(0, 50, 1);
    let holders = |rules: &[PlacementRule]| {
        let owners = owners(4, rules);
        let slices = split(Signal::Traces, &body, &owners);
        let mut names: Vec<String> = slices
            .iter()
            .map(|slice| owners.name(slice.owner).to_string())
            .collect();
        names.sort();
        names.join(" ")
    };
    let everywhere = "n0 n1 n2 n3";
    assert_eq!(holders(&[]), everywhere);
    assert_eq!(holders(&[rule("other", &["n3"])]), everywhere);
    assert_eq!(holders(&[rule("checkout", &["n3"])]), "n3");
    assert_eq!(holders(&[rule("checkout", &["n3", "n1"])]), "n1 n3");
    // The first that fits counts, also where its nodes are not there.
    let (gone, there) = (rule("checkout", &["gone"]), rule("checkout", &["n2"]));
    assert_eq!(holders(&[there.clone(), gone.clone()]), "n2");
    assert_eq!(holders(&[gone, there]), everywhere);
    assert_eq!(holders(&[rule("checkout", &["gone", "n1"])]), "n1");
}

#[test]
fn a_trace_that_two_resources_share_follows_the_rule_of_each() {
    let rule = PlacementRule {
        attribute: "service.name".into(),
        value: "pinned".into(),
        nodes: vec!["n2".into()],
    };
    let owners = owners(3, &[rule]);
    let usual = 1;
    let is_usual =
        |trace: &u64| shard_of(Signal::Traces, &crate::testing::trace_id(*trace)) % 3 == usual;
    let trace = (0..).find(is_usual).unwrap();
    for order in [["pinned", "other"], ["other", "pinned"]] {
        let mut sent = ExportTraceServiceRequest::decode(&spans(trace, 3, 3)[..]).unwrap();
        sent.resource_spans.push(sent.resource_spans[0].clone());
        for (group, service) in sent.resource_spans.iter_mut().zip(order) {
            group.resource = Some(resource(service));
        }
        let slices = split(Signal::Traces, &sent.encode_to_vec().into(), &owners);
        let found = slices.iter().map(|slice| {
            let decoded = ExportTraceServiceRequest::decode(&slice.body[..]).unwrap();
            assert_eq!(decoded.resource_spans.len(), 1);
            (
                usize::from(slice.owner),
                decoded.resource_spans[0].resource.clone().unwrap(),
            )
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found, [(usual, resource("other")), (2, resource("pinned"))]);
    }
}

#[test]
fn spans_of_a_trace_stay_together_over_resources_and_requests() {
    let owners = owners(9, &[]);
    let of = |trace: u64| {
        let body = request(vec![span(trace, 1)]);
        split(Signal::Traces, &body, &owners)[0].owner
    };
    for trace in 0..100 {
        let key = u128::from(trace + 1).to_le_bytes();
        let shard = shard_of_hash(Signal::Traces, hash(&key, 0));
        assert_eq!(usize::from(of(trace)), shard % 9);
        assert!(shard < SHARDS[0]);
    }
}

#[test]
fn a_resource_of_megabytes_is_not_copied_for_every_owner() {
    let mut sent = ExportTraceServiceRequest::decode(&spans(0, 9, 1)[..]).unwrap();
    sent.resource_spans[0].resource = Some(Resource {
        attributes: vec![crate::testing::text("large", &"x".repeat(1_000_000))],
        ..Resource::default()
    });
    let body = Bytes::from(sent.encode_to_vec());
    let owners = owners(9, &[]);
    let first = shard_of(Signal::Traces, &crate::testing::trace_id(0)) % 9;
    let slices = split(Signal::Traces, &body, &owners);
    assert_eq!(
        slices,
        [Slice {
            owner: first as u16,
            body
        }]
    );
}

#[test]
fn a_request_of_too_many_records_stays_whole_for_the_local_node_to_refuse() {
    let owners = owners(3, &[]);
    let mut records = Vec::new();
    for number in 0..=MAX_REQUEST_RECORDS {
        let id = (number as u32).to_le_bytes();
        records.extend_from_slice(&[0x12, 6, 0x0a, 4]);
        records.extend_from_slice(&id);
    }
    let whole = |records: &[u8]| {
        let body = Bytes::from(field(1, &field(2, records)));
        split(Signal::Traces, &body, &owners).len() == 1
    };
    assert!(whole(&records));
    assert!(!whole(&records[..8 * MAX_REQUEST_RECORDS]));
}

#[test]
fn records_are_counted_as_their_signal_counts_them() {
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    };
    assert_eq!(records(Signal::Traces, &spans(0, 7, 2)), 7);
    let metric = |points| Metric {
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint::default(); points],
        })),
        ..Metric::default()
    };
    let sent = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric(3), metric(0), metric(2)],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    assert_eq!(records(Signal::Metrics, &sent.encode_to_vec()), 5);
    assert_eq!(records(Signal::Logs, b"\x0a\xffnothing"), 0);
}

#[test]
fn a_request_without_some_shards_has_every_other_record() {
    let body = spans(0, 200, 1);
    let shards_of = |body: &Bytes| -> Vec<usize> {
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        let spans = request.resource_spans.iter();
        let spans = spans
            .flat_map(|group| &group.scope_spans)
            .flat_map(|scope| &scope.spans);
        let mut shards: Vec<_> = spans
            .map(|span| shard_of(Signal::Traces, &span.trace_id))
            .collect();
        shards.sort_unstable();
        shards
    };
    let (all, even) = (shards_of(&body), |shard: &usize| shard.is_multiple_of(2));
    let gone: ShardSet = all.iter().copied().filter(even).collect();
    let rest = without(Signal::Traces, &body, &gone).unwrap();
    let odd: Vec<usize> = all.iter().copied().filter(|shard| !even(shard)).collect();
    assert_eq!(shards_of(&rest), odd);
    assert_eq!(without(Signal::Traces, &rest, &gone), Some(rest.clone()));
    assert_eq!(without(Signal::Traces, &rest, &ShardSet::ALL), None);
    assert_eq!(without(Signal::Traces, &body, &ShardSet::EMPTY), Some(body));
}

#[test]
fn what_is_left_of_metrics_without_some_tables_is_the_other_metrics() {
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum,
        Summary, metric::Data,
    };
    let kinds = [
        ("gauge", Some(Data::Gauge(Gauge::default()))),
        ("sum", Some(Data::Sum(Sum::default()))),
        ("histogram", Some(Data::Histogram(Histogram::default()))),
        (
            "exponential",
            Some(Data::ExponentialHistogram(ExponentialHistogram::default())),
        ),
        ("summary", Some(Data::Summary(Summary::default()))),
        ("nothing", None),
    ];
    let of = |names: &[&str]| {
        let metrics = kinds.iter().filter(|(name, _)| names.contains(name));
        let metrics = metrics.map(|(name, data)| Metric {
            name: (*name).to_owned(),
            data: data.clone(),
            ..Metric::default()
        });
        let scope_metrics = vec![ScopeMetrics {
            metrics: metrics.collect(),
            ..ScopeMetrics::default()
        }];
        let resource_metrics = vec![ResourceMetrics {
            resource: Some(resource("a")),
            scope_metrics,
            ..ResourceMetrics::default()
        }];
        Bytes::from(ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
    };
    let names = kinds.each_ref().map(|(name, _)| *name);
    let (body, tables) = (of(&names), Signal::Metrics.tables());
    assert_eq!(tables.len(), 5);
    for (at, table) in tables.iter().enumerate() {
        let left: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| *name != names[at])
            .collect();
        assert_eq!(
            without_tables(&body, &[*table]),
            Some(of(&left)),
            "{table:?}"
        );
    }
    let gone = [Table::MetricsSum, Table::MetricsSummary];
    let left = of(&["gauge", "histogram", "exponential", "nothing"]);
    assert_eq!(without_tables(&body, &gone), Some(left));
    assert_eq!(without_tables(&body, tables), Some(of(&["nothing"])));
    assert_eq!(without_tables(&of(&names[..5]), tables), None);
    assert_eq!(without_tables(&body, &[]), Some(body));
}
