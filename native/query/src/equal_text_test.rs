use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use otlake_base::Result;
use tempfile::TempDir;

use crate::attribute::{Needle, find, text};
use crate::engine::QueryEngine;
use crate::sample_test::{Random, Spans, config, engine, request, spans};

fn one_of<'a>(random: &mut Random, all: &[&'a str]) -> &'a str {
    all[random.below(all.len() as u64) as usize]
}

const KEYS: [&str; 3] = ["a", "b", "ab"];
/// Values as JSON; some have text that others have within, escaped, nested or in no string at all.
const VALUES: [&str; 12] = [
    r#""x""#,
    r#""xy""#,
    r#""""#,
    r#""\u0078""#,
    r#""a\"x""#,
    r#""é""#,
    r#""\u00e9""#,
    "12",
    "12.5",
    "true",
    "null",
    r#"["x",{"b":"x"}]"#,
];
const TEXTS: [&str; 11] = [
    "x",
    "xy",
    "",
    "a\"x",
    "é",
    "12",
    "12.5",
    "true",
    "null",
    "b",
    r#"["x",{"b":"x"}]"#,
];

fn attributes(random: &mut Random) -> String {
    let entries: Vec<String> = (0..random.below(4))
        .map(|_| format!(r#""{}":{}"#, one_of(random, &KEYS), one_of(random, &VALUES)))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn seed() -> u64 {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    seed
}

#[test]
fn a_text_that_an_attribute_is_is_always_found_in_it() {
    let mut random = Random(seed());
    for _ in 0..20_000 {
        let json = attributes(&mut random);
        let wanted = one_of(&mut random, &TEXTS);
        let needle = Needle::new(wanted);
        for key in KEYS {
            if find(&json, key).and_then(text).as_deref() == Some(wanted) {
                assert!(needle.may_be_in(&json), "{wanted:?} in {json}");
            }
        }
    }
    assert!(!Needle::new("z").may_be_in(r#"{"a":"x"}"#));
}

async fn count(engine: &QueryEngine, sql: &str) -> Result<i64> {
    let batches: Vec<RecordBatch> = engine
        .query(request(sql))
        .await?
        .stream
        .try_collect()
        .await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

#[tokio::test]
async fn a_filter_finds_the_rows_that_the_comparison_alone_finds() {
    let mut random = Random(seed());
    let folder = TempDir::new().unwrap();
    let mut rows = || {
        let batch = spans("a", 100, 0, 200);
        let texts = (0..batch.num_rows()).map(|_| attributes(&mut random));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let mut columns = batch.columns().to_vec();
        columns[batch.schema().index_of("attributes").unwrap()] = texts;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    let source = Spans::new(&folder)
        .live("a", rows())
        .file("a", 100, &rows());
    let engine = engine(config(&folder), source);
    let mut found = 0;
    for key in KEYS {
        for text in TEXTS {
            let same = format!("attributes['{key}'] = '{text}'");
            // An aggregate's filter is no filter of rows.
            let compared = format!("SELECT count(*) FILTER (WHERE {same}) FROM spans");
            let compared = count(&engine, &compared).await.unwrap();
            for filter in [
                same.clone(),
                format!("'{text}' = attributes['{key}']"),
                format!("kind = 2 AND {same}"),
            ] {
                let sql = format!("SELECT count(*) FROM spans WHERE {filter}");
                assert_eq!(count(&engine, &sql).await.unwrap(), compared, "{filter}");
            }
            // What is another and what is not there are different, and stay so.
            let other = format!("SELECT count(*) FILTER (WHERE NOT ({same})) FROM spans");
            let other = count(&engine, &other).await.unwrap();
            let sql = format!("SELECT count(*) FROM spans WHERE NOT ({same})");
            assert_eq!(count(&engine, &sql).await.unwrap(), other, "{sql}");
            found += compared;
        }
    }
    assert!(found > 100, "{found} rows were found");
}
