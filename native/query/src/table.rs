//! One table as one query sees it: live batches and Parquet files of one moment, restricted to
//! the query's tenant before DataFusion sees a row.

use std::fmt;
use std::path::{self, Path};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use datafusion::physical_expr::utils::{Guarantee, LiteralGuarantee};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as StorePath;
use otlake_base::{
    Capture, Code, Consistency, DataFile, Error, Missing, Table, TableSource, Wanted,
};

use crate::distributed::IsShared;
use crate::progress::{FileCount, LiveSource, ScanCount};
use crate::trace::{TRACE_ID, TRACE_ID_BYTES, TraceIndex};

/// The last two columns of every table; the files do not hold them.
const PARTITION_COLUMNS: usize = 2;
const NANOS_PER_MICRO: i64 = 1_000;
/// Bytes of the values of one batch out of files (I5); a batch has fewer rows where they are wide.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Footers that are read at once to tell how wide rows are.
pub(crate) const FOOTERS_AT_ONCE: usize = 8;

/// A table for the length of one query.
pub(crate) struct LakeTable {
    source: Arc<dyn TableSource>,
    schema: SchemaRef,
    tenant: Option<Arc<str>>,
    consistency: Consistency,
    partial: bool,
    /// Taken at the first scan, or gathered before it; a query that names the table twice sees one moment.
    capture: OnceLock<Result<Capture, Error>>,
    reader: Arc<dyn ParquetFileReaderFactory>,
    traces: Arc<TraceIndex>,
    /// Rows of a batch, for all the query's tables; this one makes it less where its rows are wide.
    batch_rows: Arc<AtomicUsize>,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeTable({})", self.source.table().name())
    }
}

