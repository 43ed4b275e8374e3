use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int32Array, RecordBatch, StringViewArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use otlake_base::{
    Capture, Code, Consistency, Moment, Position, Result, Session, StreamId, Table, TableSource,
};
use parking_lot::Mutex;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::compact::compact;
use super::{TraceEncoding, TraceForm};
use crate::QueryRequest;
use crate::engine::QueryEngine;
use crate::sample_test::{DAY_NANOS, Random, Spans, config, engine, schema, seeded, spans};

async fn traced(engine: &QueryEngine, id: u8, tenant: Option<&str>) -> Result<RecordBatch> {
    let answer = engine
        .trace([id; 16], tenant, None, Consistency::Strong, false)
        .await?;
    let batches: Vec<RecordBatch> = answer.stream.try_collect().await?;
    Ok(concat_batches(&schema(), &batches).unwrap())
}

/// How many rows a lookup finds.
async fn rows(
    engine: &QueryEngine,
    id: [u8; 16],
    tenant: Option<&str>,
    times: Option<(i64, i64)>,
) -> Result<usize> {
    let answer = engine.trace(id, tenant, times, Consistency::Strong, false);
    let batches: Vec<RecordBatch> = answer.await?.stream.try_collect().await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

/// Cuts every file short, so that reading one fails.
fn spoil(root: &Path) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path);
        } else {
            fs::write(path, b"").unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_found_of_a_trace_is_found_again_without_reading_the_files() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 100, 5, 2))
        .file("a", 100, &spans("a", 100, 0, 20))
        .file("a", 100, &spans("a", 100, 10, 20))
        .file("b", 100, &spans("b", 100, 0, 20));
    let root = source.root.clone();
    let engine = engine(config(&folder), source);
    let mut first = Vec::new();
    for (id, tenant, rows) in [
        (5, Some("a"), 2),
        (5, Some("b"), 1),
        (15, None, 3),
        (29, Some("a"), 1),
        (99, None, 0),
    ] {
        let found = traced(&engine, id, tenant).await.unwrap();
        assert_eq!(found.num_rows(), rows, "trace {id} of {tenant:?}");
        first.push((id, tenant, found));
    }

    spoil(&root);
    for (id, tenant, found) in &first {
        // A trace that no file has needs none either: the filters are known.
        assert_eq!(&traced(&engine, *id, *tenant).await.unwrap(), found);
    }
    // One that nobody asked for has to be read, and what fails is no empty answer.
    let unread = traced(&engine, 7, Some("a")).await.unwrap_err();
    assert_eq!(unread.code, Code::TableIo);
}

#[tokio::test]
async fn with_times_only_files_with_spans_of_them_and_live_spans_are_looked_at() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 90, 5, 1))
        .file("a", 100, &spans("a", 100, 0, 20))
        .file("a", 101, &spans("a", 101, 0, 20));
    let engine = engine(config(&folder), source);
    let within = async |times| rows(&engine, [5; 16], Some("a"), times).await;
    // The files' spans begin in the first 19 µs of their days.
    let (first, second) = (100 * DAY_NANOS, 101 * DAY_NANOS);
    for (times, rows) in [
        (None, 3),
        (Some((first, second)), 3),
        (Some((first, first)), 2),
        // Whole files are left out, and no rows of those that are not.
        (Some((first + 19_000, first + 19_000)), 2),
        (Some((first + 19_001, second - 1)), 1),
        (Some((second + 19_000, i64::MAX)), 2),
        (Some((i64::MIN, first - 1)), 1),
    ] {
        assert_eq!(within(times).await.unwrap(), rows, "{times:?}");
    }
}

#[tokio::test]
async fn a_file_outside_the_times_is_not_even_opened() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .file("a", 100, &spans("a", 100, 0, 20))
        .file("a", 101, &spans("a", 101, 0, 20));
    spoil(&source.root.join("tenant=a/day=100"));
    let engine = engine(config(&folder), source);
    let ask = |times| engine.trace([5; 16], Some("a"), times, Consistency::Strong, false);
    let answer = ask(Some((101 * DAY_NANOS, i64::MAX))).await.unwrap();
    let batches: Vec<RecordBatch> = answer.stream.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let whole = ask(None).await.err();
    assert_eq!(whole.map(|error| error.code), Some(Code::TableIo));
}

/// Spans of `count` traces, whose ids look random.
fn spans_of(random: &mut Random, count: u8) -> (RecordBatch, Vec<[u8; 16]>) {
    let batch = spans("a", 100, 0, count);
    let mut id = || random.below(u64::MAX).to_ne_bytes();
    let ids = (0..count).map(|_| [id(), id()].concat().try_into().unwrap());
    let ids: Vec<[u8; 16]> = ids.collect();
    let mut columns = batch.columns().to_vec();
    let stored = FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap();
    columns[0] = Arc::new(stored);
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    (batch, ids)
}

