use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::properties::WriterProperties;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::files::{FileCount, ScanCount};

/// A file in memory.
struct InMemory {
    bytes: Bytes,
    metadata: Arc<ParquetMetaData>,
}

impl AsyncFileReader for InMemory {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        async move { Ok(bytes) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let metadata = Arc::clone(&self.metadata);
        async move { Ok(metadata) }.boxed()
    }
}

/// 100 rows in four row groups.
fn file() -> (Bytes, Arc<ParquetMetaData>) {
    let numbers = Arc::new(Int64Array::from_iter_values(0..100));
    let batch = RecordBatch::try_from_iter([("n", numbers as _)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(25));
    let mut bytes = Vec::new();
    let properties = Some(properties.build());
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let bytes = Bytes::from(bytes);
    let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).unwrap();
    let metadata = Arc::clone(metadata.metadata());
    assert_eq!(metadata.num_row_groups(), 4);
    (bytes, metadata)
}

struct Scan {
    bytes: Bytes,
    metadata: Arc<ParquetMetaData>,
    count: Arc<ScanCount>,
    file: FileCount,
}

impl Scan {
    fn new() -> Scan {
        let (bytes, metadata) = file();
        let count = Arc::new(ScanCount::default());
        Scan {
            bytes,
            metadata,
            file: FileCount::new(&count, 100),
            count,
        }
    }

    fn piece(&self) -> PartitionedFile {
        PartitionedFile::new("a.parquet", self.bytes.len() as u64)
    }

    fn open(&self, piece: &PartitionedFile) -> Box<dyn AsyncFileReader + Send> {
        let inner = InMemory {
            bytes: self.bytes.clone(),
            metadata: Arc::clone(&self.metadata),
        };
        self.file.reader(piece, Box::new(inner))
    }

    /// Where a row group's only column is.
    fn group(&self, number: usize) -> Range<u64> {
        let (start, length) = self.metadata.row_group(number).column(0).byte_range();
        start..start + length
    }
}

#[tokio::test]
async fn a_row_group_is_done_with_when_another_is_read_in_whichever_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let scan = Scan::new();
        let mut reader = scan.open(&scan.piece());
        reader.get_metadata(None).await.unwrap();
        for (number, group) in order.into_iter().enumerate() {
            // Once for a filter's column, once for the others.
            for _ in 0..2 {
                reader
                    .get_byte_ranges(vec![scan.group(group)])
                    .await
                    .unwrap();
                assert_eq!(scan.count.passed(), 25 * number as u64, "{order:?}");
            }
        }
        drop(reader);
        assert_eq!(scan.count.passed(), 100);
    }
}

#[tokio::test]
async fn what_is_skipped_counts_at_the_end_of_its_piece() {
    let scan = Scan::new();
    let mut reader = scan.open(&scan.piece());
    reader.get_metadata(None).await.unwrap();
    reader.get_bytes(scan.group(3)).await.unwrap();
    assert_eq!(scan.count.passed(), 0);
    drop(reader);
    assert_eq!(scan.count.passed(), 100);
    // A file that is not even looked into is done with, too; and no row counts twice.
    drop(scan.open(&scan.piece()));
    assert_eq!(scan.count.passed(), 100);
}

#[tokio::test]
async fn a_reader_that_another_takes_over_from_does_not_end_the_piece() {
    let scan = Scan::new();
    let mut filters = scan.open(&scan.piece());
    filters.get_metadata(None).await.unwrap();
    let mut decoding = scan.open(&scan.piece());
    // Bytes outside of the row groups, as a bloom filter's or an index's.
    let end = scan.bytes.len() as u64;
    filters.get_bytes(end - 8..end).await.unwrap();
    drop(filters);
    assert_eq!(scan.count.passed(), 0);
    for group in 0..2 {
        decoding.get_bytes(scan.group(group)).await.unwrap();
    }
    assert_eq!(scan.count.passed(), 25);
    drop(decoding);
    assert_eq!(scan.count.passed(), 100);
}

#[tokio::test]
async fn pieces_of_one_file_add_up() {
    let scan = Scan::new();
    let (size, cut) = (scan.bytes.len() as i64, scan.group(2).start as i64);
    let pieces = [(0, cut), (cut, size)].map(|(from, to)| scan.piece().with_range(from, to));
    let rows = pieces.each_ref().map(|piece| scan.file.rows_of(piece));
    for cut in 0..=size {
        let pieces = [(0, cut), (cut, size)].map(|(from, to)| scan.piece().with_range(from, to));
        let rows = pieces.each_ref().map(|piece| scan.file.rows_of(piece));
        assert_eq!(rows.iter().sum::<u64>(), 100, "cut at {cut}: {rows:?}");
    }
    let mut first = scan.open(&pieces[0]);
    first.get_metadata(None).await.unwrap();
    for group in 0..2 {
        first.get_bytes(scan.group(group)).await.unwrap();
    }
    // One of the piece's two row groups.
    assert_eq!(scan.count.passed(), rows[0] / 2);
    drop(first);
    assert_eq!(scan.count.passed(), rows[0]);
    drop(scan.open(&pieces[1]));
    assert_eq!(scan.count.passed(), rows[0] + rows[1]);
}