impl LakeTable {
    pub(crate) fn new(
        source: Arc<dyn TableSource>,
        tenant: Option<Arc<str>>,
        (consistency, partial): (Consistency, bool),
        (reader, traces): (Arc<dyn ParquetFileReaderFactory>, Arc<TraceIndex>),
        batch_rows: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            schema: source.schema(),
            source,
            tenant,
            consistency,
            partial,
            capture: OnceLock::new(),
            reader,
            traces,
            batch_rows,
        }
    }

    /// The table's moment in this query.
    pub(crate) fn capture(&self) -> Result<&Capture, Error> {
        self.capture
            .get_or_init(|| self.source.capture(&self.consistency))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Which table.
    pub(crate) fn table(&self) -> Table {
        self.source.table()
    }

    /// Whether its rows have to be gathered from other nodes, and are not yet.
    pub(crate) fn gathers(&self) -> bool {
        self.capture.get().is_none() && self.source.gathers(&self.consistency)
    }

    /// Gathers the rows of this moment from other nodes, those that are wanted.
    pub(crate) async fn gather(&self, wanted: Wanted) -> Result<(), Error> {
        if !self.gathers() {
            return Ok(());
        }
        let wanted = Wanted {
            tenant: self.tenant.clone(),
            partial: self.partial,
            ..wanted
        };
        let gathered = self.source.gather(&self.consistency, &wanted).await;
        // Where two scans have gathered at once the first one's moment is the query's.
        let _ = self.capture.set(gathered);
        self.capture().map(|_| ())
    }

    /// What this query has seen of the table, and what it may lack; none before it is read.
    pub(crate) fn seen(&self) -> Option<(&otlake_base::Session, &[Missing])> {
        let capture = self.capture.get()?.as_ref().ok()?;
        Some((&capture.seen, &capture.missing))
    }

    fn sees(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// The table's columns, and of them those that files hold.
    pub(crate) fn schemas(&self) -> (SchemaRef, SchemaRef) {
        let fields = self.schema.fields();
        let stored = &fields[..fields.len() - PARTITION_COLUMNS];
        let stored = Arc::new(Schema::new(stored.to_vec()));
        (Arc::clone(&self.schema), stored)
    }

    /// The live batches of the query's tenant.
    pub(crate) fn live(&self) -> Result<impl Iterator<Item = &RecordBatch>, Error> {
        let live = self.capture()?.live.iter();
        Ok(live
            .filter(|rows| self.sees(&rows.tenant))
            .map(|rows| &rows.batch))
    }

    /// The files of the query's tenant.
    pub(crate) fn files(&self) -> Result<Vec<&DataFile>, Error> {
        let files = self.capture()?.files.iter();
        Ok(files.filter(|file| self.sees(&file.tenant)).collect())
    }

    /// The batches spread by rows over at most `partitions`, and at least `least`.
    fn live_plan(
        &self,
        projection: Option<&Vec<usize>>,
        (least, partitions): (usize, usize),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut groups: Vec<(usize, Vec<RecordBatch>)> = vec![(0, Vec::new()); partitions.max(1)];
        for batch in self.live().map_err(external)? {
            if let Some(least) = groups.iter_mut().min_by_key(|(rows, _)| *rows) {
                least.0 += batch.num_rows();
                least.1.push(batch.clone());
            }
        }
        groups.retain(|(rows, _)| *rows > 0);
        groups.resize(groups.len().max(least), (0, Vec::new()));
        let mut groups: Vec<Vec<RecordBatch>> =
            groups.into_iter().map(|(_, batches)| batches).collect();
        let width = self.schema.fields().len();
        if let Some(projection) = projection
            && groups
                .iter()
                .flatten()
                .any(|batch| batch.num_columns() < width)
        {
            // Other nodes have sent what is wanted alone.
            let schema = Arc::new(self.schema.project(projection)?);
            for batch in groups.iter_mut().flatten() {
                *batch = chosen(batch, &schema)?;
            }
            return Ok(LiveSource::scan(&groups, schema, None)?);
        }
        let schema = Arc::clone(&self.schema);
        Ok(LiveSource::scan(&groups, schema, projection.cloned())?)
    }

    /// A scan of `files`, which are spread by bytes over at most `partitions` groups, and at least
    /// `least`.
    pub(crate) fn files_plan(
        &self,
        files: &[&DataFile],
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        (least, partitions): (usize, usize),
        source: impl FnOnce(ParquetSource) -> ParquetSource,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let root = store_path(&self.capture().map_err(external)?.root)?;
        let mut by_size: Vec<&DataFile> = files.to_vec();
        by_size.sort_unstable_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        let count = partitions.clamp(1, by_size.len().max(1)).max(least);
        let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count];
        let scan = Arc::new(ScanCount::default());
        for file in by_size {
            if let Some(least) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                least.0 += file.size;
                let counted = FileCount::new(&scan, file.rows);
                least
                    .1
                    .push(partitioned(&root, file)?.with_extension(counted));
            }
        }
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let groups = groups.into_iter().map(|(_, files)| FileGroup::new(files));
        self.scan_plan(groups.collect(), rows, projection, limit, source)
    }

    /// A scan of some row groups of a file, which has `count` of them.
    pub(crate) fn groups_plan(
        &self,
        file: &DataFile,
        groups: &[usize],
        count: usize,
        source: impl FnOnce(ParquetSource) -> ParquetSource,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let root = store_path(&self.capture().map_err(external)?.root)?;
        let mut access = ParquetAccessPlan::new_none(count);
        for group in groups {
            access.scan(*group);
        }
        let partitioned = partitioned(&root, file)?.with_extension(access);
        let group = FileGroup::new(vec![partitioned]);
        self.scan_plan(vec![group], file.rows, None, None, source)
    }

    /// A reader of a file.
    pub(crate) fn open(&self, file: &DataFile) -> Result<Box<dyn AsyncFileReader + Send>> {
        let root = store_path(&self.capture().map_err(external)?.root)?;
        let file = partitioned(&root, file)?;
        let metrics = ExecutionPlanMetricsSet::new();
        self.reader.create_reader(0, file, None, &metrics)
    }

    fn scan_plan(
        &self,
        groups: Vec<FileGroup>,
        rows: u64,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        source: impl FnOnce(ParquetSource) -> ParquetSource,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let statistics = Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(
            usize::try_from(rows).unwrap_or(usize::MAX),
        ));
        let (_, stored) = self.schemas();
        let partition_fields = self.schema.fields()[stored.fields().len()..].to_vec();
        let table_schema = TableSchema::builder(stored)
            .with_table_partition_cols(partition_fields)
            .build();
        let parquet = ParquetSource::new(table_schema)
            .with_parquet_file_reader_factory(Arc::clone(&self.reader));
        let config = FileScanConfigBuilder::new(
            ObjectStoreUrl::local_filesystem(),
            Arc::new(source(parquet)),
        )
        .with_statistics(statistics)
        .with_limit(limit)
        .with_file_groups(groups)
        .with_projection_indices(projection.cloned())?
        .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Sees to it that a batch of these files' columns is no larger than it may be, going by what
    /// the footers tell of the widest row group. Reading them costs nothing: the scan wants them
    /// next, and finds them in the cache.
    pub(crate) async fn fit_batches(
        &self,
        files: &[&DataFile],
        projection: Option<&Vec<usize>>,
    ) -> Result<()> {
        let fields = self.schema.fields();
        let columns = &fields[..fields.len() - PARTITION_COLUMNS];
        let read: Vec<&str> = columns
            .iter()
            .enumerate()
            .filter(|(index, _)| projection.is_none_or(|wanted| wanted.contains(index)))
            .map(|(_, field)| field.name().as_str())
            .collect();
        let is_fixed = |name: &&str| {
            let field = self.schema.field_with_name(name);
            field.is_ok_and(|field| {
                let data_type = field.data_type();
                data_type.is_primitive() || matches!(data_type, DataType::FixedSizeBinary(_))
            })
        };
        if read.iter().all(is_fixed) {
            return Ok(());
        }
        let widths: Vec<_> = files.iter().map(|file| self.widest(file, &read)).collect();
        let widths = stream::iter(widths).buffer_unordered(FOOTERS_AT_ONCE);
        let widest = widths
            .try_fold(1, async |widest, width| Ok(width.max(widest)))
            .await?;
        let rows = (BATCH_BYTES / widest).max(1);
        self.batch_rows.fetch_min(rows, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of a row of these columns, in the row group whose rows are the widest.
    async fn widest(&self, file: &DataFile, columns: &[&str]) -> Result<usize> {
        let mut reader = self.open(file)?;
        // As the scan reads it, so that it is one entry of the cache.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let metadata = reader.get_metadata(Some(&options)).await?;
        Ok(row_bytes(&metadata, columns))
    }

    /// Drops the files whose tenant, day and times cannot satisfy `filters`, and those that have none of the
    /// traces.
    async fn prune<'a>(
        &self,
        state: &dyn Session,
        files: Vec<&'a DataFile>,
        filters: &[Expr],
    ) -> Result<Vec<&'a DataFile>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(files);
        };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let predicate = state.create_physical_expr(filter, &schema)?;
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .try_build(predicate)?;
        if predicate.always_true() {
            return Ok(files);
        }
        let ranges = Ranges {
            table: self.source.table(),
            schema: &self.schema,
            files: &files,
        };
        let mut kept = predicate.prune(&ranges)?.into_iter();
        let files = files.into_iter();
        let files: Vec<_> = files.filter(|_| kept.next().unwrap_or(true)).collect();
        let wanted = predicate.literal_guarantees().iter().find_map(trace_ids);
        drop(predicate);
        match wanted {
            Some(wanted) => {
                let groups = self.traces.groups(self, files, &wanted).await?;
                Ok(groups.into_iter().map(|(file, _)| file).collect())
            }
            None => Ok(files),
        }
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are pruned here; rows are filtered by the plan, which pushes what it can down
        // into the Parquet scan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let most = state.config().target_partitions();
        let is_shared = state.config().get_extension::<IsShared>().is_some();
        let partitions = (if is_shared { most } else { 1 }, most);
        // Planning tells what is wanted before it comes here; a scan that it could not see takes
        // everything.
        self.gather(Wanted::default()).await.map_err(external)?;
        let live = self.live_plan(projection, partitions)?;
        let files = self.files().map_err(external)?;
        let files = self.prune(state, files, filters).await?;
        if files.is_empty() {
            return Ok(live);
        }
        self.fit_batches(&files, projection).await?;
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..Default::default()
        };
        let files = self.files_plan(&files, projection, limit, partitions, |source| {
            source.with_table_parquet_options(options)
        })?;
        if self.live().map_err(external)?.next().is_none() {
            return Ok(files);
        }
        UnionExec::try_new(vec![live, files])
    }
}