#[tokio::test]
async fn i5_with_filters_of_more_files_than_fit_lookups_still_know_most_files() {
    let mut random = seeded();
    let folder = TempDir::new().unwrap();
    let mut source = Spans::new(&folder);
    let mut wanted = Vec::new();
    for _ in 0..24 {
        let (batch, ids) = spans_of(&mut random, 250);
        let properties = WriterProperties::builder()
            .set_bloom_filter_enabled(true)
            .set_bloom_filter_fpp(0.001)
            .set_max_row_group_row_count(Some(125));
        source = source.file_as("a", 100, &batch, properties.build());
        wanted.extend([ids[7], ids[200]]);
    }
    let root = source.root.clone();
    // Each has two filters of 256 bytes.
    let config = crate::QueryConfig {
        trace_filters_bytes: 16 * 1024,
        ..config(&folder)
    };
    let engine = engine(config, source);
    for id in wanted {
        assert_eq!(rows(&engine, id, None, None).await.unwrap(), 1);
    }

    spoil(&root);
    let (_, absent) = spans_of(&mut random, 200);
    let mut asked = 0;
    for id in absent {
        match rows(&engine, id, None, None).await {
            Ok(rows) => assert_eq!(rows, 0),
            Err(error) => {
                assert_eq!(error.code, Code::TableIo);
                asked += 1;
            }
        }
    }
    println!("{asked} of 200 asked a file");
    assert!(asked < 120, "{asked} of 200 asked a file");
}

#[tokio::test]
async fn what_was_learnt_of_files_is_known_to_the_first_lookup() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 100, 30, 2))
        .file("a", 100, &spans("a", 100, 0, 20))
        .file("b", 101, &spans("b", 101, 10, 20));
    let root = source.root.clone();
    let engine = engine(config(&folder), source);
    engine.learn_traces().await;
    spoil(&root);
    assert_eq!(traced(&engine, 99, None).await.unwrap().num_rows(), 0);
    assert_eq!(traced(&engine, 31, None).await.unwrap().num_rows(), 1);
    // What was spoilt before is told to who asks for it.
    let unread = traced(&engine, 7, None).await.unwrap_err();
    assert_eq!(unread.code, Code::TableIo);
}

#[tokio::test]
async fn a_trace_has_been_looked_up_before_the_first_question() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder).live("b", spans("b", 101, 50, 2)).file(
        "a",
        100,
        &spans("a", 100, 10, 20),
    );
    let root = source.root.clone();
    let engine = engine(config(&folder), source);
    engine.learn_traces().await;
    spoil(&root);
    // What was found is remembered; nothing else was looked for.
    assert_eq!(traced(&engine, 10, None).await.unwrap().num_rows(), 1);
    let unread = traced(&engine, 11, None).await.unwrap_err();
    assert_eq!(unread.code, Code::TableIo);
}

#[tokio::test]
async fn files_that_cannot_be_read_are_left_to_who_asks_for_them() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder).file("a", 100, &spans("a", 100, 0, 20));
    spoil(&source.root.clone());
    let engine = engine(config(&folder), source);
    engine.learn_traces().await;
    let unread = traced(&engine, 7, None).await.unwrap_err();
    assert_eq!(unread.code, Code::TableIo);
}

/// Ids of the random spans.
const TRACES: u64 = 12;

