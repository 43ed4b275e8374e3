//! A small `spans` table for tests: live batches, and Parquet files written here.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use otlake_base::checksum::BlockSums;
use otlake_base::{
    Capture, Consistency, DataFile, LiveRows, Metrics, Moment, Result, SystemClock, Table,
    TableSource,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::{QueryConfig, QueryEngine, QueryRequest};

pub(crate) const DAY_NANOS: i64 = 86_400_000_000_000;

/// A generator of numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Numbers of this run's seed, which it prints.
pub(crate) fn seeded() -> Random {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    Random(seed)
}

pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("name", DataType::Utf8View, false),
        Field::new("kind", DataType::Int32, false),
        Field::new("start_time", time, false),
        Field::new("start_time_unix_nano", DataType::Int64, false),
        Field::new("attributes", DataType::Utf8View, false),
        Field::new("tenant", DataType::Utf8View, false),
        Field::new("day", DataType::Date32, false),
    ]))
}

/// `count` spans of a tenant on a day: span `i` is in trace `first + i`, `i` µs into the day.
pub(crate) fn spans(tenant: &str, day: i32, first: u8, count: u8) -> RecordBatch {
    let rows = 0..i64::from(count);
    let nanos: Vec<i64> = rows
        .clone()
        .map(|row| i64::from(day) * DAY_NANOS + row * 1_000)
        .collect();
    let ids: Vec<[u8; 16]> = (0..count).map(|row| [first + row; 16]).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids.into_iter()).unwrap()),
        Arc::new(StringViewArray::from_iter_values(
            rows.clone().map(|row| format!("GET /items/{row}")),
        )),
        Arc::new(Int32Array::from(vec![2; usize::from(count)])),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(nanos.iter().map(|nanos| nanos / 1_000))
                .with_timezone("UTC"),
        ),
        Arc::new(Int64Array::from(nanos)),
        Arc::new(StringViewArray::from_iter_values(rows.map(|row| {
            format!(r#"{{"http.route":"/items/{{id}}","n":{row},"quoted":"a\"b","ok":true}}"#)
        }))),
        Arc::new(StringViewArray::from(vec![tenant; usize::from(count)])),
        Arc::new(Date32Array::from(vec![day; usize::from(count)])),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// The table of one moment.
pub(crate) struct Spans {
    pub(crate) live: Vec<LiveRows>,
    pub(crate) files: Vec<DataFile>,
    pub(crate) root: PathBuf,
}

impl Spans {
    pub(crate) fn new(folder: &TempDir) -> Self {
        Self {
            live: Vec::new(),
            files: Vec::new(),
            root: folder.path().join("spans"),
        }
    }

    pub(crate) fn live(mut self, tenant: &str, batch: RecordBatch) -> Self {
        self.live.push(LiveRows {
            tenant: tenant.into(),
            batch,
        });
        self
    }

    pub(crate) fn file(self, tenant: &str, day: i32, batch: &RecordBatch) -> Self {
        let properties = WriterProperties::builder()
            .set_bloom_filter_enabled(true)
            .build();
        self.file_as(tenant, day, batch, properties)
    }

    /// A file whose pages and row groups are as told.
    pub(crate) fn file_as(
        mut self,
        tenant: &str,
        day: i32,
        batch: &RecordBatch,
        properties: WriterProperties,
    ) -> Self {
        let path = format!("tenant={tenant}/day={day}/{}.parquet", self.files.len());
        let whole = self.root.join(&path);
        fs::create_dir_all(whole.parent().unwrap()).unwrap();
        let kept: Vec<usize> = (0..batch.num_columns() - 2).collect();
        let batch = batch.project(&kept).unwrap();
        let file = File::create(&whole).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let start = i64::from(day) * DAY_NANOS;
        self.files.push(DataFile {
            path,
            size: fs::metadata(&whole).unwrap().len(),
            rows: batch.num_rows() as u64,
            tenant: tenant.to_owned(),
            day,
            min_time: start,
            max_time: start + (batch.num_rows() as i64 - 1) * 1_000,
            sums: Some(Arc::new(BlockSums::of(&fs::read(&whole).unwrap()))),
        });
        self
    }
}

impl TableSource for Spans {
    fn table(&self) -> Table {
        Table::Spans
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn capture(&self, consistency: &Consistency) -> Result<Capture> {
        let live = match consistency {
            Consistency::Eventual => Vec::new(),
            _ => self.live.clone(),
        };
        let files = Arc::new(self.files.clone());
        Ok(Capture::new(live, files, self.root.clone()))
    }

    fn moment(&self, _: &Consistency) -> Result<Option<Moment>> {
        Ok(Some(Moment {
            newest: None,
            version: 1,
        }))
    }
}

pub(crate) fn config(folder: &TempDir) -> QueryConfig {
    QueryConfig {
        memory_bytes: 64 << 20,
        max_rows: 100_000,
        timeout_ms: 20_000,
        concurrency: 4,
        queue: 4,
        queue_ms: 1_000,
        temp_dir: folder.path().to_owned(),
        partitions: 2,
        distribute_bytes: 0,
        trace_filters_bytes: 1 << 26,
    }
}

pub(crate) fn engine(config: QueryConfig, source: impl TableSource) -> Arc<QueryEngine> {
    QueryEngine::new(
        config,
        vec![Arc::new(source)],
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap()
}

/// Two tenants, two days, live rows and files: `a` has 10 + 20 + 30 rows, `b` has 5 + 7.
pub(crate) fn lake(folder: &TempDir) -> Arc<QueryEngine> {
    let source = Spans::new(folder)
        .live("a", spans("a", 101, 0, 10))
        .live("b", spans("b", 101, 0, 5))
        .file("a", 100, &spans("a", 100, 10, 20))
        .file("a", 101, &spans("a", 101, 30, 30))
        .file("b", 100, &spans("b", 100, 10, 7));
    engine(config(folder), source)
}

pub(crate) fn request(sql: &str) -> QueryRequest {
    QueryRequest {
        sql: sql.to_owned(),
        tenant: Some("a".to_owned()),
        ..Default::default()
    }
}
