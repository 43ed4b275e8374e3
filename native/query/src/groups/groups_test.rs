use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::compute::{cast, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use tempfile::TempDir;

use super::by_codes;
use super::codes::{Codes, MOST_BYTES, MOST_GROUPS};
use crate::sample_test::{Random, Spans, config, engine, request, seeded, spans};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("service", DataType::Utf8View, true),
        Field::new("name", DataType::Utf8View, true),
        Field::new("status", DataType::Int32, true),
        Field::new("duration", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
    ]))
}

/// Texts out of a dictionary, as views into it: what the Parquet reader makes of a page.
fn out_of(dictionary: &[String], random: &mut Random, rows: usize) -> ArrayRef {
    let keys: Int32Array = (0..rows)
        .map(|_| {
            let key = random.below(dictionary.len() as u64 + 1) as usize;
            (key < dictionary.len()).then_some(key as i32)
        })
        .collect();
    let values = StringArray::from_iter_values(dictionary);
    let texts = DictionaryArray::<Int32Type>::new(keys, Arc::new(values));
    cast(&texts, &DataType::Utf8View).unwrap()
}

/// Some are inline in their view, some are not, some are alike in what is.
fn dictionary(random: &mut Random, words: u64, size: usize) -> Vec<String> {
    let word = |_| {
        let word = random.below(words);
        match random.below(4) {
            0 => String::new(),
            1 => format!("{word}"),
            2 => format!("GET /items/{word}"),
            _ => format!("a text that is alike for long, up to {word}"),
        }
    };
    (0..size).map(word).collect()
}

/// A row group's batches share a dictionary.
fn row_group(random: &mut Random, words: u64, size: usize) -> Vec<RecordBatch> {
    let rows = 500 + random.below(6_000) as usize;
    let (services, names) = (
        dictionary(random, words, 5),
        dictionary(random, words, size),
    );
    let status: Int32Array = (0..rows)
        .map(|_| Some(random.below(4) as i32).filter(|status| *status < 3))
        .collect();
    let duration: Vec<i64> = (0..rows).map(|_| random.below(1_000) as i64).collect();
    let share = duration.iter().map(|value| *value as f64 / 4.0);
    let share = Float64Array::from_iter_values(share);
    let columns: Vec<ArrayRef> = vec![
        out_of(&services, random, rows),
        out_of(&names, random, rows),
        Arc::new(status),
        Arc::new(Int64Array::from(duration)),
        Arc::new(share),
    ];
    let whole = RecordBatch::try_new(schema(), columns).unwrap();
    let mut batches = Vec::new();
    let mut start = 0;
    while start < rows {
        let length = (1 + random.below(2_000) as usize).min(rows - start);
        batches.push(whole.slice(start, length));
        start += length;
    }
    batches
}

fn context(partitions: Vec<Vec<RecordBatch>>) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let table = MemTable::try_new(schema(), partitions).unwrap();
    context.register_table("spans", Arc::new(table)).unwrap();
    context
}

async fn planned(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = context.sql(sql).await.unwrap();
    frame.create_physical_plan().await.unwrap()
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(&**plan).indent(false).to_string()
}

/// The rows in the order of all their columns, as text.
async fn rows(context: &SessionContext, plan: Arc<dyn ExecutionPlan>) -> String {
    let schema = plan.schema();
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    let whole = concat_batches(&schema, &batches).unwrap();
    let columns = whole
        .columns()
        .iter()
        .map(|column| arrow::compute::SortColumn {
            values: Arc::clone(column),
            options: None,
        });
    let order = lexsort_to_indices(&columns.collect::<Vec<_>>(), None).unwrap();
    let whole = take_record_batch(&whole, &order).unwrap();
    pretty_format_batches(&[whole]).unwrap().to_string()
}

const AGGREGATES: &str = "count(*), count(*) FILTER (WHERE status = 2), avg(duration), max(share), \
     sum(duration), count(DISTINCT status), max(name), bit_xor(duration)";
const GROUPS: [&str; 6] = [
    "service",
    "service, name",
    "status, name",
    "name, status, service",
    "service, duration % 7, name, status",
    "upper(service), name",
];

#[tokio::test]
async fn groups_by_number_are_those_by_text() {
    let mut random = seeded();
    for round in 0..6 {
        // Few words, many of them, and more than there are numbers for.
        let (words, size) = [(30, 20), (3_000, 400), (1 << 40, 4_000)][round % 3];
        let mut partitions = vec![Vec::new(), Vec::new()];
        for _ in 0..8 {
            let group = row_group(&mut random, words, size);
            partitions[random.below(2) as usize].extend(group);
        }
        let context = context(partitions);
        for groups in GROUPS {
            let keys: Vec<String> = (0..groups.split(',').count())
                .map(|at| format!("k{at}"))
                .collect();
            let named = groups
                .split(',')
                .zip(&keys)
                .map(|(group, key)| format!("{group} AS {key}"));
            let named = named.collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT {named}, {AGGREGATES} FROM spans GROUP BY {groups}");
            let plain = planned(&context, &sql).await;
            let coded = by_codes(Arc::clone(&plain)).unwrap();
            assert!(
                text(&coded).contains("CodedAggregateExec"),
                "{}",
                text(&coded)
            );
            assert_eq!(text(&coded).replace("CodedAgg", "Agg"), text(&plain));
            let (plain, coded) = (rows(&context, plain).await, rows(&context, coded).await);
            assert!(plain == coded, "round {round}, {groups}:\n{plain}\n{coded}");
        }
    }
}