/// The columns of a batch that a schema names, in its order.
fn chosen(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name()).cloned();
        column.ok_or_else(|| {
            let message = format!("the column `{}` was not gathered", field.name());
            external(Error::new(Code::Internal, message))
        })
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<_>>()?;
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// The only traces whose rows satisfy a filter, where it says so.
fn trace_ids(guarantee: &LiteralGuarantee) -> Option<Vec<[u8; TRACE_ID_BYTES]>> {
    if guarantee.column.name() != TRACE_ID || guarantee.guarantee != Guarantee::In {
        return None;
    }
    let id = |literal: &ScalarValue| match literal {
        ScalarValue::FixedSizeBinary(_, Some(id)) => id.as_slice().try_into().ok(),
        _ => None,
    };
    guarantee.literals.iter().map(id).collect()
}

/// What is known of each file without opening it.
struct Ranges<'a> {
    table: Table,
    schema: &'a SchemaRef,
    files: &'a [&'a DataFile],
}

impl Ranges<'_> {
    fn bound(&self, column: &Column, least: bool) -> Option<ArrayRef> {
        let time = self.table.time_column();
        // `start_time_unix_nano` has `start_time` beside it, in microseconds.
        let micros = time.strip_suffix("_unix_nano")?;
        let data_type = self.schema.field_with_name(&column.name).ok()?.data_type();
        let value = |file: &DataFile| -> Option<ScalarValue> {
            let nanos = if least { file.min_time } else { file.max_time };
            let known = if least {
                nanos != i64::MIN
            } else {
                nanos != i64::MAX
            };
            match column.name.as_str() {
                "tenant" => Some(ScalarValue::Utf8View(Some(file.tenant.clone()))),
                "day" => Some(ScalarValue::Date32(Some(file.day))),
                name if name == time => Some(ScalarValue::Int64(known.then_some(nanos))),
                name if name == micros => {
                    // Rounded outwards, so that the range holds whichever way the column rounds.
                    let micros = nanos.div_euclid(NANOS_PER_MICRO) + i64::from(!least);
                    let DataType::Timestamp(_, zone) = data_type else {
                        return None;
                    };
                    Some(ScalarValue::TimestampMicrosecond(
                        known.then_some(micros),
                        zone.clone(),
                    ))
                }
                _ => None,
            }
        };
        let values: Option<Vec<ScalarValue>> = self.files.iter().map(|file| value(file)).collect();
        let array = ScalarValue::iter_to_array(values?).ok()?;
        (array.data_type() == data_type).then_some(array)
    }
}

