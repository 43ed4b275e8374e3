use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, StringViewArray};
use futures::{StreamExt, TryStreamExt};
use otlake_base::{Clock, Code, Consistency, Metrics, SystemClock, Table, Wanted};
use serde_json::json;
use tempfile::TempDir;

use crate::engine::{QueryConfig, QueryEngine, QueryRequest};
use crate::format::{Format, encode};
use crate::reading::ReadRequest;
use crate::sample_test::{Spans, config, engine, lake, request, spans};

const ENDLESS: &str = "SELECT sum(a.kind + b.kind + c.kind + d.kind + e.kind + f.kind) \
    FROM spans a, spans b, spans c, spans d, spans e, spans f WHERE a.kind + f.kind > 0";

async fn code(engine: &QueryEngine, request: QueryRequest) -> (Code, String) {
    let error = match engine.query(request).await {
        Ok(result) => result.stream.try_collect::<Vec<_>>().await.unwrap_err(),
        Err(error) => error,
    };
    (error.code, error.message)
}

fn limited(folder: &TempDir, change: impl FnOnce(&mut QueryConfig)) -> Arc<QueryEngine> {
    let mut config = config(folder);
    change(&mut config);
    let source = Spans::new(folder).live("a", spans("a", 100, 0, 200));
    engine(config, source)
}

#[tokio::test]
async fn tells_what_is_wrong_with_a_statement() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    let (found, message) = code(&engine, request("SELECT nme FROM spans")).await;
    assert_eq!(found, Code::QueryInvalid);
    assert!(message.contains("near names are name"), "{message}");
    let (found, message) = code(&engine, request("SELECT 1 FROM span")).await;
    assert_eq!(found, Code::QueryInvalid);
    assert!(message.contains("spans"), "{message}");
    for sql in [
        "SELEC 1",
        "",
        "SELECT 1; SELECT 2",
        "SELECT * FROM spans WHERE trace_id = 'zz'",
    ] {
        assert_eq!(
            code(&engine, request(sql)).await.0,
            Code::QueryInvalid,
            "{sql}"
        );
    }
}

#[tokio::test]
async fn reads_only() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    for sql in [
        "INSERT INTO spans SELECT * FROM spans",
        "DELETE FROM spans",
        "UPDATE spans SET name = ''",
        "DROP TABLE spans",
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/'",
        "COPY spans TO '/tmp/x.parquet'",
        "SELECT 1 INTO t",
        "EXPLAIN ANALYZE DELETE FROM spans",
        "SET datafusion.execution.batch_size = 1",
        "PREPARE p AS SELECT 1",
        "BEGIN",
    ] {
        let (found, message) = code(&engine, request(sql)).await;
        assert_eq!(found, Code::QueryNotReadOnly, "{sql}: {message}");
    }
}

#[tokio::test]
async fn refuses_parameters_that_do_not_fit() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    for (sql, values) in [
        ("SELECT 1", json!([1])),
        ("SELECT $1", json!([])),
        ("SELECT $2", json!([1])),
        ("SELECT $a", json!([1])),
        ("SELECT $1", json!([{"a": 1}])),
        ("SELECT 1 FROM spans WHERE trace_id = $1", json!(["abc"])),
    ] {
        let mut request = request(sql);
        request.parameters = values.as_array().unwrap().clone();
        let (found, message) = code(&engine, request).await;
        assert_eq!(found, Code::QueryParameters, "{sql} {values}: {message}");
    }
}

#[tokio::test]
async fn ends_at_each_limit_with_its_code() {
    let folder = TempDir::new().unwrap();
    let engine = limited(&folder, |config| config.max_rows = 100);
    let all = "SELECT name FROM spans";
    assert_eq!(code(&engine, request(all)).await.0, Code::QueryTooManyRows);
    let mut own = request("SELECT name FROM spans LIMIT 11");
    own.max_rows = Some(10);
    assert_eq!(code(&engine, own).await.0, Code::QueryTooManyRows);

    let mut slow = request(ENDLESS);
    slow.timeout_ms = Some(50);
    assert_eq!(code(&engine, slow).await.0, Code::QueryTimeout);

    let mut large =
        request("SELECT a.name, b.name FROM spans a, spans b ORDER BY a.name || b.name");
    large.memory_bytes = Some(4096);
    assert_eq!(code(&engine, large).await.0, Code::QueryMemory);
}

