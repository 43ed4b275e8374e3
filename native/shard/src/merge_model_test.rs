//! Random files that share spans, merged, against a model that knows which rows are in which.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int64Type;
use otlake_base::checksum::BlockSums;
use otlake_base::{DataFile, Table};
use otlake_decode::schema::file_schema;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::rows::{DAY_NANOS, Random, batch};
use crate::{MergeOptions, WriteOptions, merge, write};

/// A row as the model tells it: which of the pool's, in which of its two wordings.
type Known = (usize, bool);

/// Rounds of a run; `OTLAKE_TEST_ROUNDS` asks for more.
const ROUNDS: u64 = 12;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    let value = value.map_or(otherwise, |value| value.parse().unwrap());
    eprintln!("{name}={value}");
    value
}

/// The pool, and the same rows with another name each.
fn pool(random: &mut Random, table: Table) -> [RecordBatch; 2] {
    let count = 50 + random.below(1_500) as usize;
    // Several services, and starts that are often equal.
    let parts: Vec<RecordBatch> = (0..1 + random.below(4))
        .map(|part| batch(table, 40 + part, count, DAY_NANOS, "acme"))
        .collect();
    let rows = concat_batches(&parts[0].schema(), &parts).unwrap();
    let column = if table == Table::Spans {
        "name"
    } else {
        "body"
    };
    let index = rows.schema().index_of(column).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[index] = Arc::new(StringViewArray::from_iter_values(vec![
        "reworded";
        rows.num_rows()
    ]));
    let reworded = RecordBatch::try_new(rows.schema(), columns).unwrap();
    [rows, reworded]
}

/// Some of the pool's rows, each in either wording, some of them twice.
fn choose(random: &mut Random, pool: &[RecordBatch; 2]) -> (RecordBatch, Vec<Known>) {
    let share = 1 + random.below(4);
    let mut known = Vec::new();
    let mut chosen = Vec::new();
    for _ in 0..1 + random.below(2) {
        for (wording, rows) in [false, true].into_iter().zip(pool) {
            let mask: Vec<bool> = (0..rows.num_rows())
                .map(|_| random.below(8) < if wording { 1 } else { share })
                .collect();
            let taken = mask.iter().enumerate().filter(|(_, taken)| **taken);
            known.extend(taken.map(|(row, _)| (row, wording)));
            chosen.push(filter_record_batch(rows, &BooleanArray::from(mask)).unwrap());
        }
    }
    let rows = concat_batches(&pool[0].schema(), &chosen).unwrap();
    (rows, known)
}

/// How often each row is there, by what tells it apart from all others.
type Counted = BTreeMap<(i64, String, String), u64>;

fn count(table: Table, batches: &[RecordBatch]) -> Counted {
    let mut counted = Counted::new();
    for rows in batches {
        let times = rows.column_by_name(table.time_column()).unwrap();
        let times = times.as_primitive::<Int64Type>();
        let text = |name: &str, row: usize| {
            let column = rows.column_by_name(name).unwrap();
            column.as_string_view().value(row).to_owned()
        };
        let id = rows.column_by_name("span_id").unwrap();
        let words = if table == Table::Spans {
            "name"
        } else {
            "body"
        };
        for row in 0..rows.num_rows() {
            let id = id
                .is_valid(row)
                .then(|| id.as_fixed_size_binary().value(row));
            let key = (times.value(row), format!("{id:?}"), text(words, row));
            *counted.entry(key).or_default() += 1;
        }
    }
    counted
}

fn read(table: Table, root: &Path, file: &DataFile) -> Vec<RecordBatch> {
    let file = fs::File::open(root.join(&file.path)).unwrap();
    let options = ArrowReaderOptions::new().with_schema(file_schema(table));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    reader
        .build()
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect()
}

#[tokio::test]
async fn i3_a_merge_of_random_files_is_what_the_model_says() {
    let seed = from_environment("OTLAKE_TEST_SEED", 1);
    let mut repeated = 0;
    for round in 0..from_environment("OTLAKE_TEST_ROUNDS", ROUNDS) {
        let mut random = Random(seed.wrapping_mul(1_000_003) + round);
        let table = if round % 4 == 3 {
            Table::Logs
        } else {
            Table::Spans
        };
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&mut random, table);
        let options = MergeOptions {
            write: WriteOptions {
                row_group_rows: 100 + random.below(3_000) as usize,
                ..WriteOptions::default()
            },
            memory_bytes: 1 << (16 + random.below(12)),
            // Copied where nothing is there twice, or never.
            copy_group_rows: [1, usize::MAX][random.below(2) as usize],
        };
        let mut files = Vec::new();
        let mut contents = BTreeMap::new();
        for _ in 0..2 + random.below(6) {
            let (rows, known) = choose(&mut random, &pool);
            if known.is_empty() {
                continue;
            }
            let written = write(table, vec![rows], folder.path(), &options.write)
                .await
                .unwrap();
            contents.insert(written[0].file.path.clone(), known);
            files.push(written[0].file.clone());
        }
        if files.len() < 2 {
            continue;
        }
        let merged = merge(table, folder.path(), &files, &options, &mut |_| Ok(())).unwrap();
        // The model: every row of the files that were merged; of spans, each once.
        let mut rows: Vec<Known> = merged
            .inputs
            .iter()
            .flat_map(|file| contents[&file.path].iter().copied())
            .collect();
        let all = rows.len();
        if table == Table::Spans {
            rows.sort_unstable();
            rows.dedup();
        }
        let expected: Vec<RecordBatch> = rows
            .iter()
            .map(|(row, wording)| pool[usize::from(*wording)].slice(*row, 1))
            .collect();
        let file = &merged.output.file;
        let found = read(table, folder.path(), file);
        assert_eq!(
            count(table, &found),
            count(table, &expected),
            "round {round}"
        );
        assert_eq!(
            merged.duplicates as usize,
            all - rows.len(),
            "round {round}"
        );
        assert_eq!(file.rows as usize, rows.len(), "round {round}");
        repeated += merged.duplicates;
        // It is checked by sums, as a flushed file is, and sorted where it was not copied.
        let whole = fs::read(folder.path().join(&file.path)).unwrap();
        assert_eq!(
            file.sums.as_deref(),
            Some(&BlockSums::of(&whole)),
            "round {round}"
        );
        assert_eq!(file.size as usize, whole.len());
        let services = |rows: &RecordBatch, row: usize| {
            let service = rows.column_by_name("service_name").unwrap();
            let time = rows.column_by_name(table.time_column()).unwrap();
            let time = time.as_primitive::<Int64Type>().value(row);
            (service.as_string_view().value(row).to_owned(), time)
        };
        let keys = found
            .iter()
            .flat_map(|rows| (0..rows.num_rows()).map(move |row| services(rows, row)));
        let copied = options.copy_group_rows == 1 && merged.duplicates == 0;
        assert!(copied || keys.is_sorted(), "round {round}");
    }
    assert!(repeated > 0, "no round had anything to leave out");
}