/// Spans of some traces in no order; some columns have one value, some a few, some many.
fn random_spans(random: &mut Random, count: u8) -> RecordBatch {
    let batch = spans("a", 100, 0, count);
    let rows = 0..usize::from(count);
    let ids = rows.clone().map(|_| [random.below(TRACES) as u8; 16]);
    let ids = FixedSizeBinaryArray::try_from_iter(ids).unwrap();
    let few = random.below(3) + 1;
    let kinds = Int32Array::from_iter_values(rows.clone().map(|_| random.below(few) as i32));
    let names: Vec<String> = rows
        .map(|_| "n".repeat(random.below(few) as usize * 70))
        .collect();
    let names = StringViewArray::from_iter_values(names);
    let mut columns = batch.columns().to_vec();
    columns[..3].clone_from_slice(&[Arc::new(ids) as ArrayRef, Arc::new(names), Arc::new(kinds)]);
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// Rows as text, in an order of their own.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_has_the_rows_that_sql_finds_whatever_the_files_are_like() {
    let mut random = seeded();
    for _ in 0..12 {
        let folder = TempDir::new().unwrap();
        let mut source = Spans::new(&folder).live("a", random_spans(&mut random, 50));
        for _ in 0..3 {
            let count = [1, 2, 90, 250][random.below(4) as usize];
            let batch = random_spans(&mut random, count);
            let pages = 1 + random.below(60) as usize;
            let properties = WriterProperties::builder()
                .set_bloom_filter_enabled(random.below(2) == 0)
                .set_dictionary_enabled(random.below(2) == 0)
                .set_offset_index_disabled(random.below(4) == 0)
                .set_data_page_row_count_limit(pages)
                .set_write_batch_size(1 + random.below(8) as usize)
                .set_max_row_group_row_count(Some(1 + random.below(100) as usize))
                .build();
            source = source.file_as("a", 100, &batch, properties);
        }
        // A thread for each page and fewer.
        let config = crate::QueryConfig {
            partitions: 1 + random.below(5) as usize,
            ..config(&folder)
        };
        let engine = engine(config, source);
        for id in 0..=TRACES as u8 {
            let answer = engine.trace([id; 16], Some("a"), None, Consistency::Strong, false);
            let trace: Vec<_> = answer.await.unwrap().stream.try_collect().await.unwrap();
            let id = format!("{id:02x}").repeat(16);
            let sql = format!("SELECT * FROM spans WHERE trace_id = '{id}'");
            let answer = engine.query(QueryRequest {
                sql,
                ..QueryRequest::default()
            });
            let rows: Vec<_> = answer.await.unwrap().stream.try_collect().await.unwrap();
            assert_eq!(lines(&trace), lines(&rows), "trace {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_writer_has_its_rows_of_a_trace_in_the_tables_types() {
    let folder = TempDir::new().unwrap();
    let whole = spans("a", 100, 0, 100);
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields[1] = Arc::new(Field::new("name", DataType::Utf8, true));
    fields[2] = Arc::new(Field::new("kind", DataType::Int64, false));
    let columns = whole.columns().iter().zip(&fields);
    let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
    let other = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.collect());
    let source = Spans::new(&folder).file("a", 100, &other.unwrap());
    let engine = engine(config(&folder), source);
    let found = traced(&engine, 7, Some("a")).await.unwrap();
    assert_eq!(found, whole.slice(7, 1));
}

/// A table that a test changes.
struct Changing {
    inner: Spans,
    moment: Arc<Mutex<Moment>>,
}

impl TableSource for Changing {
    fn table(&self) -> Table {
        self.inner.table()
    }

    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn capture(&self, consistency: &Consistency) -> Result<Capture> {
        self.inner.capture(consistency)
    }

    fn moment(&self, consistency: &Consistency) -> Result<Option<Moment>> {
        let moment = *self.moment.lock();
        match consistency {
            Consistency::Strong => Ok(Some(moment)),
            Consistency::Session(_) => Err(otlake_base::Error::new(Code::QuerySession, "no")),
            Consistency::Eventual => Ok(Some(Moment {
                newest: None,
                ..moment
            })),
        }
    }
}

#[test]
fn i7_a_known_answer_is_given_at_its_own_moment_alone() {
    let folder = TempDir::new().unwrap();
    let newest = |sequence| {
        Some(Position {
            stream: StreamId(7),
            sequence,
        })
    };
    let moment = Arc::new(Mutex::new(Moment {
        newest: newest(1),
        version: 1,
    }));
    let source = Changing {
        inner: Spans::new(&folder),
        moment: Arc::clone(&moment),
    };
    let engine = engine(config(&folder), source);
    let form = TraceForm {
        trace_id: [1; 16],
        tenant: Some("a".to_owned()),
        times: None,
        encoding: TraceEncoding::Json,
    };
    let known = |form: &TraceForm, consistency| engine.known_trace(form, &consistency).unwrap();
    let at = engine.moment(&Consistency::Strong).unwrap().unwrap();
    assert_eq!(known(&form, Consistency::Strong), None);
    engine.keep_trace(form.clone(), at, b"one");
    assert_eq!(
        known(&form, Consistency::Strong).as_deref(),
        Some(&b"one"[..])
    );
    for other in [
        TraceForm {
            tenant: None,
            ..form.clone()
        },
        TraceForm {
            tenant: Some("b".to_owned()),
            ..form.clone()
        },
        TraceForm {
            encoding: TraceEncoding::Protobuf,
            ..form.clone()
        },
        TraceForm {
            encoding: TraceEncoding::Jaeger,
            ..form.clone()
        },
        TraceForm {
            trace_id: [2; 16],
            ..form.clone()
        },
        TraceForm {
            times: Some((0, 1)),
            ..form.clone()
        },
    ] {
        assert_eq!(known(&other, Consistency::Strong), None, "{other:?}");
    }
    assert_eq!(known(&form, Consistency::Eventual), None);
    let session = Consistency::Session(Session::default());
    let refused = engine.known_trace(&form, &session).unwrap_err();
    assert_eq!(refused.code, Code::QuerySession);
    // A span is acknowledged while the trace is looked up: the answer may lack it.
    moment.lock().newest = newest(2);
    assert_eq!(known(&form, Consistency::Strong), None);
    engine.keep_trace(form.clone(), at, b"one");
    assert_eq!(known(&form, Consistency::Strong), None);
    let at = engine.moment(&Consistency::Strong).unwrap().unwrap();
    engine.keep_trace(form.clone(), at, b"two");
    assert_eq!(
        known(&form, Consistency::Strong).as_deref(),
        Some(&b"two"[..])
    );
    // A file comes, is merged, or its rows expire.
    moment.lock().version = 2;
    assert_eq!(known(&form, Consistency::Strong), None);
}

#[test]
fn rows_that_are_kept_do_not_hold_on_to_what_they_were_read_from() {
    let whole = spans("a", 100, 0, 200);
    let one = whole.slice(50, 1);
    let kept = compact(&one).unwrap();
    assert_eq!(kept, one);
    let (kept, from) = (kept.get_array_memory_size(), one.get_array_memory_size());
    assert!(kept * 8 < from, "{kept} of {from} bytes");
}
