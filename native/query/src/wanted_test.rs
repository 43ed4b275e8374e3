use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionContext;
use object_store::local::LocalFileSystem;
use otlake_base::{Consistency, Metrics};
use tempfile::TempDir;

use super::*;
use crate::reader::CheckedReaderFactory;
use crate::sample_test::{DAY_NANOS, Spans};
use crate::table::LakeTable;
use crate::trace::TraceIndex;

const DAY: i64 = 100 * DAY_NANOS;

async fn of(sql: &str) -> Vec<(Table, Wanted)> {
    let folder = TempDir::new().unwrap();
    let cache = RuntimeEnv::default()
        .cache_manager
        .get_file_metadata_cache();
    let table = LakeTable::new(
        Arc::new(Spans::new(&folder)),
        None,
        (Consistency::Strong, false),
        (
            Arc::new(CheckedReaderFactory::new(
                Arc::new(LocalFileSystem::new()),
                None,
                cache,
                Arc::new(Metrics::new()),
            )),
            Arc::new(TraceIndex::new(1 << 20)),
        ),
        Arc::new(AtomicUsize::new(8192)),
    );
    let session = SessionContext::new();
    session.register_table("spans", Arc::new(table)).unwrap();
    let plan = session.state().create_logical_plan(sql).await.unwrap();
    let plan = session.state().optimize(&plan).unwrap();
    wanted(&plan).unwrap()
}

async fn one(sql: &str) -> Wanted {
    let mut all = of(sql).await;
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0).1
}

#[tokio::test]
async fn a_scan_wants_its_columns_times_and_trace() {
    let id = format!("arrow_cast(X'{}', 'FixedSizeBinary(16)')", "07".repeat(16));
    for (filter, times, trace_id) in [
        ("kind = 2".to_owned(), None, None),
        (
            format!("start_time_unix_nano >= {DAY} AND kind = 2"),
            Some((DAY, i64::MAX)),
            None,
        ),
        (
            format!(
                "{} > start_time_unix_nano AND start_time_unix_nano >= {DAY}",
                DAY + 9
            ),
            Some((DAY, DAY + 9)),
            None,
        ),
        (
            format!("start_time_unix_nano BETWEEN {DAY} AND {}", DAY + 5),
            Some((DAY, DAY + 5)),
            None,
        ),
        (
            "start_time < '1970-04-11T00:00:00Z'".to_owned(),
            Some((i64::MIN, DAY + 1_000)),
            None,
        ),
        // Either side alone says nothing of the rows.
        (
            format!("start_time_unix_nano = {DAY} OR kind = 2"),
            None,
            None,
        ),
        (
            format!("NOT (start_time_unix_nano BETWEEN {DAY} AND {DAY})"),
            None,
            None,
        ),
        (format!("trace_id = {id}"), None, Some([7; 16])),
    ] {
        let wanted = one(&format!("SELECT name FROM spans WHERE {filter}")).await;
        assert_eq!(
            (wanted.times, wanted.trace_id),
            (times, trace_id),
            "{filter}"
        );
        let columns = wanted.columns.unwrap();
        assert!(
            columns.contains(&"name".to_owned()) && columns.len() < 5,
            "{filter}"
        );
    }
    assert_eq!(
        one("SELECT count(*) FROM spans").await.columns,
        Some(Vec::new())
    );
}

#[tokio::test]
async fn scans_of_one_table_want_what_any_of_them_does() {
    let sql = format!(
        "SELECT a.name FROM spans a JOIN spans b ON a.kind = b.kind WHERE \
         a.start_time_unix_nano >= {DAY} AND a.start_time_unix_nano <= {} AND \
         b.start_time_unix_nano >= {} AND b.start_time_unix_nano <= {}",
        DAY + 5,
        DAY + 3,
        DAY + 9
    );
    let wanted = one(&sql).await;
    assert_eq!(wanted.times, Some((DAY, DAY + 9)));
    let mut columns = wanted.columns.unwrap();
    columns.sort();
    assert_eq!(columns, ["kind", "name", "start_time_unix_nano"]);
    // One that wants all makes it all.
    let sql = format!(
        "SELECT (SELECT max(kind) FROM spans), name FROM spans WHERE start_time_unix_nano = {DAY}"
    );
    assert_eq!(one(&sql).await.times, None);
    assert_eq!(of("SELECT 1").await, []);
}
