use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use futures::TryStreamExt;
use otlake_base::Code;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::format::{Format, encode};
use crate::sample_test::{lake, request};

const EACH: &str = "SELECT name, hex(trace_id) AS id, trace_id, 9007199254740991 AS safe, \
    9007199254740993 AS big, CAST('NaN' AS DOUBLE) AS nan, -1.0 / 0.0 AS low, 0.5 AS half, \
    start_time, [9007199254740993, 1] AS list, named_struct('text', name) AS inner, \
    CAST(NULL AS BIGINT) AS none, true AS yes \
    FROM spans WHERE day = DATE '1970-04-11' ORDER BY start_time LIMIT 2";

async fn bytes(sql: &str, format: Format) -> (Vec<u8>, usize) {
    let folder = TempDir::new().unwrap();
    let engine = lake(&folder);
    let result = engine.query(request(sql)).await.unwrap();
    let chunks: Vec<Bytes> = encode(result, format).unwrap().try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| !chunk.is_empty()));
    (chunks.concat(), chunks.len())
}

fn check_row(row: &Value) {
    assert_eq!(row["name"], "GET /items/0");
    assert_eq!(row["trace_id"], row["id"]);
    assert_eq!(row["safe"], json!(9_007_199_254_740_991_i64));
    assert_eq!(row["big"], "9007199254740993");
    assert_eq!(row["nan"], "NaN");
    assert_eq!(row["low"], "-Infinity");
    assert_eq!(row["half"], 0.5);
    assert_eq!(row["start_time"], "1970-04-11T00:00:00Z");
    assert_eq!(row["list"], json!(["9007199254740993", 1]));
    assert_eq!(row["inner"], json!({"text": "GET /items/0"}));
    assert_eq!(row["none"], Value::Null);
    assert_eq!(row["yes"], true);
}

#[tokio::test]
async fn json_keeps_values_exact() {
    let (text, _) = bytes(EACH, Format::Json).await;
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        answer["columns"][0],
        json!({"name": "name", "type": "Utf8"})
    );
    assert_eq!(answer["rows"].as_array().unwrap().len(), 2);
    check_row(&answer["rows"][0]);
    let (text, _) = bytes("SELECT name FROM spans WHERE false", Format::Json).await;
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(answer["rows"], json!([]));
}

#[tokio::test]
async fn ndjson_has_a_row_a_line() {
    let (text, _) = bytes(EACH, Format::Ndjson).await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 2);
    check_row(&serde_json::from_str(text.lines().next().unwrap()).unwrap());
}

#[tokio::test]
async fn csv_has_a_header_and_nested_values_as_text() {
    let (text, _) = bytes(EACH, Format::Csv).await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("name,id,trace_id,safe,"), "{text}");
    let row = text.lines().nth(1).unwrap();
    for part in [
        "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a,0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        "9007199254740993,",
        "1970-04-11T00:00:00Z",
        r#"{""text"":""GET /items/0""}"#,
    ] {
        assert!(row.contains(part), "{part} in {row}");
    }
    let (text, _) = bytes("SELECT name FROM spans WHERE false", Format::Csv).await;
    assert_eq!(text, b"name\n");
}

fn check_batches(batches: &[RecordBatch]) {
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let batch = &batches[0];
    assert_eq!(batch["name"].as_string::<i32>().value(0), "GET /items/0");
    assert_eq!(
        batch["trace_id"].data_type(),
        &DataType::FixedSizeBinary(16)
    );
    let inner = batch["inner"].as_struct().column(0).data_type().clone();
    assert_eq!(inner, DataType::Utf8);
}

#[tokio::test]
async fn arrow_and_parquet_hold_plain_types() {
    let (data, _) = bytes(EACH, Format::Arrow).await;
    let reader = StreamReader::try_new(Cursor::new(data), None).unwrap();
    check_batches(&reader.collect::<Result<Vec<_>, _>>().unwrap());
    let (data, _) = bytes(EACH, Format::Parquet).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(data)).unwrap();
    let batches = reader.build().unwrap().collect::<Result<Vec<_>, _>>();
    check_batches(&batches.unwrap());
}

#[tokio::test]
async fn long_answers_come_in_chunks() {
    let sql = "SELECT a.name FROM spans a, spans b LIMIT 3000";
    let (text, chunks) = bytes(sql, Format::Ndjson).await;
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 3000);
    assert!(chunks >= 3);
}

#[test]
fn formats_have_names() {
    assert_eq!("csv".parse::<Format>().unwrap(), Format::Csv);
    let error = "xml".parse::<Format>().unwrap_err();
    assert_eq!(error.code, Code::QueryFormat);
    let empty = Arc::new(Schema::empty());
    assert!(crate::format::Encoder::new(Format::Json, &empty).is_ok());
}