#[tokio::test]
async fn lets_in_as_many_as_it_may_and_others_after_a_drop() {
    let folder = TempDir::new().unwrap();
    let engine = limited(&folder, |config| {
        config.concurrency = 1;
        config.queue_ms = 20;
    });
    let mut endless = engine.query(request(ENDLESS)).await.unwrap();
    let wait = std::time::Duration::from_millis(20);
    assert!(
        tokio::time::timeout(wait, endless.stream.next())
            .await
            .is_err()
    );
    assert_eq!(
        code(&engine, request("SELECT 1")).await.0,
        Code::QueryOverloaded
    );
    drop(endless);
    assert!(engine.query(request("SELECT 1")).await.is_ok());
}

#[tokio::test]
async fn i5_queries_over_the_limit_wait_in_a_bounded_queue() {
    let folder = TempDir::new().unwrap();
    let engine = limited(&folder, |config| {
        config.concurrency = 1;
        config.queue = 2;
        config.queue_ms = 3_600_000;
    });
    let endless = engine.query(request(ENDLESS)).await.unwrap();
    let mut first = Box::pin(engine.query(request("SELECT 1")));
    let mut second = Box::pin(engine.query(request("SELECT 1")));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    assert_eq!(
        code(&engine, request("SELECT 1")).await.0,
        Code::QueryOverloaded
    );
    drop(endless);
    drop(first.await.unwrap());
    drop(second.await.unwrap());
}

#[tokio::test]
async fn i5_a_reader_that_has_stopped_reading_gives_way_at_its_deadline() {
    let folder = TempDir::new().unwrap();
    let engine = limited(&folder, |config| {
        config.concurrency = 1;
        config.queue_ms = 3_600_000;
    });
    // It is neither read nor dropped.
    let mut stalled = request(ENDLESS);
    stalled.timeout_ms = Some(100);
    let mut stalled = engine.query(stalled).await.unwrap();
    assert!(engine.query(request("SELECT 1")).await.is_ok());
    let ended = stalled.stream.next().await.unwrap();
    assert_eq!(ended.unwrap_err().code, Code::QueryTimeout);
    assert!(stalled.stream.next().await.is_none());
}

