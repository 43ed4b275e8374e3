use arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{QueryEngine, QueryRequest};
use crate::sample_test::{lake, request};

async fn cells(engine: &QueryEngine, request: QueryRequest) -> Vec<String> {
    let result = engine.query(request).await.unwrap();
    let batches: Vec<_> = result.stream.try_collect().await.unwrap();
    let mut cells = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            for column in batch.columns() {
                cells.push(array_value_to_string(column, row).unwrap());
            }
        }
    }
    cells
}

async fn cell(engine: &QueryEngine, sql: &str) -> String {
    cells(engine, request(sql)).await.join("|")
}

async fn with(engine: &QueryEngine, sql: &str, parameters: Value) -> String {
    let mut request = request(sql);
    request.parameters = parameters.as_array().unwrap().clone();
    cells(engine, request).await.join("|")
}

#[tokio::test]
async fn counts_live_rows_and_files_once_for_its_tenant_alone() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    assert_eq!(cell(&engine, "SELECT count(*) FROM spans").await, "60");
    let plan = cell(&engine, "EXPLAIN SELECT count(*) FROM spans").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    assert_eq!(cell(&engine, "SELECT count(name) FROM spans").await, "60");
    let other = "SELECT count(*) FROM spans WHERE tenant = 'b' OR true";
    assert_eq!(cell(&engine, other).await, "60");
    let other = "SELECT count(*) FROM otlake.public.spans WHERE tenant = 'b'";
    assert_eq!(cell(&engine, other).await, "0");
    let mut all = request("SELECT tenant, count(*) FROM spans GROUP BY 1 ORDER BY 1");
    all.tenant = None;
    assert_eq!(cells(&engine, all).await, ["a", "60", "b", "12"]);
    let mut files = request("SELECT count(*) FROM spans");
    files.consistency = otlake_base::Consistency::Eventual;
    assert_eq!(cells(&engine, files).await, ["50"]);
}

#[tokio::test]
async fn opens_only_files_that_can_match() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    for (filter, rows, files) in [
        ("day = DATE '1970-04-11'", "20", 1),
        ("start_time < TIMESTAMP '1970-04-12T00:00:00Z'", "20", 1),
        ("start_time_unix_nano >= 8726400000000000", "40", 1),
        ("start_time_unix_nano < 0", "0", 0),
        ("start_time_unix_nano < 0 OR kind = 2", "60", 2),
    ] {
        let sql = format!("SELECT count(name) FROM spans WHERE {filter}");
        assert_eq!(cell(&engine, &sql).await, rows, "{filter}");
        let plan = cell(&engine, &format!("EXPLAIN {sql}")).await;
        let opened = plan.matches(".parquet").count();
        assert_eq!(opened, files, "{filter}: {plan}");
    }
}

#[tokio::test]
async fn opens_only_files_that_may_have_a_trace() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    let id = |number: u8| format!("'{}'", format!("{number:02x}").repeat(16));
    let (first, second, both, none) = (id(11), id(31), id(5), id(200));
    for (filter, rows, files) in [
        (format!("trace_id = {first}"), "1", 1),
        (format!("{second} = trace_id AND kind = 2"), "1", 1),
        // A live row, which no file has.
        (format!("trace_id = {both}"), "1", 0),
        (format!("trace_id = {none}"), "0", 0),
        (format!("trace_id IN ({first}, {none})"), "1", 1),
        (format!("trace_id IN ({first}, {second})"), "2", 2),
        (format!("trace_id = {first} OR trace_id = {none}"), "1", 1),
        (format!("trace_id = {first} OR kind = 2"), "60", 2),
        (format!("trace_id <> {first}"), "59", 2),
        (format!("NOT trace_id = {first}"), "59", 2),
    ] {
        let sql = format!("SELECT count(name) FROM spans WHERE {filter}");
        assert_eq!(cell(&engine, &sql).await, rows, "{filter}");
        let plan = cell(&engine, &format!("EXPLAIN {sql}")).await;
        let opened = plan.matches(".parquet").count();
        assert_eq!(opened, files, "{filter}: {plan}");
    }
}

#[tokio::test]
async fn reaches_into_attributes() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    let one = "FROM spans WHERE trace_id = '07070707070707070707070707070707'";
    for (expression, value) in [
        ("attr(attributes, 'http.route')", "/items/{id}"),
        ("attributes['http.route']", "/items/{id}"),
        ("attributes->>'quoted'", "a\"b"),
        ("attributes->'quoted'", r#""a\"b""#),
        ("attr_json(attributes, 'ok')", "true"),
        ("attr_int(attributes, 'n') + 1", "8"),
        ("attr_double(attributes, 'n')", "7.0"),
        ("attr_bool(attributes, 'ok')", "true"),
        ("attributes['none']", ""),
        (
            "array_to_string(attr_keys(attributes), ',')",
            "http.route,n,quoted,ok",
        ),
        ("hex(trace_id)", "07070707070707070707070707070707"),
        ("hex(unhex('00ff'))", "00ff"),
        ("span_kind_name(kind)", "SERVER"),
        ("status_name(2)", "ERROR"),
        ("severity_name(10)", "INFO2"),
        ("adjusted_count('a=b')", "1.0"),
        ("adjusted_count('a=b,ot=th:c')", "4.0"),
        ("trace_id = '07070707070707070707070707070707'", "true"),
        (
            "trace_id = trace_id('08080808080808080808080808080808')",
            "false",
        ),
    ] {
        let sql = format!("SELECT {expression} {one}");
        assert_eq!(cell(&engine, &sql).await, value, "{expression}");
    }
    let sql = "SELECT count(*) FROM spans WHERE attributes['n'] = '3' AND trace_id IN \
               ('03030303030303030303030303030303', '0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d')";
    assert_eq!(cell(&engine, sql).await, "2");
}

#[tokio::test]
async fn binds_parameters_as_values() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    let sql = "SELECT count(*) FROM spans WHERE trace_id = $1 AND attributes[$2] = $3";
    let values = json!(["0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A", "n", "0"]);
    assert_eq!(with(&engine, sql, values).await, "1");
    let sql = "SELECT count(*) FROM spans WHERE kind = $1 AND name <> $2 LIMIT $3";
    assert_eq!(
        with(&engine, sql, json!([2, "'; DROP TABLE spans", 5])).await,
        "60"
    );
    let sql = "SELECT count(*) FROM spans WHERE start_time_unix_nano >= $1";
    assert_eq!(with(&engine, sql, json!(["8726400000000000"])).await, "40");
    let sql = "SELECT count(*) FROM spans WHERE start_time >= $1";
    assert_eq!(
        with(&engine, sql, json!(["1970-04-12T00:00:00Z"])).await,
        "40"
    );
    let sql = "SELECT $1 IS NULL, $2";
    assert_eq!(with(&engine, sql, json!([null, true])).await, "true|true");
}

#[tokio::test]
async fn describes_itself() {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    assert!(
        cell(&engine, "SHOW TABLES")
            .await
            .contains("otlake|public|spans")
    );
    assert!(cell(&engine, "DESCRIBE spans").await.contains("attributes"));
    let sql = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'spans'";
    assert_eq!(cell(&engine, sql).await, "8");
}