impl PruningStatistics for Ranges<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, true)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, false)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(
        &self,
        _column: &Column,
        _values: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

/// Bytes of a row of these columns, in the row group whose rows are the widest. A text that many
/// rows share stands once in the file, and counts here for each: operators and answers copy it.
fn row_bytes(metadata: &ParquetMetaData, columns: &[&str]) -> usize {
    let schema = metadata.file_metadata().schema_descr();
    let leaves = 0..schema.num_columns();
    let wanted = leaves.map(|leaf| columns.contains(&schema.get_column_root(leaf).name()));
    let wanted: Vec<bool> = wanted.collect();
    let of_group = |group: &RowGroupMetaData| {
        let bytes: i64 = group
            .columns()
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|(column, _)| {
                let values = column.unencoded_byte_array_data_bytes().unwrap_or(0);
                column.uncompressed_size().max(values)
            })
            .sum();
        usize::try_from(bytes / group.num_rows().max(1)).unwrap_or(0)
    };
    metadata
        .row_groups()
        .iter()
        .map(of_group)
        .max()
        .unwrap_or(0)
}

pub(crate) fn partitioned(root: &StorePath, file: &DataFile) -> Result<PartitionedFile> {
    let location = StorePath::parse(format!("{root}/{}", file.path))
        .map_err(|error| external(Error::new(Code::TableCorrupt, error)))?;
    let mut partitioned = PartitionedFile::new("", file.size);
    // The name is taken as it is; `new` would escape it once more.
    partitioned.object_meta.location = location;
    if let Some(sums) = &file.sums {
        partitioned = partitioned.with_extension(Arc::clone(sums));
    }
    Ok(partitioned.with_partition_values(vec![
        ScalarValue::Utf8View(Some(file.tenant.clone())),
        ScalarValue::Date32(Some(file.day)),
    ]))
}

pub(crate) fn store_path(root: &Path) -> Result<StorePath> {
    let root = path::absolute(root)?;
    StorePath::from_absolute_path(&root).map_err(|error| external(Error::new(Code::TableIo, error)))
}

/// An error of ours on its way through DataFusion.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
