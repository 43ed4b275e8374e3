use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use otlake_base::checksum::BLOCK_BYTES;
use otlake_base::{Code, Consistency, Metrics, Result, SystemClock};

use crate::engine::QueryEngine;
use crate::reader::joined;
use crate::sample_test::{Spans, config, request, schema, spans};

/// Batches of 100 rows, so that the file has several blocks.
const BATCHES: u8 = 150;

/// Statements that between them read every part of a file: footer, indexes, filters, pages.
const STATEMENTS: [&str; 4] = [
    "SELECT count(*) FROM spans",
    "SELECT * FROM spans",
    "SELECT name, count(*), max(start_time_unix_nano) FROM spans GROUP BY name",
    "SELECT count(*) FROM spans WHERE name = 'nowhere'",
];

struct Lake {
    _folder: tempfile::TempDir,
    path: PathBuf,
    source: Arc<dyn Fn() -> Arc<QueryEngine>>,
    metrics: Arc<Metrics>,
}

fn lake() -> Lake {
    let folder = tempfile::tempdir().unwrap();
    let batches: Vec<_> = (0..BATCHES)
        .map(|first| spans("a", 100, first, 100))
        .collect();
    let batch = concat_batches(&schema(), &batches).unwrap();
    let source = Spans::new(&folder).file("a", 100, &batch);
    let path = source.root.join(&source.files[0].path);
    let (root, files) = (source.root.clone(), source.files.clone());
    let (settings, metrics) = (config(&folder), Arc::new(Metrics::new()));
    let counted = Arc::clone(&metrics);
    // An engine for each question: one that has read a footer keeps it.
    let source = Arc::new(move || {
        let source = Spans {
            live: Vec::new(),
            files: files.clone(),
            root: root.clone(),
        };
        QueryEngine::new(
            settings.clone(),
            vec![Arc::new(source)],
            Arc::new(SystemClock),
            Arc::clone(&counted),
        )
        .unwrap()
    });
    Lake {
        _folder: folder,
        path,
        source,
        metrics,
    }
}

async fn ask(lake: &Lake, sql: &str) -> Result<String> {
    let answer = (lake.source)().query(request(sql)).await?;
    let batches: Vec<_> = answer.stream.try_collect().await?;
    Ok(text(&batches))
}

/// Rows as text, in an order of their own.
fn text(batches: &[RecordBatch]) -> String {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<&str> = table.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn trace(lake: &Lake) -> Result<String> {
    let id = [120; 16];
    let answer = (lake.source)()
        .trace(id, Some("a"), None, Consistency::Strong, false)
        .await?;
    let batches: Vec<_> = answer.stream.try_collect().await?;
    Ok(text(&batches))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_no_flipped_bit_of_a_file_is_ever_served() {
    let lake = lake();
    let whole = fs::read(&lake.path).unwrap();
    assert!(
        whole.len() as u64 > 2 * BLOCK_BYTES,
        "{} bytes",
        whole.len()
    );
    let mut truth = Vec::new();
    for sql in STATEMENTS {
        truth.push(ask(&lake, sql).await.unwrap());
    }
    let traced = trace(&lake).await.unwrap();
    let footer = whole.len() - 8;
    let places = (0..40).map(|place| place * whole.len() / 40);
    let mut found = 0;
    for at in places.chain([footer - 300, footer - 40, footer, footer + 3, footer + 7]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&lake.path, damaged).unwrap();
        let mut answers = Vec::new();
        for (sql, truth) in STATEMENTS.iter().zip(&truth) {
            answers.push((ask(&lake, sql).await, truth));
        }
        answers.push((trace(&lake).await, &traced));
        for (answer, truth) in answers {
            match answer {
                // It did not need the damaged part.
                Ok(answer) => assert_eq!(&answer, truth, "byte {at}"),
                Err(error) => {
                    assert_eq!(error.code, Code::TableCorrupt, "byte {at}: {error}");
                    found += 1;
                }
            }
        }
        let everything = ask(&lake, STATEMENTS[1]).await;
        if at < footer - 10_000 {
            // Columns take up the most of the file, and this statement reads them all; indexes
            // and filters it may do without.
            found += usize::from(everything.is_err());
        }
    }
    assert!(found > 45, "{found} finds");
    let counted = lake
        .metrics
        .corruption
        .get_or_create(&vec![("kind", "file")]);
    assert!(counted.get() > 45);
    // A file cut short is damaged, too.
    fs::write(&lake.path, &whole[..whole.len() - 1]).unwrap();
    for (sql, truth) in STATEMENTS.iter().zip(&truth) {
        // A count comes from the table's log, and needs no byte of the file.
        if let Ok(answer) = ask(&lake, sql).await {
            assert_eq!(&answer, truth, "{sql}");
        }
    }
    assert!(ask(&lake, STATEMENTS[1]).await.is_err());
    fs::write(&lake.path, &whole).unwrap();
    assert_eq!(ask(&lake, STATEMENTS[1]).await.unwrap(), truth[1]);
}

#[test]
fn a_block_that_several_columns_are_in_is_read_once() {
    let ranges = vec![64..128, 0..64, 256..320, 64..192, 300..310];
    assert_eq!(joined(ranges), [0..192, 256..320]);
    assert_eq!(joined(Vec::new()), []);
}