#[tokio::test]
async fn what_is_no_text_or_no_partial_group_stays_as_it_is() {
    let mut random = seeded();
    let group = row_group(&mut random, 30, 20);
    let context = context(vec![group.clone(), group]);
    for sql in [
        "SELECT status, count(*) FROM spans GROUP BY status",
        "SELECT count(*), max(name) FROM spans",
        "SELECT service, name, count(*) FROM spans GROUP BY CUBE (service, name)",
        "SELECT service, array_agg(duration ORDER BY duration) FROM spans GROUP BY service",
        "SELECT DISTINCT name FROM spans LIMIT 3",
    ] {
        let plan = planned(&context, sql).await;
        let coded = by_codes(Arc::clone(&plan)).unwrap();
        assert_eq!(text(&coded), text(&plan), "{sql}");
    }
}

fn codes(columns: usize) -> (Codes, Arc<dyn MemoryPool>) {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    (Codes::new(columns, memory), pool)
}

#[test]
fn the_same_view_of_another_dictionary_is_another_text() {
    let (mut codes, _) = codes(1);
    let column = |text: &str| {
        let column = StringViewArray::from(vec![Some(text), None, Some(text), Some("")]);
        assert_eq!(column.data_buffers().len(), 1);
        column
    };
    let (first, second) = (
        column("a text of some length, 1"),
        column("a text of some length, 2"),
    );
    assert_eq!(first.views()[0], second.views()[0]);
    for column in [&first, &second, &first] {
        let numbers = codes.number(&[column]).unwrap();
        let texts = codes.texts(&numbers);
        assert_eq!(texts, std::slice::from_ref(column));
    }
}

#[test]
fn there_are_so_many_groups_and_no_more() {
    let names = |from: usize, count: usize| {
        StringViewArray::from_iter_values((from..from + count).map(|name| format!("{name}")))
    };
    let (mut one, pool) = codes(1);
    // Null is one of them, and batches of few rows tell nothing of how alike rows are.
    for from in (0..MOST_GROUPS - 1).step_by(100) {
        let count = 100.min(MOST_GROUPS - 1 - from);
        one.number(&[&names(from, count)]).unwrap();
    }
    assert!(pool.reserved() > MOST_GROUPS);
    one.number(&[&names(7, 100)]).unwrap();
    one.number(&[&names(MOST_GROUPS, 1)]).unwrap_err();

    // Few texts of each column, and many together.
    let (mut two, _) = codes(2);
    let few: Vec<StringViewArray> = (0..=256).map(|name| names(name, 1)).collect();
    let pairs = few
        .iter()
        .flat_map(|left| few.iter().map(move |right| (left, right)));
    let taken = pairs.take_while(|(left, right)| two.number(&[left, right]).is_ok());
    assert_eq!(taken.count(), MOST_GROUPS);

    let (mut long, _) = codes(1);
    let text = "long".repeat(1 << 18);
    let texts = (0..8).map(|text_number| format!("{text_number}{text}"));
    let texts: Vec<_> = texts
        .map(|text| StringViewArray::from(vec![text.as_str()]))
        .collect();
    let taken = texts
        .iter()
        .take_while(|text| long.number(&[text]).is_ok())
        .count();
    assert!(taken > 0 && taken * 2 * text.len() <= MOST_BYTES, "{taken}");
    // A batch whose rows share nothing is not worth it.
    let (mut none, _) = codes(1);
    none.number(&[&names(0, 5_000)]).unwrap_err();
}

#[tokio::test]
async fn a_question_over_files_and_live_rows_is_grouped_by_number() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 101, 0, 10))
        .file("a", 100, &spans("a", 100, 10, 20))
        .file("a", 101, &spans("a", 101, 30, 30));
    let engine = engine(config(&folder), source);
    let told = |sql: &str| {
        let (engine, request) = (Arc::clone(&engine), request(sql));
        async move {
            let result = engine.query(request).await.unwrap();
            let batches: Vec<RecordBatch> = result.stream.try_collect().await.unwrap();
            pretty_format_batches(&batches).unwrap().to_string()
        }
    };
    let sql =
        "SELECT name, count(*) AS spans FROM spans GROUP BY name ORDER BY spans DESC, name LIMIT 2";
    let answer = told(sql).await;
    let lines: Vec<&str> = answer.lines().skip(3).collect();
    assert_eq!(
        lines[..2],
        ["| GET /items/0 | 3     |", "| GET /items/1 | 3     |"]
    );
    let explained = told(&format!("EXPLAIN ANALYZE {sql}")).await;
    assert!(
        explained.contains("CodedAggregateExec: mode=Partial"),
        "{explained}"
    );
    // Of each source's partial groups, whichever partition has read it.
    let coded = explained.split("CodedAggregateExec").nth(1).unwrap();
    let rows = coded.split("output_rows=").nth(1).unwrap();
    let rows: usize = rows.split(',').next().unwrap().parse().unwrap();
    assert!((30..=60).contains(&rows), "{explained}");
}
