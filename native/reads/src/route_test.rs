//! Rows that rules give to another tenant are read as that tenant's, and as nobody else's, whichever nodes have
//! them, live or in files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use otlake_base::{Consistency, RowRules, Table, TableRows};
use otlake_query::{QueryRequest, TraceEncoding, TraceForm};
use tempfile::TempDir;

use crate::Followed;
use crate::testing::{EPOCH, Node, Nodes, batches, numbers, once};

const STRONG: Consistency = Consistency::Strong;
const SENDER: &str = "default";
const ARCHIVE: &str = "archive";

/// Spans whose time is odd go to the archive.
#[derive(Debug)]
struct Odd;

impl RowRules for Odd {
    fn apply(&self, tenant: &Arc<str>, tables: Vec<(Table, RecordBatch)>) -> Vec<TableRows> {
        let part = |table: Table, batch: &RecordBatch, tenant: Arc<str>, goes: bool| {
            let times = batch.column_by_name(table.time_column()).expect("a time");
            let times = times.as_primitive::<Int64Type>().values().iter();
            let is_of: BooleanArray = times.map(|time| Some((time % 2 == 1) == goes)).collect();
            let own = filter_record_batch(batch, &is_of).expect("rows");
            let mut columns: Vec<ArrayRef> = own.columns().to_vec();
            let names = std::iter::repeat_n(&*tenant, own.num_rows());
            columns[own.schema().index_of("tenant").expect("it")] =
                Arc::new(StringViewArray::from_iter_values(names));
            let rows = RecordBatch::try_new(own.schema(), columns).expect("the same rows");
            TableRows {
                table,
                tenant,
                rows,
            }
        };
        let parts = tables.iter().flat_map(|(table, batch)| {
            [(Arc::clone(tenant), false), (ARCHIVE.into(), true)]
                .map(|(tenant, goes)| part(*table, batch, tenant, goes))
        });
        parts.filter(|part| part.rows.num_rows() > 0).collect()
    }
}

/// The numbers of the spans that a tenant sees, by a statement.
async fn seen(node: &Node, tenant: Option<&str>, rest: &str) -> BTreeMap<u64, usize> {
    let request = QueryRequest {
        sql: format!("SELECT start_time_unix_nano FROM spans {rest}"),
        tenant: tenant.map(str::to_owned),
        ..QueryRequest::default()
    };
    numbers(node.engine.query(request).await.unwrap()).await
}

/// The same of one trace, by its id.
async fn of_trace(node: &Node, trace: u64, tenant: Option<&str>) -> BTreeMap<u64, usize> {
    let id = u128::from(trace).to_be_bytes();
    let found = node.engine.trace(id, tenant, None, STRONG, false);
    let mut numbers = BTreeMap::new();
    for batch in batches(found.await.unwrap()).await {
        let times = batch.column_by_name("start_time_unix_nano").unwrap();
        for time in times.as_primitive::<Int64Type>().values() {
            *numbers.entry(*time as u64 - EPOCH).or_insert(0) += 1;
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_finds_routed_spans_as_the_other_tenants_and_no_more_as_their_senders() {
    let nodes = Nodes::with_rules(3, Some(Arc::new(Odd))).await;
    // Each node has some spans of each trace.
    for round in 0..3 {
        for (at, node) in nodes.nodes.iter().enumerate() {
            let first = round * 10 + [0, 4, 7][at];
            node.ingest(first, [4, 3, 3][at]).await;
        }
        // Some are in files.
        if round == 1 {
            nodes[1].processor.flush().await.unwrap();
        }
    }
    let check = async || {
        for node in &nodes.nodes {
            for (tenant, from) in [(SENDER, 0), (ARCHIVE, 1)] {
                let own = || (from..30).step_by(2);
                assert_eq!(seen(node, Some(tenant), "").await, once(own()));
                let as_column = format!("WHERE tenant = '{tenant}'");
                assert_eq!(seen(node, None, &as_column).await, once(own()));
                let in_trace = format!("WHERE trace_id = '{:032x}'", 2);
                let of_second = || own().filter(|number| (10..20).contains(number));
                assert_eq!(seen(node, Some(tenant), &in_trace).await, once(of_second()));
                assert_eq!(of_trace(node, 2, Some(tenant)).await, once(of_second()));
            }
            assert_eq!(seen(node, Some("another"), "").await, once([]));
            assert_eq!(of_trace(node, 2, None).await, once(10..20));
            assert_eq!(seen(node, None, "").await, once(0..30));
        }
    };
    check().await;
    for node in &nodes.nodes {
        node.processor.flush().await.unwrap();
    }
    check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_either_tenant_are_told_its_rows_alone_each_once() {
    let nodes = Nodes::with_rules(2, Some(Arc::new(Odd))).await;
    let alone = TempDir::new().unwrap();
    let alone = Node::start(alone.path(), Some(Arc::new(Odd))).await;
    for (own, others) in [(&nodes[0], Some(&nodes[1])), (&alone, None)] {
        let follow = |tenant: Option<&str>| own.reads.follow(Table::Spans, tenant.map(Arc::from));
        let mut followers = [
            (follow(Some(ARCHIVE)), 1, 2),
            (follow(Some(SENDER)), 0, 2),
            (follow(None), 0, 1),
        ];
        if others.is_some() {
            // Until the other one is followed by each.
            while nodes.net.begun() < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        own.ingest(0, 10).await;
        let end = match others {
            Some(node) => {
                node.ingest(10, 10).await;
                20
            }
            None => 10,
        };
        for (follower, from, step) in &mut followers {
            let expected: Vec<u64> = (*from..end).step_by(*step).collect();
            let mut told: Vec<u64> = Vec::new();
            while told.len() < expected.len() {
                let Some(Followed::Rows { tenant, rows }) = follower.recv().await else {
                    panic!("rows are told");
                };
                let times = rows.column_by_name("start_time_unix_nano").unwrap();
                for time in times.as_primitive::<Int64Type>().values() {
                    let number = *time as u64 - EPOCH;
                    assert_eq!(&*tenant, if number % 2 == 1 { ARCHIVE } else { SENDER });
                    told.push(number);
                }
            }
            told.sort_unstable();
            assert_eq!(told, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_an_answer_of_a_tenant_is_forgotten_when_spans_are_routed_to_it() {
    let tables = TempDir::new().unwrap();
    let node = Node::start(tables.path(), Some(Arc::new(Odd))).await;
    node.ingest(0, 4).await;
    let form = |tenant: &str| TraceForm {
        trace_id: 1_u128.to_be_bytes(),
        tenant: Some(tenant.to_owned()),
        times: None,
        encoding: TraceEncoding::Json,
    };
    let known = |tenant| node.engine.known_trace(&form(tenant), &STRONG).unwrap();
    let moment = node.engine.moment(&STRONG).unwrap().expect("a moment");
    for tenant in [SENDER, ARCHIVE] {
        let answer = format!("that of {tenant}");
        node.engine
            .keep_trace(form(tenant), moment, answer.as_bytes());
    }
    assert!(known(ARCHIVE).is_some() && known(SENDER).is_some());
    assert_ne!(known(ARCHIVE), known(SENDER));
    // All of it is the archive's.
    node.ingest(5, 1).await;
    assert!(known(ARCHIVE).is_none());
    assert_eq!(of_trace(&node, 1, Some(ARCHIVE)).await, once([1, 3, 5]));
    assert_eq!(of_trace(&node, 1, Some(SENDER)).await, once([0, 2]));
}