/// A clock that tells as many milliseconds as it is set to.
#[derive(Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn unix_nano(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn work_on_a_read_that_waits_for_nothing_ends_at_its_limit_too() {
    let folder = TempDir::new().unwrap();
    let (clock, metrics) = (Arc::new(SetClock::default()), Arc::new(Metrics::new()));
    let source: Arc<dyn otlake_base::TableSource> = Arc::new(Spans::new(&folder));
    let engine = QueryEngine::new(
        config(&folder),
        vec![source],
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(&metrics),
    )
    .unwrap();
    let read = ReadRequest {
        kind: "test",
        id: None,
        table: Table::Spans,
        tenant: None,
        consistency: Consistency::Strong,
        partial: false,
        timeout_ms: Some(1_000),
        wanted: Wanted::default(),
    };
    let (short, long) = (Arc::clone(&clock), Arc::clone(&clock));
    let done = engine.read(read.clone(), |reading| async move {
        short.0.fetch_add(999, Ordering::Relaxed);
        reading.give_way().await?;
        Ok(7)
    });
    assert_eq!(done.await.unwrap().value, 7);
    // Whether or not it asks.
    for asks in [true, false] {
        let long = Arc::clone(&long);
        let late = engine.read(read.clone(), |reading| async move {
            long.0.fetch_add(1_000, Ordering::Relaxed);
            if asks {
                let late = reading.in_time().unwrap_err();
                assert_eq!(late.code, Code::QueryTimeout);
                reading.give_way().await?;
            }
            Ok(7)
        });
        let late = late.await.map(|_| ()).unwrap_err();
        assert_eq!(late.code, Code::QueryTimeout);
        assert!(late.message.contains("1000 ms"), "{late}");
    }
    let text = metrics.encode();
    let counted = r#"otlake_queries_total{kind="test",outcome="exhausted"} 2"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn counts_how_queries_end() {
    let folder = TempDir::new().unwrap();
    let metrics = Arc::new(Metrics::new());
    let source: Arc<dyn otlake_base::TableSource> = Arc::new(Spans::new(&folder));
    let engine = QueryEngine::new(
        config(&folder),
        vec![source],
        Arc::new(SystemClock),
        Arc::clone(&metrics),
    )
    .unwrap();
    drop(engine.query(request("SELECT 1")).await.unwrap());
    code(&engine, request("SELECT")).await;
    let text = metrics.encode();
    assert!(
        text.contains(r#"otlake_queries_total{kind="sql",outcome="cancelled"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"otlake_queries_total{kind="sql",outcome="invalid"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn gathers_a_trace_from_live_rows_and_files() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 101, 0, 10))
        .live("b", spans("b", 101, 0, 10))
        .file("a", 99, &spans("a", 99, 5, 20))
        .file("a", 100, &spans("a", 100, 50, 20))
        .file("b", 100, &spans("b", 100, 5, 1));
    let engine = engine(config(&folder), source);
    for (tenant, consistency, rows) in [
        (Some("a"), Consistency::Strong, 2),
        (Some("a"), Consistency::Eventual, 1),
        (Some("b"), Consistency::Strong, 2),
        (Some("c"), Consistency::Strong, 0),
        (None, Consistency::Strong, 4),
    ] {
        let found = traced(&engine, 5, tenant, consistency).await;
        let count: usize = found.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(count, rows, "{tenant:?}");
        for batch in &found {
            assert_eq!(batch.schema(), crate::sample_test::schema());
        }
    }
    let none = traced(&engine, 99, None, Consistency::Strong).await;
    assert!(none.is_empty());
}

async fn traced(
    engine: &QueryEngine,
    id: u8,
    tenant: Option<&str>,
    consistency: Consistency,
) -> Vec<RecordBatch> {
    let answer = engine
        .trace([id; 16], tenant, None, consistency, false)
        .await
        .unwrap();
    answer.stream.try_collect().await.unwrap()
}

#[tokio::test]
async fn i5_a_trace_that_nobody_reads_keeps_its_place_until_its_deadline() {
    let folder = TempDir::new().unwrap();
    let engine = limited(&folder, |config| {
        config.concurrency = 1;
        config.queue_ms = 3_600_000;
        config.timeout_ms = 200;
    });
    let mut unread = engine
        .trace([5; 16], None, None, Consistency::Strong, false)
        .await
        .unwrap();
    let mut next = Box::pin(engine.query(request("SELECT 1")));
    assert!(futures::poll!(&mut next).is_pending(), "its place is taken");
    assert!(next.await.is_ok());
    let ended = unread.stream.next().await.unwrap();
    assert_eq!(ended.unwrap_err().code, Code::QueryTimeout);
}

/// 200 rows whose attributes are 1 MB each, all the same or none like another.
fn wide(same: bool) -> RecordBatch {
    let batch = spans("a", 100, 0, 200);
    let mut columns = batch.columns().to_vec();
    let filling = "x".repeat(1_000_000);
    let texts = (0..200).map(|row| format!("{}{filling}", if same { 0 } else { row }));
    columns[5] = Arc::new(StringViewArray::from_iter_values(texts));
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_the_wider_rows_are_the_fewer_come_in_a_batch() {
    for same in [true, false] {
        let folder = TempDir::new().unwrap();
        let source = Spans::new(&folder).file("a", 100, &wide(same));
        let engine = engine(config(&folder), source);
        for sql in [
            "SELECT * FROM spans",
            "SELECT attributes FROM spans WHERE kind = 2",
        ] {
            let answer = engine.query(request(sql)).await.unwrap();
            let batches: Vec<_> = answer.stream.try_collect().await.unwrap();
            let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(rows.iter().sum::<usize>(), 200, "{sql}");
            assert!(rows.iter().all(|rows| *rows <= 17), "{sql}: {rows:?}");
        }
        // Columns that are not wide come as they always do.
        let narrow = engine
            .query(request("SELECT name FROM spans"))
            .await
            .unwrap();
        let batches: Vec<_> = narrow.stream.try_collect().await.unwrap();
        assert_eq!(batches.len(), 1);
        let answer = engine.query(request("SELECT * FROM spans")).await.unwrap();
        let chunks: Vec<_> = encode(answer, Format::Ndjson)
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(chunks.iter().all(|chunk| chunk.len() < 2_500_000));
        assert!(chunks.len() >= 100);
        assert_eq!(traced(&engine, 5, None, Consistency::Strong).await.len(), 1);
    }
}
