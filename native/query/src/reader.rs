//! Reads Parquet files, and hands on no byte that is not what was written (I6).
//!
//! A file of ours comes with a checksum for each 64 KiB. Every read, of footers, indexes and
//! filters as much as of pages, takes whole blocks and checks them. Files of other writers are
//! read as they are.

use std::fmt::{self, Debug, Display, Formatter};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use otlake_base::checksum::BlockSums;
use otlake_base::{Code, Error, Metrics};

use crate::progress::FileCount;

/// The store's name in its errors.
const STORE: &str = "CheckedFile";

/// Makes readers that check what they read, and keep footers in the cache.
pub(crate) struct CheckedReaderFactory {
    files: Arc<dyn ObjectStore>,
    /// Bytes of a file's end that are read at once for its footer.
    footer_bytes: Option<usize>,
    cache: Arc<FileMetadataCache>,
    metrics: Arc<Metrics>,
}

impl CheckedReaderFactory {
    pub(crate) fn new(
        files: Arc<dyn ObjectStore>,
        footer_bytes: Option<usize>,
        cache: Arc<FileMetadataCache>,
        metrics: Arc<Metrics>,
    ) -> Self {
        CheckedReaderFactory {
            files,
            footer_bytes,
            cache,
            metrics,
        }
    }
}

impl Debug for CheckedReaderFactory {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("CheckedReaderFactory")
    }
}

impl ParquetFileReaderFactory for CheckedReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let Some(count) = file.extension::<FileCount>().cloned() else {
            return self.checked(partition_index, file, metadata_size_hint, metrics);
        };
        let inner = self.checked(partition_index, file.clone(), metadata_size_hint, metrics)?;
        Ok(count.reader(&file, inner))
    }
}

impl CheckedReaderFactory {
    fn checked(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let cache = Arc::clone(&self.cache);
        let metadata_size_hint = metadata_size_hint.or(self.footer_bytes);
        let Some(sums) = file.extension::<Arc<BlockSums>>().map(Arc::clone) else {
            return CachedParquetFileReaderFactory::new(Arc::clone(&self.files), cache)
                .create_reader(partition_index, file, metadata_size_hint, metrics);
        };
        let damage = Arc::new(OnceLock::new());
        let store = CheckedFile {
            files: Arc::clone(&self.files),
            sums,
            size: file.object_meta.size,
            metrics: Arc::clone(&self.metrics),
            damage: Arc::clone(&damage),
        };
        let inner = CachedParquetFileReaderFactory::new(Arc::new(store), cache).create_reader(
            partition_index,
            file,
            metadata_size_hint,
            metrics,
        )?;
        Ok(Box::new(CheckedReader { inner, damage }))
    }
}

/// A reader that tells damage as what it is: the layer below flattens errors to text.
struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    damage: Arc<OnceLock<Error>>,
}

impl CheckedReader {
    fn told<T>(damage: &OnceLock<Error>, read: ParquetResult<T>) -> ParquetResult<T> {
        read.map_err(|error| match damage.get() {
            Some(damage) => ParquetError::External(Box::new(damage.clone())),
            None => error,
        })
    }
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let damage = &self.damage;
        let read = self.inner.get_bytes(range);
        read.map(|read| Self::told(damage, read)).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let damage = &self.damage;
        let read = self.inner.get_byte_ranges(ranges);
        read.map(|read| Self::told(damage, read)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let damage = &self.damage;
        let read = self.inner.get_metadata(options);
        read.map(|read| Self::told(damage, read)).boxed()
    }
}

/// One file with its checksums.
struct CheckedFile {
    files: Arc<dyn ObjectStore>,
    sums: Arc<BlockSums>,
    size: u64,
    metrics: Arc<Metrics>,
    /// What was found wrong with it.
    damage: Arc<OnceLock<Error>>,
}

impl CheckedFile {
    /// The bytes of `range` out of `block`, which begins at `start`, once the block is checked.
    fn checked(
        &self,
        location: &Path,
        start: u64,
        block: &Bytes,
        range: &Range<u64>,
    ) -> Result<Bytes> {
        let wanted = (range.start - start) as usize..(range.end - start) as usize;
        let what = match self.sums.first_damaged(start, block) {
            None if wanted.end <= block.len() => return Ok(block.slice(wanted)),
            None => "it is shorter than it was".to_owned(),
            Some(damaged) => format!("block {damaged} is not what was written"),
        };
        let error = Error::new(Code::TableCorrupt, format!("/{location}: {what}"));
        tracing::error!(target: "otlake::query", "a file is damaged: {error}");
        self.metrics.damaged("file");
        // The first find is as good as any other.
        let _ = self.damage.set(error.clone());
        Err(StoreError::Generic {
            store: STORE,
            source: error.into(),
        })
    }
}

impl Display for CheckedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

impl Debug for CheckedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

/// The ranges in order, those that touch as one: small columns share a block, which is read and
/// checked once.
pub(crate) fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn read_only(operation: &str) -> StoreError {
    StoreError::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[async_trait]
impl ObjectStore for CheckedFile {
    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.files.get_opts(location, options).await;
        }
        let range = match options.range.take() {
            None => 0..self.size,
            Some(range) => range
                .as_range(self.size)
                .map_err(|error| StoreError::Generic {
                    store: STORE,
                    source: error.into(),
                })?,
        };
        let around = BlockSums::around(&range, self.size);
        options.range = Some(GetRange::Bounded(around.clone()));
        let got = self.files.get_opts(location, options).await?;
        let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
        let bytes = got.bytes().await?;
        let bytes = self.checked(location, around.start, &bytes, &range)?;
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
            meta,
            range,
            attributes,
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let around = ranges
            .iter()
            .map(|range| BlockSums::around(range, self.size));
        let reads = joined(around.collect());
        let blocks = self.files.get_ranges(location, &reads).await?;
        let checked: Vec<Bytes> = reads
            .iter()
            .zip(&blocks)
            .map(|(read, block)| self.checked(location, read.start, block, read))
            .collect::<Result<_>>()?;
        let part = |range: &Range<u64>| {
            let at = reads.partition_point(|read| read.start <= range.start) - 1;
            let start = reads[at].start;
            checked[at].slice((range.start - start) as usize..(range.end - start) as usize)
        };
        Ok(ranges.iter().map(part).collect())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only("put"))
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::iter([Err(read_only("delete"))]).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only("copy"))
    }
}
