use std::sync::Arc;

use futures::StreamExt;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::engine::{QueryEngine, QueryRequest};
use crate::progress::{QueryState, RunningQuery};
use crate::sample_test::{Spans, config, engine, request, spans};

/// Rows of each row group of the files below.
const GROUP: usize = 50;

fn named(id: &str, sql: &str) -> QueryRequest {
    QueryRequest {
        id: Some(id.to_owned()),
        ..request(sql)
    }
}

fn only(engine: &QueryEngine) -> RunningQuery {
    let mut running = engine.running_queries();
    assert_eq!(running.len(), 1, "{running:?}");
    running.remove(0)
}

fn groups() -> WriterProperties {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP));
    properties.build()
}

/// An engine that reads in one partition, so that what was read is what was asked for.
fn one_partition(folder: &TempDir, source: Spans) -> Arc<QueryEngine> {
    let mut config = config(folder);
    config.partitions = 1;
    engine(config, source)
}

#[tokio::test]
async fn the_share_of_files_is_that_of_rows_read_and_grows_to_all() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder).file_as("a", 100, &spans("a", 100, 0, 200), groups());
    let engine = one_partition(&folder, source);
    let mut answer = engine
        .query(named("mine", "SELECT name FROM spans"))
        .await
        .unwrap();
    let before = only(&engine);
    assert_eq!(before.id.as_deref(), Some("mine"));
    assert_eq!((before.kind, before.tenant.as_deref()), ("sql", Some("a")));
    assert_eq!(before.state, QueryState::Reading);
    assert_eq!((before.rows_read, before.rows_to_read), (0, 200));
    let mut shares = vec![before.share.unwrap()];
    let mut rows = 0;
    while let Some(batch) = answer.stream.next().await {
        rows += batch.unwrap().num_rows();
        // The last batch's end is told before the query's.
        let now = only(&engine);
        assert!(now.rows_read >= rows as u64, "{now:?} after {rows} rows");
        shares.push(now.share.unwrap());
        if rows == 200 {
            break;
        }
    }
    assert!(shares.len() > 3, "{shares:?}");
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!((shares[0], shares.last()), (0.0, Some(&1.0)));
    drop(answer);
    assert!(engine.running_queries().is_empty());
}

#[tokio::test]
async fn what_filters_leave_out_counts_as_read() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder).file_as("a", 100, &spans("a", 100, 0, 200), groups());
    let engine = one_partition(&folder, source);
    // The last row alone: its row group is the only one whose statistics allow for it.
    let sql = "SELECT name FROM spans WHERE attr_int(attributes, 'n') = 199";
    let mut answer = engine.query(named("q", sql)).await.unwrap();
    let first = answer.stream.next().await.unwrap().unwrap();
    assert_eq!(first.num_rows(), 1);
    let now = only(&engine);
    assert_eq!(now.rows_to_read, 200);
    assert!(now.share.unwrap() >= 0.75, "{now:?}");
}

#[tokio::test]
async fn files_that_are_pruned_are_not_to_be_read() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .file("a", 99, &spans("a", 99, 0, 100))
        .file("a", 100, &spans("a", 100, 0, 60))
        .file("b", 100, &spans("b", 100, 0, 30));
    let engine = one_partition(&folder, source);
    let sql = "SELECT name FROM spans WHERE day = DATE '1970-04-11'";
    let answer = engine.query(named("q", sql)).await.unwrap();
    assert_eq!(only(&engine).rows_to_read, 60);
    drop(answer);
}

#[tokio::test]
async fn live_batches_count_beside_files() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 101, 0, 30))
        .live("b", spans("b", 101, 0, 5))
        .file("a", 100, &spans("a", 100, 0, 70));
    let engine = engine(config(&folder), source);
    let mut answer = engine
        .query(named("q", "SELECT kind FROM spans"))
        .await
        .unwrap();
    assert_eq!(only(&engine).rows_to_read, 100);
    let mut rows = 0;
    while rows < 100 {
        rows += answer.stream.next().await.unwrap().unwrap().num_rows();
    }
    let now = only(&engine);
    assert_eq!((now.rows_read, now.share), (100, Some(1.0)));
    drop(answer);
    // Of live batches alone, with the columns that a projection leaves.
    let folder = TempDir::new().unwrap();
    let engine = one_partition(
        &folder,
        Spans::new(&folder).live("a", spans("a", 101, 0, 30)),
    );
    let sql = "SELECT kind + 1 AS k FROM spans";
    let mut answer = engine.query(named("q", sql)).await.unwrap();
    assert_eq!(only(&engine).share, Some(0.0));
    answer.stream.next().await.unwrap().unwrap();
    assert_eq!(only(&engine).share, Some(1.0));
}

#[tokio::test]
async fn a_query_that_reads_no_table_has_no_share() {
    let folder = TempDir::new().unwrap();
    let engine = one_partition(&folder, Spans::new(&folder));
    let sql = "SELECT value FROM generate_series(1, 100000)";
    let answer = engine.query(named("q", sql)).await.unwrap();
    let now = only(&engine);
    assert_eq!((now.share, now.rows_to_read), (None, 0));
    drop(answer);
}

#[tokio::test]
async fn a_query_that_waits_is_told_of() {
    let folder = TempDir::new().unwrap();
    let mut config = config(&folder);
    config.concurrency = 1;
    config.queue_ms = 3_600_000;
    let engine = engine(
        config,
        Spans::new(&folder).live("a", spans("a", 101, 0, 30)),
    );
    let first = engine
        .query(named("first", "SELECT name FROM spans"))
        .await
        .unwrap();
    let mut second = Box::pin(engine.query(named("second", "SELECT 1")));
    assert!(futures::poll!(&mut second).is_pending());
    let running = engine.running_queries();
    let told: Vec<_> = running
        .iter()
        .map(|query| (query.id.as_deref().unwrap(), query.state))
        .collect();
    let expected = [
        ("first", QueryState::Reading),
        ("second", QueryState::Waiting),
    ];
    assert_eq!(told, expected);
    drop(first);
    drop(second.await.unwrap());
    assert!(engine.running_queries().is_empty());
}

#[tokio::test]
async fn i5_a_query_that_fails_or_is_given_up_is_not_listed_any_more() {
    let folder = TempDir::new().unwrap();
    let engine = one_partition(
        &folder,
        Spans::new(&folder).live("a", spans("a", 101, 0, 30)),
    );
    assert!(engine.query(named("q", "SELECT nothing")).await.is_err());
    assert!(engine.running_queries().is_empty());
    let late = QueryRequest {
        timeout_ms: Some(50),
        ..named("q", "SELECT name FROM spans")
    };
    // Nobody reads it, and nobody drops it: its deadline ends it.
    let stalled = engine.query(late).await.unwrap();
    while !engine.running_queries().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stalled);
}
